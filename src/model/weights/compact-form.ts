import type { WeightPart, WeightSpec } from '../../../models/blocks/family.js'
import { GradpromptError } from '../../errors.js'
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../../formats/blocks/half.js'
import { type ExactForm, exactForm, readExactScales } from '../../formats/stored-blocks.js'
import type { TensorFile } from '../../formats/tensor-file.js'
import { elementCount } from '../../numbers.js'
import { type HalfPrecision, halfTypes } from '../../program/precision.js'
import { arranged } from './arrange.js'

/**
 * The smallest form in which a weight keeps its values to the bit: half precision as the checkpoint has it, or an integer of 8 bits for
 * each weight with a scale (and an offset) for each block, which is what GGUF's types stand for. It knows neither files nor programs.
 */

export type CompactForm = { readonly dtype: 'float32' | 'float16' | 'bfloat16' } | ({ readonly dtype: 'int8' } & ExactForm)

/** Bytes of a weight's tensors in a form. */
export interface CompactBytes {
  readonly values: number
  readonly scales: number
  readonly offsets: number
}

const HALVES: Readonly<Record<string, 'float16' | 'bfloat16'>> = { F16: 'float16', BF16: 'bfloat16' }

/** The form of a weight where programs multiply in half precision: of matrices, since vectors are few and read by more than products. */
export const halfForm = ({ shape }: WeightSpec, precision: HalfPrecision): CompactForm => ({
  dtype: shape.length === 2 ? halfTypes[precision] : 'float32',
})

/**
 * The form of a weight: matrices alone, since vectors are few and read by more than products; float32 where its parts have none in common.
 */
export function compactForm({ shape, parts }: WeightSpec, file: TensorFile): CompactForm {
  const types = parts.map(({ source }) => file.tensors.get(source)!.dtype)
  const [first] = types
  if (shape.length !== 2 || parts.some(({ added }) => added)) return { dtype: 'float32' }
  if (Object.hasOwn(HALVES, first!) && types.every(type => type === first)) return { dtype: HALVES[first!]! }
  const forms = types.map(type => exactForm(type))
  if (parts.some(({ transposed }) => transposed) || !forms.every(form => form !== undefined)) return { dtype: 'float32' }
  return {
    dtype: 'int8',
    // Of two blocks of 16 both have the scale of one of 32; without an offset it is 0.
    block: forms.some(({ block }) => block === 16) ? 16 : 32,
    offsets: forms.some(({ offsets }) => offsets),
  }
}

export function compactBytes(shape: readonly number[], form: CompactForm): CompactBytes {
  const count = elementCount(shape)
  if (form.dtype !== 'int8') return { values: count * (form.dtype === 'float32' ? 4 : 2), scales: 0, offsets: 0 }
  const scales = (4 * count) / form.block
  return { values: count, scales, offsets: form.offsets ? scales : 0 }
}

/** A part of a weight in its form, with the bytes of each of its tensors. */
export interface CompactPart {
  readonly values: Uint8Array
  readonly scales?: Uint8Array
  readonly offsets?: Uint8Array
}

/** @param stored the part's values as the checkpoint has them, all finite */
export async function compactPart(
  file: TensorFile,
  part: WeightPart,
  form: CompactForm,
  stored: Float32Array,
): Promise<CompactPart> {
  const values = arranged(stored, part)
  if (form.dtype === 'float32') return { values: bytesOf(values) }
  if (form.dtype !== 'int8') {
    const halves = new Uint16Array(values.length)
    if (form.dtype === 'float16') encodeFloat16(values, halves)
    else encodeBfloat16(values, halves)
    requireRange(values, halves, form.dtype, part.source)
    return { values: bytesOf(halves) }
  }
  const { scales, offsets } = await blockNumbers(file, part, form)
  const integers = integersOf(values, scales, form.offsets ? offsets : undefined, form.block)
  if (integers === undefined)
    throw new GradpromptError('internal', `The blocks of ${part.source} do not give its values`, { exitCode: 1 })
  return { values: bytesOf(integers), scales: bytesOf(scales), ...(form.offsets && { offsets: bytesOf(offsets) }) }
}

/** @throws GradpromptError `not-finite` where a weight is larger than numbers of 16 bits are */
function requireRange(values: Float32Array, halves: Uint16Array, dtype: 'float16' | 'bfloat16', name: string): void {
  const infinite = dtype === 'float16' ? 0x7c00 : 0x7f80
  const at = halves.findIndex(half => (half & 0x7fff) === infinite)
  if (at < 0) return
  throw new GradpromptError('not-finite', `A weight is too large for ${dtype}: the tensor "${name}"`, {
    found: String(values[at]),
    expected: dtype === 'float16' ? 'at most 65504' : 'at most 3.39e38',
    hint: 'take another --precision: bf16 has the range of fp32',
  })
}

/** Scales and offsets of a part, in the order of rows that programs want and the blocks of the whole weight's form. */
async function blockNumbers(file: TensorFile, part: WeightPart, { block }: ExactForm) {
  const type = file.tensors.get(part.source)!.dtype
  const own = exactForm(type)!
  const [rows, columns] = part.shape as [number, number]
  const ofBlocks = { ...part, shape: [rows, columns / own.block] }
  const scales = new Float32Array((rows * columns) / own.block)
  const offsets = new Float32Array(scales.length)
  readExactScales(type, await file.readBytes(part.source), scales, offsets)
  const repeats = own.block / block
  const repeated = (numbers: Float32Array) =>
    repeats === 1 ? numbers : Float32Array.from({ length: numbers.length * repeats }, (_, i) => numbers[Math.floor(i / repeats)]!)
  return { scales: repeated(arranged(scales, ofBlocks)), offsets: repeated(arranged(offsets, ofBlocks)) }
}

/** Integers that give the values to the bit; nothing where there are none. */
function integersOf(
  values: Float32Array,
  scales: Float32Array,
  offsets: Float32Array | undefined,
  block: number,
): Int8Array | undefined {
  const integers = new Int8Array(values.length)
  for (let i = 0; i < scales.length; i++) {
    const scale = scales[i]!
    const offset = offsets ? offsets[i]! : 0
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let j = i * block; j < (i + 1) * block; j++) {
      const integer = Math.round((values[j]! - offset) * inverse)
      integers[j] = integer
      if (Math.fround(Math.fround(scale * integers[j]!) + offset) !== values[j]!) return undefined
    }
  }
  return integers
}

const bytesOf = (numbers: Float32Array | Uint16Array | Int8Array): Uint8Array =>
  new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)

/** The values of a weight in one of the forms. */
export function unpacked(
  values: Uint8Array<ArrayBuffer>,
  dtype: string,
  scales: Float32Array | undefined,
  offsets: Float32Array | undefined,
): Float32Array {
  if (scales === undefined) {
    if (dtype === 'float32') return new Float32Array(values.buffer)
    const out = new Float32Array(values.length / 2)
    if (dtype === 'float16') decodeFloat16(values, out)
    else decodeBfloat16(values, out)
    return out
  }
  const block = values.length / scales.length
  return Float32Array.from(new Int8Array(values.buffer), (integer, i) => {
    const at = Math.floor(i / block)
    return Math.fround(scales[at]! * integer) + (offsets?.[at] ?? 0)
  })
}
