import { Program } from '../program/program.js'
import type { ProgramModel } from './model-programs.js'
import { outsideVocabulary } from './row.js'

/** Tokens of one run. */
const MOST_TOKENS = 4096

/**
 * Embeddings of tokens as the first layer takes them: what the family's `embed` makes of them, never the rows as they are stored. Its
 * program is compiled when it is first needed.
 */
export class TokenEmbeddings {
  readonly #model: ProgramModel
  readonly #threads: number
  #program: Promise<Program> | undefined

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
      const { embedded } = await (await this.#open()).run({ ids: Int32Array.from(ids.slice(start, start + MOST_TOKENS)) })
      rows.set(embedded as Float32Array, start * hiddenSize)
    }
    return rows
  }

  /** Of the whole vocabulary, [V, d]. */
  table(): Promise<Float32Array> {
    return this.rows(Array.from({ length: this.#model.checkpoint.config.vocabSize }, (_, id) => id))
  }

  async dispose(): Promise<void> {
    const program = this.#program
    this.#program = undefined
    await (await program)?.dispose()
  }

  #open(): Promise<Program> {
    const { checkpoint, weights } = this.#model
    const { family, config } = checkpoint
    this.#program ??= Program.compile(
      {
        name: `${family.name} embeddings`,
        inputs: { ids: { shape: ['N'], dtype: 'int32' } },
        dims: { N: [1, MOST_TOKENS] },
        weights,
        origin: { module: import.meta.url, parts: [family], options: { config } },
        fn: ({ ids }, weight) => ({ embedded: family.embed(config, weight, ids!) }),
      },
      // Few rows are gathered here, on the processor: giving a device the table would take longer.
      { device: 'cpu', threads: this.#threads },
    )
    this.#program.catch(() => {
      this.#program = undefined
    })
    return this.#program
  }
}
