import { tf } from '../../kernels/tf.js'
import { Program, type ProgramSpec } from '../program/program.js'
import type { ProgramModel } from './model-programs.js'
import { outsideVocabulary } from './row.js'

/** Tokens of one run. */
const MOST_TOKENS = 4096
/** Vectors that are multiplied with tokens in one run. */
const MOST_VECTORS = 1024

/** Products of vectors with some tokens' embeddings. */
export interface EmbeddingProducts {
  readonly ids: readonly number[]
  /** Of the embeddings' lengths, [N] */
  readonly squaredNorms: Float32Array
  /** [F, N] */
  readonly products: Float32Array
}

/**
 * Embeddings of tokens as the first layer takes them: what the family's `embed` makes of them, never the rows as they are stored. Its
 * programs are compiled when they are first needed.
 */
export class TokenEmbeddings {
  readonly #model: ProgramModel
  readonly #threads: number
  readonly #opened = new Map<keyof typeof specs, Promise<Program>>()

  constructor(model: ProgramModel, { threads }: { readonly threads: number }) {
    this.#model = model
    this.#threads = threads
  }

  /**
   * @returns [ids.length, d]
   * @throws GradpromptError `invalid-token-id`
   */
  async rows(ids: readonly number[]): Promise<Float32Array> {
    const { hiddenSize, vocabSize } = this.#model.checkpoint.config
    const wrong = ids.find(id => !(Number.isInteger(id) && id >= 0 && id < vocabSize))
    if (wrong !== undefined) throw outsideVocabulary('A token id lies outside the vocabulary', wrong, vocabSize)
    const rows = new Float32Array(ids.length * hiddenSize)
    for (let start = 0; start < ids.length; start += MOST_TOKENS) {
      const { embedded } = await (await this.#open('rows')).run({ ids: Int32Array.from(ids.slice(start, start + MOST_TOKENS)) })
      rows.set(embedded as Float32Array, start * hiddenSize)
    }
    return rows
  }

  /** Of the whole vocabulary, [V, d]. */
  table(): Promise<Float32Array> {
    return this.rows(Array.from({ length: this.#model.checkpoint.config.vocabSize }, (_, id) => id))
  }

  /**
   * Vectors with the whole vocabulary, some thousand tokens at a time: all of a large model's products take gigabytes.
   * @param vectors [F, d]
   */
  async *products(vectors: Float32Array): AsyncGenerator<EmbeddingProducts> {
    const { hiddenSize, vocabSize } = this.#model.checkpoint.config
    const program = await this.#open('products')
    const count = vectors.length / hiddenSize
    for (let first = 0; first < vocabSize; first += MOST_TOKENS) {
      const ids = Array.from({ length: Math.min(MOST_TOKENS, vocabSize - first) }, (_, i) => first + i)
      const products = new Float32Array(count * ids.length)
      let squaredNorms = new Float32Array(0)
      for (let start = 0; start < count; start += MOST_VECTORS) {
        const given = vectors.subarray(start * hiddenSize, (start + MOST_VECTORS) * hiddenSize)
        const found = await program.run({ ids: Int32Array.from(ids), vectors: given })
        products.set(found.products as Float32Array, start * ids.length)
        squaredNorms = found.squaredNorms as Float32Array<ArrayBuffer>
      }
      yield { ids, squaredNorms, products }
    }
  }

  async dispose(): Promise<void> {
    const programs = [...this.#opened.values()]
    this.#opened.clear()
    for (const program of programs) await (await program).dispose()
  }

  #open(name: keyof typeof specs): Promise<Program> {
    const known = this.#opened.get(name)
    if (known) return known
    const { checkpoint, weights } = this.#model
    const { family, config } = checkpoint
    const program = Program.compile(
      {
        ...specs[name](this.#model),
        name: name === 'rows' ? `${family.name} embeddings` : `${family.name} embedding products`,
        weights,
        origin: { module: import.meta.url, parts: [family], options: { config } },
      },
      // Few rows are gathered here, on the processor: giving a device the table would take longer.
      { device: 'cpu', threads: this.#threads },
    )
    this.#opened.set(name, program)
    program.catch(() => this.#opened.delete(name))
    return program
  }
}

const ids = { shape: ['N'], dtype: 'int32' } as const

const specs = {
  rows: ({ checkpoint: { family, config } }) => ({
    inputs: { ids },
    dims: { N: [1, MOST_TOKENS] },
    fn: (given, weight) => ({ embedded: family.embed(config, weight, given.ids!) }), // [N, d]
  }),
  products: ({ checkpoint: { family, config } }) => ({
    inputs: { ids, vectors: { shape: ['F', config.hiddenSize], dtype: 'float32' } },
    dims: { N: [1, MOST_TOKENS], F: [1, MOST_VECTORS] },
    fn(given, weight) {
      const rows = family.embed(config, weight, given.ids!) // [N, d]
      return {
        products: tf.matMul(given.vectors as tf.Tensor2D, rows as tf.Tensor2D, false, true), // [F, N]
        squaredNorms: tf.sum(tf.square(rows), 1), // [N]
      }
    },
  }),
} satisfies Readonly<Record<string, (model: ProgramModel) => Pick<ProgramSpec, 'inputs' | 'dims' | 'fn'>>>
