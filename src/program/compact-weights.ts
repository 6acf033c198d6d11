import type { Attributes, LoweredCompact, LoweredSize } from '../../kernels/kernel.js'
import { elementCount } from '../numbers.js'
import type { ExternalTensor } from './lower.js'
import { DATA_TYPE, type OnnxType } from './onnx.js'

/**
 * How a program reads a weight that is kept smaller than float32: the nodes that make float32 of it, of all rows, of a run of them, or of
 * those that are gathered. It does not know what the weight is for, nor who chose its form.
 */

/**
 * A frozen weight as it stands on disk. To every function it is float32; in 16 bits or as integers in blocks, `scale * integer + offset`,
 * it has the same values in fewer bytes, and programs unpack it where they read it.
 */
export interface WeightTensor extends ExternalTensor<'float32' | 'int32' | 'float16' | 'bfloat16' | 'int8'> {
  /** Of integers: one for each block of neighbours in a row, [blocks]. */
  readonly scales?: ExternalTensor<'float32'>
  /** Of integers whose blocks have offsets, [blocks]. */
  readonly offsets?: ExternalTensor<'float32'>
}

/**
 * Float32 of one run of rows takes so many bytes at most: what is unpacked stands beside the weights for as long as it is read, and ONNX Runtime
 * keeps some ten times as much as it once had.
 */
export const UNPACKED_BYTES = 8 * 2 ** 20

/** What is written with. */
interface Writer {
  /** A tensor of a file of weights, written where it is first asked for. */
  external(name: string, tensor: ExternalTensor<OnnxType>): string
  emit(operator: string, inputs: readonly string[], attributes?: Attributes): string
  /** The same for nodes that depend on weights alone: they run when they are needed, and not as a run begins. */
  late(operator: string, inputs: readonly string[], attributes?: Attributes): string
  int64(values: readonly LoweredSize[]): string
}

/** Rows that are unpacked at a time. */
const rowsAtOnce = (shape: readonly number[]): number =>
  Math.max(1, Math.floor(UNPACKED_BYTES / (4 * elementCount(shape.slice(1)))))

/** Bytes of float32 that a run of a weight's rows comes to, at most. */
export const unpackedBytes = (shape: readonly number[]): number =>
  4 * Math.min(shape[0]!, rowsAtOnce(shape)) * elementCount(shape.slice(1))

export class CompactWeight implements LoweredCompact {
  readonly #name: string
  readonly #weight: WeightTensor
  readonly #writer: Writer

  constructor(name: string, weight: WeightTensor, writer: Writer) {
    this.#name = `weight:${name}`
    this.#weight = weight
    this.#writer = writer
  }

  get parts(): LoweredCompact['parts'] {
    const { shape } = this.#weight
    const most = rowsAtOnce(shape)
    return Array.from({ length: Math.ceil(shape[0]! / most) }, (_, i) => {
      const rows = Math.min(most, shape[0]! - i * most)
      return { rows, unpack: () => this.unpack(i * most, rows) }
    })
  }

  /** @returns the name of float32 [rows, columns] */
  unpack(start = 0, rows = this.#weight.shape[0]!): string {
    const { late, int64 } = this.#writer
    const { scales, offsets, shape } = this.#weight
    const own = shape.with(0, rows)
    if (!scales) return late('Cast', [this.#external('values', this.#weight, start, rows, own)], { to: DATA_TYPE.float32 })
    const blocks = scales.byteLength / 4 / shape[0]!
    const [count, width] = [rows * blocks, this.#width]
    // A block as a row of its own has one scale for the whole axis, which ONNX Runtime multiplies three times as fast as blocks in a row.
    const integers = this.#external('values', this.#weight, start, rows, [count, width])
    const scaled = late('DequantizeLinear', [integers, this.#external('scales', scales, start, rows, [count])], { axis: 0 })
    const whole = offsets ? late('Add', [scaled, this.#external('offsets', offsets, start, rows, [count, 1])]) : scaled
    return late('Reshape', [whole, int64(own)])
  }

  gather(indices: string, shape: readonly LoweredSize[]): string {
    const { emit, int64 } = this.#writer
    const { scales, offsets, shape: own } = this.#weight
    const rows = emit('Gather', [this.#external('values', this.#weight, 0, own[0]!, own), indices], { axis: 0 })
    const values = emit('Cast', [rows], { to: DATA_TYPE.float32 })
    if (!scales) return values
    const blocks = scales.byteLength / 4 / own[0]!
    const ofRows = (kind: string, tensor: ExternalTensor<'float32'>) => {
      const taken = emit('Gather', [this.#external(kind, tensor, 0, own[0]!, [own[0]!, blocks]), indices], { axis: 0 })
      return emit('Reshape', [taken, int64([-1, 1])])
    }
    const scaled = emit('Mul', [emit('Reshape', [values, int64([-1, this.#width])]), ofRows('scales', scales)])
    const whole = offsets ? emit('Add', [scaled, ofRows('offsets', offsets)]) : scaled
    return emit('Reshape', [whole, int64(shape)])
  }

  /** Weights of a block. */
  get #width(): number {
    const { shape, scales } = this.#weight
    return elementCount(shape) / (scales!.byteLength / 4)
  }

  /** A run of the weight's rows in one of its tensors, in the shape that is wanted of it. */
  #external(kind: string, tensor: ExternalTensor<OnnxType>, start: number, rows: number, shape: readonly number[]): string {
    const row = tensor.byteLength / this.#weight.shape[0]!
    const place = { offset: tensor.offset + start * row, byteLength: rows * row }
    return this.#writer.external(`${this.#name}:${kind} [${shape}] from ${start}`, { ...tensor, ...place, shape })
  }
}
