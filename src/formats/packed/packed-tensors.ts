/**
 * Safetensors of which some weights are packed: several stored tensors (integers, scales, zero points) make one. Seen from outside it is
 * a file of the weights that they stand for; the tensors that these are made of are not to be seen. It knows no packing: `schemes` do.
 */

import { GradpromptError } from '../../errors.js'
import { elementCount } from '../../numbers.js'
import type { StoredTensor, TensorFile, TensorLocation } from '../tensor-file.js'

/** A weight that is made of several stored tensors. */
export interface PackedWeight extends StoredTensor {
  /** The tensors that it is made of; the first holds its numbers. */
  readonly sources: readonly [string, ...string[]]
  /** Writes its values, row-major, [out * in]. What the tensors hold is checked here; their shapes were checked before. */
  unpack(file: TensorFile, out: Float32Array): Promise<void>
}

/** How one kind of checkpoint packs its weights. */
export interface PackingScheme {
  /** Values of `quant_method` in config.json's `quantization_config`. */
  readonly methods: readonly string[]
  /**
   * The packed weights of a file, and what stands beside them and is for running them in another way (scales of activations).
   * @throws GradpromptError `unsupported-quantization` for a variant that is not read, `shape-mismatch` for tensors that do not fit together
   */
  find(
    file: TensorFile,
    config: Readonly<Record<string, unknown>>,
  ): { weights: readonly PackedWeight[]; beside: readonly string[] }
}

export class PackedTensors implements TensorFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly #file: TensorFile
  readonly #packed: ReadonlyMap<string, PackedWeight>

  /** @throws GradpromptError `shape-mismatch` where a weight is stored both as it is and packed */
  constructor(file: TensorFile, weights: readonly PackedWeight[], beside: readonly string[]) {
    this.#file = file
    this.#packed = new Map(weights.map(weight => [weight.name, weight]))
    const hidden = new Set([...beside, ...weights.flatMap(({ sources }) => sources)])
    const seen = new Map([...file.tensors].filter(([name]) => !hidden.has(name)))
    for (const { name, dtype, shape } of weights) {
      if (seen.has(name))
        throw new GradpromptError('shape-mismatch', `${file.path} holds "${name}" twice: as it is, and packed`, {
          found: `${name} and ${weights.find(weight => weight.name === name)!.sources[0]}`,
          expected: 'one of them',
          hint: 'the checkpoint was written wrongly: take it from where it was published',
        })
      seen.set(name, { name, dtype, shape })
    }
    this.tensors = seen
  }

  get path(): string {
    return this.#file.path
  }

  requireReadable(name: string): void {
    if (!this.#packed.has(name)) this.#file.requireReadable(name)
  }

  /** Of a packed weight, where its numbers are. */
  locate(name: string): TensorLocation {
    const packed = this.#packed.get(name)
    return packed === undefined ? this.#file.locate(name) : { ...this.#file.locate(packed.sources[0]), type: packed.dtype }
  }

  readBytes(name: string): Promise<Uint8Array> {
    return this.#file.readBytes(this.#packed.get(name)?.sources[0] ?? name)
  }

  /** @throws GradpromptError `unsupported-quantization` for a packed weight: its bytes without the others say nothing */
  bytePieces(name: string): AsyncGenerator<Uint8Array> {
    const packed = this.#packed.get(name)
    if (packed === undefined) return this.#file.bytePieces(name)
    throw new GradpromptError('unsupported-quantization', `Packed weights cannot be copied: ${name} is made of several tensors`, {
      found: `${packed.dtype} in ${this.path}`,
      expected: 'weights that are stored as they are, or GGUF',
      hint: 'use the checkpoint that it was made from',
    })
  }

  async *valuePieces(name: string): AsyncGenerator<Float32Array> {
    if (this.#packed.has(name)) yield await this.read(name)
    else yield* this.#file.valuePieces(name)
  }

  async read(name: string, out?: Float32Array): Promise<Float32Array> {
    const packed = this.#packed.get(name)
    if (packed === undefined) return this.#file.read(name, out)
    const count = elementCount(packed.shape)
    if (out !== undefined && out.length !== count) {
      throw new GradpromptError('shape-mismatch', `The array given for tensor "${name}" has the wrong length`, {
        found: `${out.length} elements`,
        expected: `${count}, for shape [${packed.shape.join(', ')}]`,
        hint: 'Leave the array out to have one made.',
      })
    }
    const values = out ?? new Float32Array(count)
    await packed.unpack(this.#file, values)
    return values
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
