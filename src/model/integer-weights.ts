import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LARGEST, rotationOf } from '../../kernels/linear-integer.js'
import { hashOf, touch, writeWhole } from '../program/cache.js'
import type { ExternalTensor, RowQuantizedTensor } from '../program/lower.js'
import type { CompileOptions, WeightFile } from '../program/program.js'
import { type CalibratedModel, type InputGroup, inputGroups } from './input-groups.js'
import { ALIGNMENT, writeBeside } from './weight-file.js'

/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 1
/** A column counts as large as this part of the largest, at least. */
const LEAST_SIZE = 1e-4
/** Rows whose integers become columns together: what they hold fits into a processor's cache. */
const ROWS_TOGETHER = 64

export interface IntegerOptions extends CompileOptions {
  /** Called while the weights are written for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
}

type Entry = readonly [name: string, tensor: RowQuantizedTensor]

/**
 * The weights of linear layers in 8 bits, one scale for each row, as one more file beside the dequantised ones: `weights` with
 * `quantized` set, for programs that multiply many rows by whole numbers (see `kernels/linear-integer.ts`). A weight whose rows
 * have no rotation stays as it is.
 *
 * @throws GradpromptError `disk-full`
 */
export async function integerWeights(
  model: CalibratedModel,
  options: IntegerOptions = {},
): Promise<WeightFile<RowQuantizedTensor>> {
  const { weights } = model
  const name = `integer-${LAYOUT_VERSION}`
  const file = (suffix: string) => join(weights.folder, `${name}.${suffix}`)
  const known = async () => {
    const entries = JSON.parse(await readFile(file('json'), 'utf8')) as Entry[]
    return (await stat(file('bin'))).size === byteLength(entries) ? entries : undefined
  }
  const entries = (await known().catch(() => undefined)) ?? (await write(model, options, name))
  touch(weights.folder)
  return { ...weights, quantized: new Map(entries), hash: hashOf(weights.hash, entries) }
}

async function write(model: CalibratedModel, options: IntegerOptions, name: string): Promise<Entry[]> {
  const { weights } = model
  const groups = (await inputGroups(model, options)).filter(({ sizes }) => rotationOf(sizes.length) !== undefined)
  const entries = layout(groups, weights, `${name}.bin`)
  const tensors = new Map(entries)
  await writeBeside(weights.folder, `${name}.bin`, byteLength(entries), async file => {
    for (const [done, { names, sizes, means }] of groups.entries()) {
      options.onProgress?.(done / groups.length)
      const values = await Promise.all(names.map(name => valuesOf(weights, name)))
      const columnScales = balance(sizes, values)
      const usual = means.map((mean, i) => mean / columnScales[i]!)
      for (const [i, name] of names.entries()) {
        const tensor = tensors.get(name)!
        const { integers, scales } = roundRows(values[i]!, { columnScales, usual, rotation: tensor.rotation })
        await put(file, tensor.integers, integers)
        await put(file, tensor.scales, scales)
        await put(
          file,
          tensor.inputScales,
          columnScales.map(scale => 1 / scale),
        )
      }
    }
  })
  writeWhole(join(weights.folder, `${name}.json`), Buffer.from(JSON.stringify(entries)))
  return entries
}

function layout(groups: readonly InputGroup[], { tensors }: WeightFile, file: string): Entry[] {
  let end = 0
  const place = <Dtype extends 'int8' | 'float32'>(dtype: Dtype, ...shape: number[]): ExternalTensor<Dtype> => {
    const byteLength = shape.reduce((a, b) => a * b) * (dtype === 'int8' ? 1 : 4)
    const offset = end
    end = Math.ceil((end + byteLength) / ALIGNMENT) * ALIGNMENT
    return { file, offset, byteLength, shape, dtype }
  }
  return groups.flatMap(({ names, sizes: { length: columns } }) => {
    const inputScales = place('float32', columns)
    return names.map((name): Entry => {
      const rows = tensors.get(name)!.shape[0]!
      const [integers, scales] = [place('int8', columns, rows), place('float32', rows)]
      return [name, { form: 'rows', rotation: rotationOf(columns)!, integers, scales, inputScales }]
    })
  })
}

/** The scales of the last weight end the file. */
function byteLength(entries: readonly Entry[]): number {
  const { offset, byteLength } = entries.at(-1)![1].scales
  return offset + byteLength
}

async function valuesOf({ folder, tensors }: WeightFile, name: string): Promise<Float32Array> {
  const { file, offset, byteLength } = tensors.get(name)!
  const values = new Float32Array(byteLength / 4)
  const source = await open(join(folder, file), 'r')
  try {
    await source.read(new Uint8Array(values.buffer), 0, byteLength, offset)
  } finally {
    await source.close()
  }
  return values
}

async function put(file: FileHandle, { offset, byteLength }: ExternalTensor<'int8' | 'float32'>, data: Int8Array | Float32Array) {
  await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 0, byteLength, offset)
}

/**
 * What the columns of weights are multiplied by, and those of their input divided: where rounding adds noise in proportion to the
 * size of a whole row, the product's is least when each column of the one is as large as that of the others.
 *
 * @param sizes of the input's columns, [in]
 * @param weights [out, in] each
 * @returns [in]
 */
export function balance(sizes: Float32Array, weights: readonly Float32Array[]): Float32Array {
  const squares = new Float64Array(sizes.length)
  for (const values of weights)
    for (let start = 0; start < values.length; start += sizes.length)
      for (let i = 0; i < sizes.length; i++) squares[i]! += values[start + i]! ** 2
  const rows = weights.reduce((sum, values) => sum + values.length, 0) / sizes.length
  const own = Float32Array.from(squares, square => Math.sqrt(square / rows))
  const [least, ownLeast] = [sizes, own].map(list => LEAST_SIZE * list.reduce((a, b) => Math.max(a, b), 1e-30)) as [
    number,
    number,
  ]
  return sizes.map((size, i) => Math.sqrt(Math.max(size, least) / Math.max(own[i]!, ownLeast)))
}

/**
 * Scales the columns of a weight, rotates them in blocks, and rounds each row by its largest value. What rounding one number adds to the
 * product with the input's usual row is taken from the numbers behind it: inputs have much in common (GPTQ,
 * https://arxiv.org/abs/2210.17323, where all that is known of them is their mean).
 *
 * @param weight [out, in]; overwritten
 * @param options.columnScales [in]
 * @param options.usual mean of the input's rows, its columns divided by those scales, [in]; overwritten
 * @returns integers [in, out] and scales [out]
 */
export function roundRows(
  weight: Float32Array,
  options: { readonly columnScales: Float32Array; readonly usual: Float32Array; readonly rotation: number },
): { integers: Int8Array; scales: Float32Array } {
  const { columnScales, rotation } = options
  const columns = columnScales.length
  const rows = weight.length / columns
  const integers = new Int8Array(weight.length)
  const scales = new Float32Array(rows)
  const usual = Float64Array.from(rotated(options.usual.slice(), rotation))
  /** The part of an error so far that each number takes off, where those behind it take theirs. */
  const parts = new Float64Array(columns)
  for (let i = columns - 1, sum = 1e-30; i >= 0; i--) {
    sum += usual[i]! ** 2
    parts[i] = usual[i]! / sum
  }
  for (let first = 0; first < rows; first += ROWS_TOGETHER) {
    const last = Math.min(rows, first + ROWS_TOGETHER)
    for (let row = first; row < last; row++) {
      const values = weight.subarray(row * columns, (row + 1) * columns)
      for (let i = 0; i < columns; i++) values[i]! *= columnScales[i]!
      rotated(values, rotation)
      let largest = 0
      for (let i = 0; i < columns; i++) largest = Math.max(largest, Math.abs(values[i]!))
      scales[row] = largest / LARGEST
      const inverse = largest === 0 ? 0 : LARGEST / largest
      let error = 0
      for (let i = 0; i < columns; i++) {
        const wanted = values[i]! * inverse
        const moved = wanted - Math.min(Math.max(error * parts[i]!, -0.5), 0.5)
        const integer = Math.min(Math.max(Math.round(moved), -LARGEST), LARGEST)
        error += (integer - wanted) * usual[i]!
        values[i] = integer
      }
    }
    for (let i = 0; i < columns; i++)
      for (let row = first; row < last; row++) integers[i * rows + row] = weight[row * columns + i]!
  }
  return { integers, scales }
}

/** Blocks times `hadamard(side)`, in place, by sums and differences (the fast Walsh-Hadamard transform). */
function rotated(values: Float32Array, side: number): Float32Array {
  const scale = 1 / Math.sqrt(side)
  for (let start = 0; start < values.length; start += side) {
    const end = start + side
    for (let half = 1; half < side; half *= 2) {
      for (let block = start; block < end; block += 2 * half) {
        for (let i = block; i < block + half; i++) {
          const a = values[i]!
          const b = values[i + half]!
          values[i] = a + b
          values[i + half] = a - b
        }
      }
    }
    for (let i = start; i < end; i++) values[i]! *= scale
  }
  return values
}
