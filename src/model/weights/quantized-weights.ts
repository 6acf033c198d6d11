import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { QUANTIZATION_BLOCK as BLOCK } from '../../../kernels/linear-quantized.js'
import type { WeightPart, WeightSpec } from '../../../models/blocks/family.js'
import { type BlockForm, blockForm, readBlockScales } from '../../formats/stored-blocks.js'
import type { TensorFile } from '../../formats/tensor-file.js'
import { hashOf, touch } from '../../program/cache.js'
import type { BlockQuantizedTensor } from '../../program/lower.js'
import type { WeightFile } from '../../program/program.js'
import { arranged } from './arrange.js'
import { type Checkpoint, openCheckpoint } from './checkpoint.js'
import { ALIGNMENT, isWhole, writeBeside } from './weight-file.js'

/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 2

export interface QuantizeOptions {
  /**
   * Keep the stored values of types with offsets (Q4_1, Q4_K, Q5_1, Q5_K) too. Otherwise (the default) their integers are kept, as
   * multiples among 8 bits, and the offset of each block is rounded (see `multipleScales`): one product in place of two.
   */
  readonly exact?: boolean
  /** Called while the weights are written for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
}

/**
 * The weights of linear layers at their stored width, as one more file beside the dequantised ones: `weights` with `quantized` set, for
 * programs whose forward products are to read a fourth or an eighth of the bytes. GGUF's Q4_0, Q5_0 and Q8_0 keep their values; Q4_1,
 * Q4_K, Q5_1 and Q5_K but for their offsets; Q6_K and floats are rounded to 8 bits, each block by its largest weight. A weight whose
 * rows are not a multiple of 32 long stays as it is.
 *
 * @param checkpoint opened, or closed again
 * @throws GradpromptError `disk-full`, and as `openCheckpoint` does
 */
export async function quantizedWeights(
  checkpoint: Checkpoint,
  weights: WeightFile,
  { exact = false, onProgress }: QuantizeOptions = {},
): Promise<WeightFile<BlockQuantizedTensor>> {
  const plans = plan(checkpoint, exact)
  const file = `quantized-${hashOf(LAYOUT_VERSION, plans).slice(0, 8)}.bin`
  const { quantized, byteLength } = layout(plans, file)
  const { folder } = weights
  if (!(await isWhole(join(folder, file), byteLength)))
    await write(checkpoint.path, { folder, file, byteLength }, plans, quantized, onProgress)
  touch(weights.folder)
  return { ...weights, quantized, hash: hashOf(weights.hash, file) }
}

/** Bytes that the quantised weights take, in memory as on disk. */
export const quantizedBytes = (checkpoint: Checkpoint, exact = false): number => layout(plan(checkpoint, exact), '').byteLength

/** A weight and the form that all its parts can take. */
interface Plan {
  readonly weight: WeightSpec
  readonly form: BlockForm
  /** For each part the type whose integers are taken over, or nothing where its values are rounded anew. */
  readonly types: readonly (string | undefined)[]
}

const ROUNDED: BlockForm = { bits: 8, offsets: false }

function plan({ weights, file, family, config }: Checkpoint, exact: boolean): Plan[] {
  const gatheredOnly = config.tieWordEmbeddings ? undefined : family.embedding
  return weights
    .filter(({ name, shape }) => shape.length === 2 && shape[1]! % BLOCK === 0 && name !== gatheredOnly)
    .map(weight => {
      const types = weight.parts.map(({ source, transposed }) => {
        const type = file.tensors.get(source)!.dtype
        const form = blockForm(type)
        return form && !transposed ? type : undefined
      })
      const forms = types.map(type => {
        const form = type === undefined ? ROUNDED : blockForm(type)!
        return form.offsets && !exact ? ROUNDED : form
      })
      // One product is faster than one for each part: the wider form holds the narrower exactly.
      const form = { bits: forms.some(({ bits }) => bits === 8) ? 8 : 4, offsets: forms.some(({ offsets }) => offsets) } as const
      return { weight, form, types }
    })
}

function layout(plans: readonly Plan[], file: string): { quantized: Map<string, BlockQuantizedTensor>; byteLength: number } {
  const quantized = new Map<string, BlockQuantizedTensor>()
  let end = 0
  const place = (byteLength: number) => {
    const offset = end
    end = Math.ceil((end + byteLength) / ALIGNMENT) * ALIGNMENT
    return offset
  }
  for (const { weight, form } of plans) {
    const [rows, columns] = weight.shape as [number, number]
    const blocks = columns / BLOCK
    const integerBytes = blocks * 4 * form.bits
    const scaleBytes = blocks * 4
    const integers = place(rows * integerBytes)
    const scales = place(rows * scaleBytes)
    const offsets = form.offsets ? place(rows * scaleBytes) : undefined
    const part = (start: number, rows: number): BlockQuantizedTensor => {
      const numbers = (from: number) =>
        ({
          file,
          offset: from + start * scaleBytes,
          byteLength: rows * scaleBytes,
          shape: [rows, blocks],
          dtype: 'float32',
        }) as const
      return {
        form: 'blocks',
        bits: form.bits,
        integers: {
          file,
          offset: integers + start * integerBytes,
          byteLength: rows * integerBytes,
          shape: [rows, blocks, 4 * form.bits],
          dtype: 'uint8',
        },
        scales: numbers(scales),
        ...(offsets === undefined ? {} : { offsets: numbers(offsets) }),
      }
    }
    quantized.set(weight.name, part(0, rows))
    for (const view of weight.views ?? []) quantized.set(view.name, part(view.start, view.rows))
  }
  return { quantized, byteLength: end }
}

async function write(
  checkpointPath: string,
  { folder, file, byteLength }: { readonly folder: string; readonly file: string; readonly byteLength: number },
  plans: readonly Plan[],
  quantized: ReadonlyMap<string, BlockQuantizedTensor>,
  onProgress?: (fraction: number) => void,
): Promise<void> {
  const { file: source } = await openCheckpoint(checkpointPath)
  try {
    await writeBeside(folder, file, byteLength, async out => {
      for (const one of plans) {
        const tensor = quantized.get(one.weight.name)!
        await writeWeight(out, tensor, await quantize(source, one))
        onProgress?.(((tensor.offsets ?? tensor.scales).offset + tensor.scales.byteLength) / byteLength)
      }
    })
  } finally {
    await source.close()
  }
}

interface Blocks {
  readonly integers: Uint8Array
  readonly scales: Float32Array
  readonly offsets: Float32Array | undefined
}

async function writeWeight(file: FileHandle, tensor: BlockQuantizedTensor, { integers, scales, offsets }: Blocks): Promise<void> {
  const numbers = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  await file.write(integers, 0, integers.length, tensor.integers.offset)
  await file.write(numbers(scales), 0, scales.byteLength, tensor.scales.offset)
  if (offsets) await file.write(numbers(offsets), 0, offsets.byteLength, tensor.offsets!.offset)
}

async function quantize(source: TensorFile, { weight, form, types }: Plan): Promise<Blocks> {
  const [rows, columns] = weight.shape as [number, number]
  const total = (rows * columns) / BLOCK
  const integers = new Uint8Array(total * 4 * form.bits)
  const scales = new Float32Array(total)
  const offsets = form.offsets ? new Float32Array(total) : undefined
  let first = 0
  for (const [i, part] of weight.parts.entries()) {
    const values = arranged(await source.read(part.source), part)
    const last = first + values.length / BLOCK
    const own = { scales: scales.subarray(first, last), offsets: offsets?.subarray(first, last) }
    const type = types[i]
    if (type === undefined) roundedScales(values, own.scales)
    else {
      const stored = await storedScales(source, part, type)
      if (form.offsets || !blockForm(type)!.offsets) {
        own.scales.set(stored.scales)
        own.offsets?.set(stored.offsets)
      } else multipleScales(values, stored, own.scales)
    }
    packIntegers(values, own.scales, own.offsets, form.bits, integers.subarray(first * 4 * form.bits, last * 4 * form.bits))
    first = last
  }
  return { integers, scales, offsets }
}

/** Scales and offsets as the checkpoint has them, in the order of rows that programs want. */
async function storedScales(
  source: TensorFile,
  part: WeightPart,
  type: string,
): Promise<{ scales: Float32Array; offsets: Float32Array }> {
  const [rows, columns] = part.shape as [number, number]
  const blocks = { ...part, shape: [rows, columns / BLOCK] }
  const scales = new Float32Array((rows * columns) / BLOCK)
  const offsets = new Float32Array(scales.length)
  readBlockScales(type, await source.readBytes(part.source), scales, offsets)
  return { scales: arranged(scales, blocks), offsets: arranged(offsets, blocks) }
}

/** The scale that makes a block's largest weight 127. */
function roundedScales(values: Float32Array, scales: Float32Array): void {
  for (let i = 0; i < scales.length; i++) {
    let largest = 0
    for (let j = i * BLOCK; j < (i + 1) * BLOCK; j++) largest = Math.max(largest, Math.abs(values[j]!))
    scales[i] = largest / 127
  }
}

/**
 * Scales under which blocks `scale * integer + offset` need no offset: a whole part of each block's own scale, so that its integers become
 * multiples and its offset the nearest whole number. Of the parts that 8 bits leave room for (15 or so for 4-bit integers), the one
 * that moves the offset least: in the bundled model by 1/160 of the block's own scale on average, where rounding each weight anew would
 * move it by 1/60. A block whose offset leaves no room for a good one is rounded anew.
 */
export function multipleScales(
  values: Float32Array,
  { scales, offsets }: { readonly scales: Float32Array; readonly offsets: Float32Array },
  out: Float32Array,
): void {
  roundedScales(values, out)
  for (let i = 0; i < scales.length; i++) {
    const scale = Math.abs(scales[i]!)
    const smallest = out[i]!
    if (smallest === 0) continue
    // The farthest that rounding anew moves a weight.
    let least = smallest / 2 / scale
    // The rounded scale is the smallest that has room; a block of equal weights is its offset throughout.
    for (let part = Math.floor(scale / smallest); part >= 1; part--) {
      const offset = (offsets[i]! / scale) * part
      const moved = Math.abs(offset - Math.round(offset)) / part
      if (moved < least) {
        least = moved
        out[i] = scale / part
      }
    }
  }
}

/**
 * The nearest integers, with 8 or 128 added to make them unsigned. Two integers of 4 bits share a byte, the first in the low half.
 *
 * @param out [blocks * 4 * bits]
 */
export function packIntegers(
  values: Float32Array,
  scales: Float32Array,
  offsets: Float32Array | undefined,
  bits: 4 | 8,
  out: Uint8Array,
): void {
  const zero = 1 << (bits - 1)
  const highest = 2 * zero - 1
  for (let block = 0; block < scales.length; block++) {
    const scale = scales[block]!
    const offset = offsets ? offsets[block]! : 0
    // A block of scale 0 is its offset throughout.
    const inverse = scale === 0 ? 0 : 1 / scale
    const start = block * BLOCK
    for (let j = start; j < start + BLOCK; j++) {
      const integer = Math.min(Math.max((values[j]! - offset) * inverse + zero + 0.5, 0), highest) | 0
      if (bits === 8) out[j] = integer
      else if (j % 2 === 0) out[j >> 1] = integer
      else out[j >> 1]! |= integer << 4
    }
  }
}
