import { type ActivePrompt, parameterInputs } from '../../model/active-prompt.js'
import type { Forest } from '../../model/forest/forest.js'
import type { GenerationWeights, LanguageModel } from '../../model/language-model.js'
import type { OpenPrograms } from '../../program/open-programs.js'
import type { ProgramInput } from '../../program/program.js'
import { decodeRequest, prefillRequest, promptKeysRequest } from '../programs.js'
import type { NewKeyValues } from './block-store.js'

/** What a run over new tokens says. */
export interface NewTokens {
  /** The likeliest token behind each row that is read. */
  readonly tokens: Int32Array
  /** Of the new rows, as `NewKeyValues` has them. */
  readonly keyValues: Float32Array
  /** Logits behind a read row, where they were asked for. */
  logitsOf(place: number): Float32Array | undefined
}

/** The programs that sequences under one acting prompt run, with its parameters filled in. Sequences are unknown here. */
export class LanePrograms {
  readonly #model: LanguageModel
  readonly #programs: OpenPrograms
  readonly #weights: GenerationWeights
  readonly #acting: ActivePrompt | undefined

  /** @param acting the prompt that acts on the text of these sequences */
  constructor(model: LanguageModel, programs: OpenPrograms, weights: GenerationWeights, acting: ActivePrompt | undefined) {
    this.#model = model
    this.#programs = programs
    this.#weights = weights
    this.#acting = acting
  }

  /** Opens the programs that every request needs. */
  async prepare(): Promise<void> {
    await this.#programs.open(this.#prefill)
    await this.#programs.open(this.#decode(false))
  }

  /** @param sampled distinct places among the rows that are read whose logits are wanted */
  async prefill(inputs: Readonly<Record<string, ProgramInput>>, sampled: readonly number[]): Promise<NewTokens> {
    return this.#run(this.#prefill, inputs, sampled)
  }

  /**
   * @param options.sharing whether some blocks are seen by several sequences
   * @param options.sampled as in `prefill`
   */
  async decode(
    inputs: Readonly<Record<string, ProgramInput>>,
    { sharing, sampled }: { readonly sharing: boolean; readonly sampled: readonly number[] },
  ): Promise<NewTokens> {
    return this.#run(this.#decode(sharing), inputs, sampled)
  }

  /** Keys and values of a whole text under a prompt whose hooks act as they do in training, in the rows of a forest. */
  async promptKeys(prompt: ActivePrompt, forest: Forest): Promise<NewKeyValues> {
    const program = await this.#programs.open(promptKeysRequest(this.#model, prompt, this.#model.weights))
    const { inputs } = forest.inputs([{ row: forest.rows - 1, id: 0, weight: 0 }])
    const { keyValues } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as { keyValues: Float32Array }
    return { data: keyValues, rows: forest.rows }
  }

  get #prefill() {
    return prefillRequest(this.#model, { prompt: this.#acting, weights: this.#weights.prompts })
  }

  #decode(sharing: boolean) {
    return decodeRequest(this.#model, { prompt: this.#acting, weights: this.#weights.decoding, sharing })
  }

  async #run(
    request: Parameters<OpenPrograms['open']>[0],
    inputs: Readonly<Record<string, ProgramInput>>,
    sampled: readonly number[],
  ): Promise<NewTokens> {
    const { vocabSize } = this.#model.config
    const program = await this.#programs.open(request)
    const results = await program.run({
      ...inputs,
      ...parameterInputs(this.#acting),
      // A program has no tensor without rows.
      sampled: Int32Array.from(sampled.length > 0 ? sampled : [0]),
    })
    const { tokens, logits, keyValues } = results as { tokens: Int32Array; logits: Float32Array; keyValues: Float32Array }
    const places = new Map(sampled.map((place, i) => [place, i]))
    const logitsOf = (place: number) => {
      const at = places.get(place)
      return at === undefined ? undefined : logits.subarray(at * vocabSize, (at + 1) * vocabSize)
    }
    return { tokens, keyValues, logitsOf }
  }
}
