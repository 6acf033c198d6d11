import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Attributes } from '../../../kernels/kernel.js'
import type { WeightTensor } from '../../program/compact-weights.js'
import { traceGraph } from '../../program/graph.js'
import { type ExternalTensor, lowerGraph } from '../../program/lower.js'
import { ModelBuilder, type OnnxType } from '../../program/onnx.js'
import { SizeExpression } from '../../program/operations/sizes.js'
import type { ProgramSpec, WeightFile } from '../../program/program.js'

/**
 * A function as an ONNX model that other tools run: the operators of the standard alone, whole numbers taken as int64 as these feed
 * them, outputs under their own names, and the weights that it uses in one file beside it.
 */

/** What such a model's function may ask for, by name. */
export interface PortableWeights {
  /** What stands in a file of weights, as programs map it. */
  readonly stored: Pick<WeightFile, 'folder' | 'tensors'>
  /** Further ones, as they are. */
  readonly own: ReadonlyMap<string, OwnWeight>
}

export interface OwnWeight {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

export interface PortableModel {
  /** The encoded model. */
  readonly model: Uint8Array
  /** Bytes of the file of weights. */
  readonly byteLength: number
  /** Writes that file, a piece at a time. */
  writeWeights(path: string): Promise<void>
}

/** Where tensors begin in the file, so that runtimes can map them. */
const ALIGNMENT = 4096

/**
 * @param spec a program's inputs, dimensions and function
 * @param location what the model calls the file of weights: its name in the folder of the model
 * @throws GradpromptError as `Program.compile` does
 */
export function portableModel(
  { inputs, dims, fn }: Pick<ProgramSpec, 'inputs' | 'dims' | 'fn'>,
  { stored, own }: PortableWeights,
  location: string,
): PortableModel {
  const placeholders = Object.entries(inputs).map(([name, { dtype, shape }]) => ({
    name,
    dtype,
    shape: shape.map(size => (typeof size === 'number' ? size : SizeExpression.parse(size))),
  }))
  const weights = new Map<string, WeightTensor | OwnWeight>([...stored.tensors, ...own])
  const types = [...weights].map(([name, weight]) => {
    const dtype: 'int32' | 'float32' = 'dtype' in weight && weight.dtype === 'int32' ? 'int32' : 'float32'
    return [name, { shape: [...weight.shape], dtype }] as [string, { shape: number[]; dtype: typeof dtype }]
  })
  const graph = traceGraph(fn, placeholders, new Map(types), dims)
  const used = new Set(graph.values.flatMap(({ source }) => (source.kind === 'weight' ? [source.name] : [])))
  const file = new WeightsFile(location, stored.folder)
  const placed = new Map([...weights].filter(([name]) => used.has(name)).map(([name, weight]) => [name, file.place(weight)]))
  const builder = new PortableBuilder()
  const { model } = lowerGraph(graph, { operators: new Set(), coarse: new Set() }, placed, placeholders, new Map(), builder)
  return { model, byteLength: file.byteLength, writeWeights: path => file.write(path) }
}

/** The file of weights: what stands where, and from where it comes. */
class WeightsFile {
  readonly #location: string
  readonly #folder: string
  readonly #pieces: { readonly at: number; readonly from: ExternalTensor<OnnxType> | Float32Array }[] = []
  /** Where what several tensors share stands: views of one weight. */
  readonly #known = new Map<string, number>()
  byteLength = 0

  /** @param folder where the files are that tensors come from */
  constructor(location: string, folder: string) {
    this.#location = location
    this.#folder = folder
  }

  place(weight: WeightTensor | OwnWeight): WeightTensor {
    if ('data' in weight) {
      const offset = this.#add(weight.data, weight.data.byteLength)
      return { file: this.#location, offset, byteLength: weight.data.byteLength, shape: weight.shape, dtype: 'float32' }
    }
    const moved = <T extends ExternalTensor<OnnxType>>(tensor: T): T => {
      const key = `${tensor.file} ${tensor.offset} ${tensor.byteLength}`
      const offset = this.#known.get(key) ?? this.#add(tensor, tensor.byteLength)
      this.#known.set(key, offset)
      return { ...tensor, file: this.#location, offset }
    }
    const { scales, offsets } = weight
    return { ...moved(weight), ...(scales && { scales: moved(scales) }), ...(offsets && { offsets: moved(offsets) }) }
  }

  #add(from: ExternalTensor<OnnxType> | Float32Array, byteLength: number): number {
    const at = Math.ceil(this.byteLength / ALIGNMENT) * ALIGNMENT
    this.#pieces.push({ at, from })
    this.byteLength = at + byteLength
    return at
  }

  async write(path: string): Promise<void> {
    await pipeline(this.#bytes(), createWriteStream(path, { flags: 'wx' }))
  }

  async *#bytes(): AsyncGenerator<Uint8Array> {
    let done = 0
    for (const { at, from } of this.#pieces) {
      if (at > done) yield new Uint8Array(at - done)
      done = at
      if (from instanceof Float32Array) {
        yield new Uint8Array(from.buffer, from.byteOffset, from.byteLength)
        done += from.byteLength
        continue
      }
      if (from.byteLength === 0) continue
      const { file, offset, byteLength } = from
      for await (const piece of createReadStream(join(this.#folder, file), {
        start: offset,
        end: offset + byteLength - 1,
        highWaterMark: 2 ** 20,
      }))
        yield piece as Uint8Array
      done += byteLength
    }
  }
}

/** Takes whole numbers as int64, and gives outputs the names that they have. */
class PortableBuilder extends ModelBuilder {
  readonly #cast = new Map<string, string>()

  override input(name: string, dtype: OnnxType, shape: readonly (number | string)[]): void {
    super.input(name, dtype === 'int32' ? 'int64' : dtype, shape)
    if (dtype !== 'int32') return
    const narrow = `${name}:int32`
    super.node('Cast', [name], [narrow], { to: 6 })
    this.#cast.set(name, narrow)
  }

  override node(
    operator: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Attributes = {},
    domain = '',
  ): void {
    const taken = inputs.map(name => this.#cast.get(name) ?? name)
    super.node(operator, taken, outputs.map(ownName), attributes, domain)
  }

  override output(name: string, dtype: OnnxType, shape: readonly (number | string)[]): void {
    super.output(ownName(name), dtype, shape)
  }
}

/** Programs write outputs as `NAME:out`, so that an input may have the same name. */
const ownName = (name: string) => (name.endsWith(':out') ? name.slice(0, -4) : name)
