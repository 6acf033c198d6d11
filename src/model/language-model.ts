import type { ModelConfig } from '../../models/family.js'
import { GradpromptError } from '../errors.js'
import { loadTokenizer, type Tokenizer } from '../formats/tokenizer.js'
import { logSumExp } from '../numbers.js'
import { multipliesBytes } from '../program/byte-products.js'
import { type Device, defaultDevice, deviceProfile } from '../program/devices.js'
import { defaultThreads, type WeightFile } from '../program/program.js'
import type { LayerState } from '../prompts/method.js'
import {
  type ActivePrompt,
  ownTokens,
  parameterInputs,
  placementOf,
  plainPrompt,
  type SoftPrompt,
  tasksOf,
} from './active-prompt.js'
import { type Checkpoint, openCheckpoint, shortName } from './checkpoint.js'
import { Forest, type Sequence, type Target } from './forest.js'
import { type ForwardPass, type ForwardPassOptions, ModelInspection, type RowGradient } from './inspection.js'
import { integerWeights } from './integer-weights.js'
import { layerStates } from './layer-states.js'
import { MemoryPlan } from './memory.js'
import { ModelPrograms, type ProgramKind, type ProgramOptions } from './model-programs.js'
import { frozenRows, type GradientOptions, type PromptGradient, promptGradient } from './prompt-gradient.js'
import { quantizedWeights } from './quantized-weights.js'
import { type CandidateRow, type LabelledRow, labelPositions, requireContext, requireIds } from './row.js'
import { TokenEmbeddings } from './token-embeddings.js'
import { hashModel, weightFile } from './weight-file.js'

export interface LoadOptions {
  readonly device?: Device
  readonly threads?: number
  /** Memory budget in bytes; by default what the machine has free. */
  readonly memory?: number
  /** Called while the weights are dequantised, or rounded, for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
}

/** The weights of the programs that compute prompts, and of those that decode new tokens. */
export interface GenerationWeights {
  readonly prompts: WeightFile
  readonly decoding: WeightFile
}

/** A causal language model: frozen weights on disk, and programs that are compiled when they are first needed. */
export class LanguageModel {
  private readonly programs: ModelPrograms
  private readonly embeddings: TokenEmbeddings
  readonly #inspection = new ModelInspection(this)
  private stored: Promise<GenerationWeights> | undefined

  private constructor(
    readonly checkpoint: Checkpoint,
    readonly tokenizer: Tokenizer,
    /** Hash of the model's files. */
    readonly hash: string,
    /** The weights as every program of this model maps them. */
    readonly weights: WeightFile,
    readonly device: Device,
    readonly threads: number,
    readonly memory: MemoryPlan,
    private readonly onProgress?: (fraction: number) => void,
  ) {
    this.programs = new ModelPrograms(this, this)
    this.embeddings = new TokenEmbeddings(this, this)
  }

  /** @throws GradpromptError as `openCheckpoint` and `loadTokenizer` do; `not-enough-memory`, `disk-full` */
  static async load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
    const checkpoint = await openCheckpoint(name)
    try {
      const memory = new MemoryPlan(checkpoint, options.memory)
      memory.requireWeights()
      const [tokenizer, hash] = await Promise.all([loadTokenizer(checkpoint.tokenizer), hashModel(checkpoint.files)])
      const weights = await weightFile(checkpoint, hash, options.onProgress)
      return new LanguageModel(
        checkpoint,
        tokenizer,
        hash,
        weights,
        options.device ?? defaultDevice,
        options.threads ?? defaultThreads(),
        memory,
        options.onProgress,
      )
    } finally {
      await checkpoint.file.close()
    }
  }

  get config(): ModelConfig {
    return this.checkpoint.config
  }

  /**
   * The weights in 8 bits or less, for programs without gradients. Where the processor multiplies bytes as they are, these are whole
   * numbers for all rows; elsewhere new tokens are decoded by the integers of the checkpoint, and prompts computed in float32.
   *
   * @throws GradpromptError `disk-full` when they cannot be written to the cache
   */
  storedWeights(): Promise<GenerationWeights> {
    this.stored ??= this.makeStoredWeights()
    this.stored.catch(() => {
      this.stored = undefined
    })
    return this.stored
  }

  private async makeStoredWeights(): Promise<GenerationWeights> {
    const { device, threads, onProgress } = this
    if (deviceProfile(device).multipliesIntegers && (await multipliesBytes())) {
      const weights = await integerWeights(this, { device, threads, onProgress })
      return { prompts: weights, decoding: weights }
    }
    return { prompts: this.weights, decoding: await quantizedWeights(this.checkpoint, this.weights, { onProgress }) }
  }

  /** Short name: of the folder or file. */
  get name(): string {
    return shortName(this.checkpoint)
  }

  /** Embeddings of tokens as the first layer takes them: [ids.length, d]. */
  async embeddingRows(ids: readonly number[]): Promise<Float32Array> {
    this.programs.refuseDisposed()
    return this.embeddings.rows(ids)
  }

  /** Those of the whole vocabulary, [V, d]. */
  async embeddingTable(): Promise<Float32Array> {
    this.programs.refuseDisposed()
    return this.embeddings.table()
  }

  /**
   * What the layers make of rows that stand alone at positions 0, 1, …: what a prompt of keys, or one before later layers, starts from.
   *
   * @param rows as the first layer takes them, [m, hiddenSize]
   * @returns one for each layer
   */
  keysAndValues(rows: Float32Array): Promise<LayerState[]> {
    return layerStates(this, rows, this)
  }

  /**
   * Logits at every position of each row.
   *
   * @param rows token ids
   * @param soft a prompt that acts on every row, as plain rows in front of it or as a method's; its own positions have no logits in
   *   the result
   * @returns for each row [length * vocabSize]
   */
  async logits(rows: readonly (readonly number[])[], soft?: SoftPrompt | ActivePrompt): Promise<Float32Array[]> {
    const prompt = soft && ('method' in soft ? soft : plainPrompt(soft, this.config))
    const { vocabSize } = this.config
    const results: Float32Array[] = []
    requireContext(
      rows.map(ids => ids.length),
      this.config,
      prompt,
    )
    for (const [start, end] of this.memory.split(
      rows.map(ids => ids.length),
      { headRows: rows.map(ids => ids.length) },
    )) {
      const part = rows.slice(start, end)
      requireIds(part, this.config, prompt)
      const forest = new Forest(
        part.map(ids => ({ ids })),
        placementOf(prompt, this.config),
      )
      const targets = part.flatMap((ids, i) => ids.map((_, j): Target => ({ row: forest.rowOf(i, j)!, id: 0, weight: 0 })))
      if (targets.length === 0) {
        results.push(...part.map(() => new Float32Array(0)))
        continue
      }
      const { inputs, readRows } = forest.inputs(targets)
      const program = await this.programs.open('logits', prompt, { children: forest.hasChildren })
      const { logits } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as { logits: Float32Array }
      const place = new Map(readRows.map((row, i) => [row, i]))
      let target = 0
      for (const ids of part) {
        const own = new Float32Array(ids.length * vocabSize)
        for (let j = 0; j < ids.length; j++) {
          const at = place.get(targets[target++]!.row)! * vocabSize
          own.set(logits.subarray(at, at + vocabSize), j * vocabSize)
        }
        results.push(own)
      }
    }
    return results
  }

  /**
   * Mean cross entropy of the label tokens of all rows, and its gradient with respect to a soft prompt before every row.
   *
   * @returns loss, and the gradient [m * hiddenSize]
   */
  async lossAndGradient({
    softPrompt,
    rows,
  }: {
    softPrompt: SoftPrompt
    rows: readonly LabelledRow[]
  }): Promise<{ loss: number; gradient: Float32Array }> {
    const { loss, gradients } = await this.promptGradient(plainPrompt(softPrompt, this.config), rows)
    return { loss, gradient: gradients.get('prompt')! }
  }

  /**
   * Loss of a batch and its gradient with respect to a prompt's parameters. A batch that does not fit into the memory budget is
   * computed in parts; the sum of their gradients is the batch's.
   *
   * @returns the loss, with what a teacher adds; `divergence` is the mean divergence from it alone, in nats
   */
  promptGradient(prompt: ActivePrompt, rows: readonly LabelledRow[], options: GradientOptions = {}): Promise<PromptGradient> {
    return promptGradient(this.forGradients, prompt, rows, options)
  }

  /**
   * What the layers that nothing learned reaches make of rows: their hidden states as the first layer beyond takes them. These never
   * change while a prompt is learned. Which rows are computed together shows in the last bits alone.
   *
   * @returns for each row [tokens * hiddenSize], of the tokens that `promptGradient` feeds
   */
  frozenRows(prompt: ActivePrompt, rows: readonly LabelledRow[]): Promise<Float32Array[]> {
    return frozenRows(this.forGradients, prompt, rows)
  }

  private get forGradients() {
    return { config: this.config, memory: this.memory, programs: this.programs }
  }

  /**
   * Log-probabilities of the whole vocabulary where each label of a row is predicted: what a teacher says. The row is computed alone,
   * so that its numbers do not depend on which rows were computed beside it.
   *
   * @returns [labels * vocabSize]
   * @throws GradpromptError `unpredictable-label` when nothing precedes a label
   */
  async labelLogProbabilities(prompt: ActivePrompt | undefined, row: LabelledRow): Promise<Float32Array> {
    return (await this.labelOutputs('logits', prompt, row)).logProbabilities
  }

  /** The same, with the normalised hidden states that they are made of, [labels * hiddenSize]. */
  async labelStates(
    prompt: ActivePrompt | undefined,
    row: LabelledRow,
  ): Promise<{ logProbabilities: Float32Array; hidden: Float32Array }> {
    return this.labelOutputs('logitsAndHidden', prompt, row)
  }

  private async labelOutputs(kind: 'logits' | 'logitsAndHidden', prompt: ActivePrompt | undefined, row: LabelledRow) {
    const positions = labelPositions(row)
    const { vocabSize, hiddenSize } = this.config
    const logProbabilities = new Float32Array(positions.length * vocabSize)
    const hidden = new Float32Array(kind === 'logitsAndHidden' ? positions.length * hiddenSize : 0)
    if (positions.length === 0) return { logProbabilities, hidden }
    requireIds([row.ids], this.config, prompt)
    requireContext([positions.at(-1)!], this.config, prompt)
    const active = prompt && tasksOf(prompt, [row])[0]!.active
    const ids = row.ids.slice(0, positions.at(-1))
    const forest = new Forest([{ ids, instructionLength: positions[0]! }], placementOf(active, this.config))
    const targets = positions.map((position): Target => {
      const at = forest.rowOf(0, position - 1)
      if (at === undefined)
        throw new GradpromptError('unpredictable-label', 'A label stands where nothing precedes it', {
          found: `position ${position}, without a soft prompt`,
          hint: 'give the template some text before the answer',
        })
      return { row: at, id: 0, weight: 0 }
    })
    const { inputs, readRows } = forest.inputs(targets)
    const program = await this.programs.open(kind, active)
    const outputs = (await program.run({ ...inputs, ...parameterInputs(active) })) as Record<string, Float32Array>
    const rowOf = (name: string, place: number, width: number) => outputs[name]!.subarray(place * width, (place + 1) * width)
    for (const [i, { row: at }] of targets.entries()) {
      const place = readRows.indexOf(at)
      logProbabilities.set(logSoftmax(rowOf('logits', place, vocabSize)), i * vocabSize)
      if (hidden.length > 0) hidden.set(rowOf('hidden', place, hiddenSize), i * hiddenSize)
    }
    return { logProbabilities, hidden }
  }

  /**
   * Log-likelihood of each candidate answer after its context. The candidates of one row share its context, and all rows what they
   * begin with alike.
   *
   * @returns for each row and candidate the sum of the log-probabilities of its tokens
   */
  async logLikelihoods(prompt: ActivePrompt | undefined, rows: readonly CandidateRow[]): Promise<number[][]> {
    const tokens = await this.tokenLogProbabilities(prompt, rows)
    return tokens.map(candidates => candidates.map(own => own.reduce((sum, value) => sum + value, 0)))
  }

  /**
   * As `logLikelihoods`, token by token.
   * @returns for each row, candidate and token of it the log-probability, in nats
   */
  async tokenLogProbabilities(prompt: ActivePrompt | undefined, rows: readonly CandidateRow[]): Promise<number[][][]> {
    const results: number[][][] = []
    if (prompt && rows.some(({ task }) => task !== undefined)) {
      for (const { active, members } of tasksOf(prompt, rows)) {
        const scores = await this.tokenLogProbabilities(
          active,
          members.map(i => ({ ...rows[i]!, task: undefined })),
        )
        for (const [i, member] of members.entries()) results[member] = scores[i]!
      }
      return results
    }
    requireContext(
      rows.map(row => row.context.length + Math.max(0, ...row.candidates.map(({ ids }) => ids.length - 1))),
      this.config,
      prompt,
    )
    const lengths = rows.map(
      row =>
        row.context.length +
        ownTokens(prompt, this.config) +
        row.candidates.reduce((sum, { ids }) => sum + Math.max(0, ids.length - 1), 0),
    )
    for (const [start, end] of this.memory.split(lengths, {
      headRows: rows.map(row => 1 + row.candidates.reduce((sum, { ids }) => sum + ids.length - 1, 0)),
    })) {
      const part = rows.slice(start, end)
      requireIds(
        part.flatMap(row => [row.context, ...row.candidates.map(({ ids }) => ids)]),
        this.config,
        prompt,
      )
      // The last token of an answer is never fed: nothing is predicted from it.
      const sequences = part.map(
        (row): Sequence => ({ ids: row.context, children: row.candidates.map(({ ids }) => ids.slice(0, -1)) }),
      )
      const forest = new Forest(sequences, placementOf(prompt, this.config))
      const targets = part.flatMap((row, i) =>
        row.candidates.flatMap(({ ids }, j) =>
          ids.map((id, k): Target => {
            const at = k === 0 ? forest.rowOf(i, row.context.length - 1) : forest.childRow(i, j, k - 1)
            if (at === undefined)
              throw new GradpromptError('empty-context', 'Nothing precedes the answer of a row', { found: `row ${start + i}` })
            return { row: at, id, weight: 0 }
          }),
        ),
      )
      const { inputs } = forest.inputs(targets)
      const program = await this.programs.open('logProbabilities', prompt, { children: forest.hasChildren })
      const { logProbabilities } = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as {
        logProbabilities: Float32Array
      }
      let next = 0
      for (const row of part) results.push(row.candidates.map(({ ids }) => ids.map(() => logProbabilities[next++]!)))
    }
    return results
  }

  /**
   * What the model makes of rows, each by itself: logits, and with `hiddenStates` and `attentions` what its layers take and what its
   * attention sees. A `hook` changes the rows that layers take: tensor code, compiled with the model.
   *
   * ```ts
   * const [pass] = await model.forward([ids], { hiddenStates: true, attentions: true })
   * pass.hiddenStates[4]                                     // what layer 4 takes, [length * hiddenSize]
   * const hook = { inputs: { shift: { data: vector, shape: [hiddenSize] } },
   *   rows: (layer, x, { shift }) => (layer === 4 ? tf.add(x, shift) : undefined) }
   * const [changed] = await model.forward([ids], { hook })   // another vector needs no new program
   * ```
   *
   * @param rows token ids
   * @throws GradpromptError `context-exceeded`, `invalid-token-id`, `not-enough-memory`, `unsupported-prompt` (attention under a prompt
   *   whose virtual tokens are not there in every layer), `disposed`, and as compiling a hook does
   */
  async forward(rows: readonly (readonly number[])[], options: ForwardPassOptions = {}): Promise<ForwardPass[]> {
    this.programs.refuseDisposed()
    return this.#inspection.forward(rows, options)
  }

  /**
   * Log-probability of each token of each row, given those before it.
   * @param soft a prompt that acts on every row
   * @returns for each row [length], in nats; NaN where nothing precedes a token, as where a row begins without a prompt
   */
  async logProbabilities(rows: readonly (readonly number[])[], soft?: SoftPrompt | ActivePrompt): Promise<Float32Array[]> {
    this.programs.refuseDisposed()
    return this.#inspection.tokenLogProbabilities(rows, soft)
  }

  /**
   * Mean cross entropy of the label tokens of every row by itself, and its gradient with respect to a soft prompt before it: their mean,
   * weighted by the numbers of labels, is what `lossAndGradient` says of all.
   * @returns for each row its loss, and the gradient [m * hiddenSize]
   */
  async rowGradients({ softPrompt, rows }: { softPrompt: SoftPrompt; rows: readonly LabelledRow[] }): Promise<RowGradient[]> {
    this.programs.refuseDisposed()
    return this.#inspection.rowGradients(softPrompt, rows)
  }

  /** Opens (and compiles, if need be) the programs of a training run, so that its first step is as fast as the others. */
  async prepare(
    prompt: ActivePrompt | undefined,
    kinds: readonly ProgramKind[],
    options: Pick<ProgramOptions, 'labelSmoothing' | 'temperature' | 'hiddenTerm'> = {},
  ): Promise<void> {
    for (const kind of kinds)
      await this.programs.open(kind, prompt, kind === 'gradient' || kind === 'gradientFromFrozen' ? options : {})
  }

  /** Frees programs and files. Every later call says `disposed`; a second dispose does nothing. */
  async dispose(): Promise<void> {
    await this.programs.dispose()
    await this.#inspection.dispose()
    await this.embeddings.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}

function logSoftmax(logits: Float32Array): Float32Array {
  const level = logSumExp(logits)
  return logits.map(x => x - level)
}
