import type { ModelConfig, ModelFamily } from '../../models/blocks/family.js'
import { families } from '../../models/index.js'
import { loadTokenizer, type Tokenizer } from '../formats/tokenizer.js'
import type { DownloadListener } from '../hub/news.js'
import { meanCrossEntropy } from '../losses/index.js'
import type { ActiveLoss } from '../losses/loss.js'
import { multipliesBytes } from '../program/byte-products.js'
import { type Device, type DeviceChoice, defaultDevice, deviceProfile } from '../program/devices.js'
import type { KeepingChoice } from '../program/keeping.js'
import { OpenPrograms } from '../program/open-programs.js'
import type { Precision } from '../program/precision.js'
import type { WeightFile } from '../program/program.js'
import type { LayerState } from '../prompts/method.js'
import { type ActivePrompt, plainPrompt, type SoftPrompt } from './active-prompt.js'
import { chooseDevices, threadsOf } from './devices/choose.js'
import { type ForwardPass, type ForwardPassOptions, ModelInspection, type RowGradient } from './inspection.js'
import { integerWeights } from './integer-weights.js'
import { layerStates } from './layer-states.js'
import { LossScale } from './loss-scale.js'
import { keepingOn, MemoryPlan } from './memory.js'
import { gradientRequest, readingRequest } from './model-programs.js'
import { type LabelOutputs, labelOutputs, rowLogits, tokenLogProbabilities } from './predictions.js'
import { frozenRows, type GradientOptions, type PromptGradient, promptGradient } from './prompt-gradient.js'
import { logitsReading } from './readings.js'
import type { CandidateRow, LabelledRow } from './row.js'
import { type EmbeddingProducts, TokenEmbeddings } from './token-embeddings.js'
import { type Checkpoint, openCheckpoint, shortName } from './weights/checkpoint.js'
import { quantizedWeights } from './weights/quantized-weights.js'
import { hashModel, weightBytes, weightFile } from './weights/weight-file.js'

export interface LoadOptions {
  /**
   * Where it runs; `auto`: on the fastest device that computes rightly and has room for the weights, which is said as a warning. On several
   * (`cuda:0,cuda:1`; one named twice has two processes) the parts of batches are computed at once, with the bits that one device has.
   */
  readonly device?: DeviceChoice
  /** CPU threads, of each process; by default one a core. */
  readonly threads?: number
  /** Memory budget in bytes; by default what the machine has free. */
  readonly memory?: number
  /**
   * How weights are kept, on disk and in memory: `fp32`; `compact`, as small as they keep their values (16 bits, or GGUF's blocks of 8 bits),
   * and unpacked where programs read them; or `auto`, the default: `fp32` wherever that takes half of the memory budget at most, and no more than 4 GB.
   */
  readonly keepWeights?: KeepingChoice | undefined
  /**
   * In which width products are computed: `fp32`, the default; `fp16` or `bf16`, with weights rounded to it, and everything else in fp32.
   */
  readonly precision?: Precision | undefined
  /** Model families of people's own that it may be of: objects, or paths of modules. */
  readonly families?: readonly (string | ModelFamily)[] | undefined
  /** Called while the weights are dequantised, or rounded, for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
  /** Told of files that are downloaded where the name is one of the Hub; by default standard error says what comes. */
  readonly onDownload?: DownloadListener | undefined
}

/** The weights of the programs that compute prompts, and of those that decode new tokens. */
export interface GenerationWeights {
  readonly prompts: WeightFile
  readonly decoding: WeightFile
}

/** A causal language model: frozen weights on disk, and programs that are compiled when they are first needed. */
export class LanguageModel {
  readonly #programs: OpenPrograms
  readonly #embeddings: TokenEmbeddings
  readonly #inspection: ModelInspection
  #stored: Promise<GenerationWeights> | undefined
  /** What gradients are scaled by where they are computed in `fp16`. */
  readonly lossScale: LossScale | undefined
  readonly #onProgress: ((fraction: number) => void) | undefined

  private constructor(
    readonly checkpoint: Checkpoint,
    readonly tokenizer: Tokenizer,
    /** Hash of the model's files. */
    readonly hash: string,
    /** The weights as every program of this model maps them. */
    readonly weights: WeightFile,
    readonly devices: readonly [Device, ...Device[]],
    readonly threads: number,
    readonly memory: MemoryPlan,
    onProgress?: (fraction: number) => void,
  ) {
    this.#programs = new OpenPrograms(this, `the model ${checkpoint.name}`, devices.slice(1))
    this.#inspection = new ModelInspection(this, this.#programs)
    this.#embeddings = new TokenEmbeddings(this, this)
    this.lossScale = weights.precision === 'fp16' ? new LossScale() : undefined
    this.#onProgress = onProgress
  }

  /** @throws GradpromptError as `openCheckpoint` and `loadTokenizer` do; `not-enough-memory`, `disk-full` */
  static async load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
    for (const family of options.families ?? []) await families.load(family)
    const checkpoint = await openCheckpoint(name, { onDownload: options.onDownload })
    try {
      const devices = await chooseDevices(options.device ?? defaultDevice, weightBytes(checkpoint))
      const keeping = keepingOn(devices[0], options.keepWeights, options.precision)
      const memory = new MemoryPlan(checkpoint, options.memory, keeping, devices)
      memory.requireWeights()
      const [tokenizer, hash] = await Promise.all([loadTokenizer(checkpoint.tokenizer), hashModel(checkpoint.files)])
      const weights = await weightFile(checkpoint, hash, { keeping: memory.keeping, onProgress: options.onProgress })
      const threads = options.threads ?? threadsOf(devices)
      return new LanguageModel(checkpoint, tokenizer, hash, weights, devices, threads, memory, options.onProgress)
    } finally {
      await checkpoint.file.close()
    }
  }

  get config(): ModelConfig {
    return this.checkpoint.config
  }

  /** The first of the devices, where everything is computed that is not shared out. */
  get device(): Device {
    return this.devices[0]
  }

  /**
   * The weights in 8 bits or less, for programs without gradients. Where the processor multiplies bytes as they are, these are whole
   * numbers for all rows; elsewhere new tokens are decoded by the integers of the checkpoint, and prompts computed in float32.
   *
   * @throws GradpromptError `disk-full` when they cannot be written to the cache
   */
  storedWeights(): Promise<GenerationWeights> {
    this.#stored ??= this.#makeStoredWeights()
    this.#stored.catch(() => {
      this.#stored = undefined
    })
    return this.#stored
  }

  async #makeStoredWeights(): Promise<GenerationWeights> {
    const { device, threads } = this
    const onProgress = this.#onProgress
    if (deviceProfile(device).multipliesIntegers && (await multipliesBytes())) {
      const weights = await integerWeights(this, { device, threads, onProgress })
      return { prompts: weights, decoding: weights }
    }
    return { prompts: this.weights, decoding: await quantizedWeights(this.checkpoint, this.weights, { onProgress }) }
  }

  /** How many calls may as well be made at once, for all devices to have something to compute. */
  get atOnce(): number {
    return this.#programs.atOnce
  }

  /** Short name: of the folder or file. */
  get name(): string {
    return shortName(this.checkpoint)
  }

  /** Embeddings of tokens as the first layer takes them: [ids.length, d]. */
  async embeddingRows(ids: readonly number[]): Promise<Float32Array> {
    this.#programs.refuseDisposed()
    return this.#embeddings.rows(ids)
  }

  /** Products of vectors, [F, d], with those of the whole vocabulary, some thousand tokens at a time. */
  embeddingProducts(vectors: Float32Array): AsyncGenerator<EmbeddingProducts> {
    this.#programs.refuseDisposed()
    return this.#embeddings.products(vectors)
  }

  /** Those of the whole vocabulary, [V, d]. */
  async embeddingTable(): Promise<Float32Array> {
    this.#programs.refuseDisposed()
    return this.#embeddings.table()
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
   * Logits at every position of each row, or at its last ones.
   *
   * @param rows token ids
   * @param soft a prompt that acts on every row, as plain rows in front of it or as a method's; its own positions have no logits in
   *   the result
   * @param options.last how many positions at the end of each row are read; by default all
   * @returns for each row [positions * vocabSize]
   */
  async logits(
    rows: readonly (readonly number[])[],
    soft?: SoftPrompt | ActivePrompt,
    { last }: { readonly last?: number | undefined } = {},
  ): Promise<Float32Array[]> {
    const prompt = soft && ('method' in soft ? soft : plainPrompt(soft, this.config))
    return rowLogits(this.#computing, rows, prompt, last)
  }

  /**
   * Mean cross entropy of the label tokens of all rows, and its gradient with respect to a soft prompt before every row. With `recompute`
   * the backward pass computes the layers again in place of keeping what they have made.
   *
   * @returns loss, and the gradient [m * hiddenSize]
   */
  async lossAndGradient({
    softPrompt,
    rows,
    recompute = false,
  }: {
    softPrompt: SoftPrompt
    rows: readonly LabelledRow[]
    recompute?: boolean
  }): Promise<{ loss: number; gradient: Float32Array }> {
    const { loss, gradients } = await this.promptGradient(plainPrompt(softPrompt, this.config), rows, { recompute })
    return { loss, gradient: gradients.get('prompt')! }
  }

  /**
   * Loss of a batch and its gradient with respect to a prompt's parameters. A batch that does not fit into the memory budget is
   * computed in parts, of whole groups where rows are in groups; the sum of their gradients is the batch's.
   */
  promptGradient(prompt: ActivePrompt, rows: readonly LabelledRow[], options: GradientOptions = {}): Promise<PromptGradient> {
    return promptGradient(this.#computing, prompt, rows, options)
  }

  /**
   * What the layers that nothing learned reaches make of rows: their hidden states as the first layer beyond takes them. These never
   * change while a prompt is learned. Which rows are computed together shows in the last bits alone.
   *
   * @returns for each row [tokens * hiddenSize], of the tokens that `promptGradient` feeds
   */
  frozenRows(prompt: ActivePrompt, rows: readonly LabelledRow[]): Promise<Float32Array[]> {
    return frozenRows(this.#computing, prompt, rows)
  }

  get #computing() {
    const { config, memory, checkpoint, weights, lossScale } = this
    return { config, memory, checkpoint, weights, lossScale, programs: this.#programs }
  }

  /**
   * Log-probabilities of the whole vocabulary where each label of a row is predicted: what a teacher says. The row is computed alone,
   * so that its numbers do not depend on which rows were computed beside it.
   *
   * @returns [labels * vocabSize]
   * @throws GradpromptError `unpredictable-label` when nothing precedes a label
   */
  async labelLogProbabilities(prompt: ActivePrompt | undefined, row: LabelledRow): Promise<Float32Array> {
    return (await labelOutputs(this.#computing, prompt, row, { withHidden: false })).logProbabilities
  }

  /** The same, with the normalised hidden states that they are made of, [labels * hiddenSize]. */
  async labelStates(prompt: ActivePrompt | undefined, row: LabelledRow): Promise<LabelOutputs> {
    return labelOutputs(this.#computing, prompt, row, { withHidden: true })
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
  tokenLogProbabilities(prompt: ActivePrompt | undefined, rows: readonly CandidateRow[]): Promise<number[][][]> {
    return tokenLogProbabilities(this.#computing, prompt, rows)
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
    return this.#inspection.forward(rows, options)
  }

  /**
   * Log-probability of each token of each row, given those before it.
   * @param soft a prompt that acts on every row
   * @returns for each row [length], in nats; NaN where nothing precedes a token, as where a row begins without a prompt
   */
  async logProbabilities(rows: readonly (readonly number[])[], soft?: SoftPrompt | ActivePrompt): Promise<Float32Array[]> {
    return this.#inspection.tokenLogProbabilities(rows, soft)
  }

  /**
   * Mean cross entropy of the label tokens of every row by itself, and its gradient with respect to a soft prompt before it: their mean,
   * weighted by the numbers of labels, is what `lossAndGradient` says of all.
   * @returns for each row its loss, and the gradient [m * hiddenSize]
   */
  async rowGradients({ softPrompt, rows }: { softPrompt: SoftPrompt; rows: readonly LabelledRow[] }): Promise<RowGradient[]> {
    return this.#inspection.rowGradients(softPrompt, rows)
  }

  /** Opens (and compiles, if need be) the program of a training run, so that its first step is as fast as the others. */
  async prepareGradient(
    prompt: ActivePrompt,
    {
      losses = [meanCrossEntropy],
      frozen = false,
      recompute = false,
    }: { readonly losses?: readonly ActiveLoss[]; readonly frozen?: boolean; readonly recompute?: boolean } = {},
  ): Promise<void> {
    await this.#programs.open(gradientRequest(this, losses, prompt, { frozen, recompute }))
  }

  /** The same for `labelLogProbabilities`. */
  async prepareLogits(prompt: ActivePrompt | undefined): Promise<void> {
    await this.#programs.open(readingRequest(this, logitsReading, prompt))
  }

  /** @throws GradpromptError `disposed` */
  refuseDisposed(): void {
    this.#programs.refuseDisposed()
  }

  /** Frees programs and files. Every later call says `disposed`; a second dispose does nothing. */
  async dispose(): Promise<void> {
    await this.#programs.dispose()
    await this.#embeddings.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}
