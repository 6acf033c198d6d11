import { setImmediate } from 'node:timers/promises'
import { BLOCK_LENGTH } from '../../../kernels/attention/cached.js'
import { disposedError, GradpromptError, unknownName } from '../../errors.js'
import { type ActivePrompt, placementOf } from '../../model/active-prompt.js'
import { tellFirstAlone } from '../../model/devices/first-alone.js'
import type { GenerationWeights, LanguageModel } from '../../model/language-model.js'
import { gigabytes } from '../../model/weights/weight-file.js'
import { OpenPrograms } from '../../program/open-programs.js'
import { Grammars } from '../limits/grammars.js'
import type { WeightWidth } from '../programs.js'
import type { Generation, GenerationRequest, Generator } from '../request.js'
import { chooseWidth, type WeightChoice } from '../width.js'
import { BlockStore } from './block-store.js'
import { Contrast } from './contrast.js'
import { Lane, laneOf, type NamedPrompt } from './lane.js'
import { PrefixCache } from './prefix-cache.js'
import { requireContrast, requirePositions } from './request-check.js'
import { Sequence, type Settle } from './sequence.js'

export interface EngineOptions {
  /** Width of the linear layers' weights; by default `auto` (see `chooseWidth`). */
  readonly weights?: WeightChoice
  /** Sequences under way at the same time, at most. */
  readonly batchSize?: number
  /** Soft prompts by name. Their keys and values are computed once. */
  readonly prompts?: Readonly<Record<string, ActivePrompt>>
  /** The prompt of requests that name none. */
  readonly defaultPrompt?: string
  /** Bytes of cached keys and values, at most; a quarter of it may be beginnings kept for later. By default a share of what is free. */
  readonly cacheBytes?: number
  /**
   * Whether tokens are guessed from what stands before them (see `PromptLookup`): the same answers in fewer steps, but for rounding,
   * which changes with the number of rows in a run. By default true.
   */
  readonly promptLookup?: boolean
  /**
   * Whether others may ask while answers are under way, as clients of a server do: prompts are computed in shorter runs, and short ones
   * do not wait for long ones that came before. Of a model of 135 million weights a prompt of 6,000 tokens, alone, takes a fifth longer.
   */
  readonly interactive?: boolean
  /** Tokens that end every answer, in place of the model's own. */
  readonly endTokenIds?: readonly number[]
}

interface Waiting {
  readonly sequence: Sequence
  readonly named: NamedPrompt
}

/** Whoever hears of a sequence that only runs beside an answer. */
const nobody: Settle = { resolve: () => {}, reject: () => {} }

/** Name of having no soft prompt, which no registered prompt can have. */
const PLAIN = ''

/**
 * Generates for many requests at once: they join and leave the running batch at every step, and what several begin with is computed
 * once. Greedy results do not depend on what else is running, but for ties of logits within rounding.
 *
 * `Generation.ids` are the generated tokens without the one that ended the answer.
 */
export class GenerationEngine implements Generator {
  readonly #waiting: Waiting[] = []
  readonly #lanes = new Map<string, Lane>()
  readonly #programs: OpenPrograms
  readonly #prefixes: PrefixCache
  readonly #grammars: Grammars
  readonly #batchSize: number
  readonly #endTokenIds: readonly number[]
  /** Blocks that there may be, and those that sequences under way may come to. */
  readonly #capacity: number
  #reserved = 0
  /** Signals of requests that are not settled. */
  readonly #signals = new Map<AbortSignal, { requests: number; readonly drop: () => void }>()
  #work: Promise<void> | undefined
  #disposed = false

  readonly #model: LanguageModel
  readonly #weights: GenerationWeights
  readonly #options: EngineOptions

  private constructor(
    model: LanguageModel,
    weights: GenerationWeights,
    /** The width of the weights that are used. */
    readonly width: WeightWidth,
    options: EngineOptions,
  ) {
    this.#model = model
    this.#weights = weights
    this.#options = options
    this.#programs = new OpenPrograms(model, 'the engine')
    this.#batchSize = options.batchSize ?? 64
    this.#endTokenIds = options.endTokenIds ?? model.tokenizer.endTokenIds
    const bytes = options.cacheBytes ?? defaultCacheBytes(model)
    this.#prefixes = new PrefixCache(bytes / 4)
    this.#grammars = new Grammars(model.tokenizer, Math.min(model.config.vocabSize, model.tokenizer.vocabSize))
    this.#capacity = Math.max(1, Math.floor((bytes * 3) / 4 / BlockStore.bytes(model.config)))
    if (!(Number.isInteger(this.#batchSize) && this.#batchSize >= 1)) {
      throw new GradpromptError('invalid-option', 'batchSize is not usable', {
        found: String(options.batchSize),
        expected: 'a whole number from 1',
      })
    }
    if (options.defaultPrompt !== undefined) this.#named(options.defaultPrompt)
  }

  /** Opens the programs, so that the first answer is as fast as the others. @throws GradpromptError as compiling does, `invalid-option` */
  static async open(model: LanguageModel, options: EngineOptions = {}): Promise<GenerationEngine> {
    tellFirstAlone(model, 'texts that the model writes')
    const width = chooseWidth(options.weights ?? 'auto', model.memory)
    const fp32 = { prompts: model.weights, decoding: model.weights }
    const engine = new GenerationEngine(model, width === 'fp32' ? fp32 : await model.storedWeights(), width, options)
    try {
      await engine.#lane(engine.#named(options.defaultPrompt)).prepare()
    } catch (error) {
      await engine.dispose()
      throw error
    }
    return engine
  }

  /** What is under way. */
  get state(): { readonly waiting: number; readonly running: number; readonly blocks: number; readonly keptBytes: number } {
    const lanes = [...this.#lanes.values()]
    return {
      waiting: this.#waiting.length,
      running: lanes.reduce((sum, lane) => sum + lane.size, 0),
      blocks: lanes.reduce((sum, lane) => sum + lane.blocks, 0),
      keptBytes: this.#prefixes.size.bytes,
    }
  }

  /**
   * @throws GradpromptError `context-exceeded`, `invalid-token-id`, `empty-prompt`, `invalid-option`, `unknown-prompt`,
   *   `not-enough-memory`, `disposed`; with a grammar `invalid-regex`, `unsupported-regex`, `invalid-schema`, `unsupported-schema`,
   *   `answer-unreachable`; what `onText` throws
   */
  async generate(request: GenerationRequest): Promise<Generation> {
    if (this.#disposed) throw disposedError('the engine')
    const { signal, logProbabilities } = request
    let settle: Settle | undefined
    const settled = new Promise<Generation>((resolve, reject) => {
      settle = { resolve, reject }
    })
    const sequences = this.#sequences(request, settle!)
    using _ = request.grammar && (await sequences[0]!.sequence.limitTo(request.grammar, this.#grammars))
    if (this.#disposed) throw disposedError('the engine')
    if ((request.maxNewTokens === 0 && request.continuation === undefined) || signal?.aborted) {
      const finishReason = signal?.aborted ? 'aborted' : 'length'
      return { ids: [], text: '', finishReason, promptTokens: request.ids.length, ...(logProbabilities ? { logProbabilities: [] } : {}) } // biome-ignore format: nothing to do
    }
    this.#waiting.push(...sequences)
    this.#work ??= this.#loop()
    const forgetSignal = signal && this.#hear(signal)
    try {
      return await settled
    } finally {
      forgetSignal?.()
    }
  }

  /** Every step looks for aborted requests; one that waits for a place need not wait for a step. A signal is heard once for all of them. */
  #hear(signal: AbortSignal): () => void {
    const drop = () => {
      for (const { sequence } of this.#waiting.filter(({ sequence }) => sequence.aborted)) this.#dropWaiting(sequence)
    }
    const heard = this.#signals.get(signal) ?? { requests: 0, drop }
    if (heard.requests++ === 0) signal.addEventListener('abort', heard.drop)
    this.#signals.set(signal, heard)
    return () => {
      if (--heard.requests > 0) return
      signal.removeEventListener('abort', heard.drop)
      this.#signals.delete(signal)
    }
  }

  /**
   * Computes the beginnings of texts, as far as they fill whole blocks, and keeps them until the engine is disposed of. With `forget`
   * between two rounds, what a round comes to does not depend on the rounds before it.
   * @throws GradpromptError as `generate` does
   */
  async remember(given: readonly (readonly number[])[]): Promise<void> {
    // What begins with nothing, as where no BOS stands before a prompt, has no beginning.
    const texts = given.filter(ids => ids.length > 0)
    const root = this.#prefixes.root(this.#options.defaultPrompt ?? PLAIN)
    for (const ids of texts) for (let node = this.#prefixes.see(root, ids); node; ) node = this.#prefixes.see(node, ids)
    await Promise.all(texts.map(ids => this.generate({ ids, maxNewTokens: 1 })))
    for (const ids of texts) this.#prefixes.hold(this.#prefixes.find(root, ids))
  }

  /** Forgets all beginnings but those that `remember` keeps and those of requests under way. */
  forget(): void {
    this.#prefixes.clear()
  }

  /** Ends requests under way with what they have, and frees the programs. */
  async dispose(): Promise<void> {
    this.#disposed = true
    for (const { sequence } of this.#waiting.splice(0)) sequence.abort()
    await this.#work
    await this.#programs.dispose()
    this.#lanes.clear()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #loop(): Promise<void> {
    // Requests made in one turn of the event loop begin together.
    await setImmediate()
    for (;;) {
      // A run holds the thread: in between, a connection is taken, its request read, and handed over.
      if (this.#options.interactive) for (let turn = 0; turn < 4; turn++) await setImmediate()
      for (const lane of this.#lanes.values()) {
        for (const sequence of this.#free(lane.remove(sequence => this.#disposed || sequence.aborted))) sequence.abort()
      }
      await this.#admit()
      const busy = [...this.#lanes.values()].filter(lane => lane.size > 0)
      if (busy.length === 0 && this.#waiting.length === 0) {
        this.#work = undefined
        return
      }
      for (const lane of busy) {
        try {
          this.#free(await lane.step())
        } catch (error) {
          for (const sequence of this.#free(lane.remove(() => true))) sequence.fail(error)
        }
      }
    }
  }

  /** Lets requests in, first come first, as long as there are places and blocks. */
  async #admit(): Promise<void> {
    while (this.#waiting.length > 0) {
      const { sequence, named } = this.#waiting[0]!
      // One whose answer is under way already is let in beside it.
      if (this.state.running >= this.#batchSize && !sequence.isBeside) return
      if (this.#reserved + sequence.reserved > this.#capacity) return
      this.#waiting.shift()
      this.#reserved += sequence.reserved
      const lane = this.#lane(named)
      try {
        await lane.enter(sequence, named)
      } catch (error) {
        this.#free([sequence])
        sequence.fail(error)
      }
    }
  }

  #free(ended: Sequence[]): Sequence[] {
    for (const { reserved } of ended) this.#reserved -= reserved
    return ended
  }

  #dropWaiting(sequence: Sequence): void {
    const at = this.#waiting.findIndex(waiting => waiting.sequence === sequence)
    if (at < 0) return
    this.#waiting.splice(at, 1)
    sequence.abort()
  }

  #lane(named: NamedPrompt): Lane {
    const key = laneOf(named, this.#model.config)
    const known = this.#lanes.get(key)
    if (known) return known
    const acting = key === '' ? undefined : named.prompt
    const guessing = this.#options.promptLookup === false ? undefined : this.width
    const { interactive = false } = this.#options
    const made = new Lane(this.#model, this.#prefixes, this.#programs, acting, this.#weights, guessing, interactive)
    this.#lanes.set(key, made)
    return made
  }

  #named(name: string | undefined): NamedPrompt {
    if (name === undefined) return { name: PLAIN, prompt: undefined }
    const { prompts = {} } = this.#options
    const prompt = Object.hasOwn(prompts, name) ? prompts[name] : undefined
    if (prompt && name !== PLAIN) return { name, prompt }
    const known = Object.keys(prompts)
    throw unknownName('unknown-prompt', 'There is no soft prompt of this name', name, known, {
      ...(known.length === 0 && { expected: 'none: the engine was opened without prompts' }),
    })
  }

  /**
   * The sequences of a request: one, and with a contrast a second under the other prompt.
   * @throws GradpromptError as `generate` does
   */
  #sequences(request: GenerationRequest, settle: Settle): Waiting[] {
    const { config, tokenizer } = this.#model
    const { contrast } = request
    if (contrast !== undefined) requireContrast(request, contrast)
    const against = contrast !== undefined && contrast.strength > 0 ? [this.#named(contrast.against)] : []
    const all = [this.#named(request.prompt ?? this.#options.defaultPrompt), ...against].map((named, i) => {
      const { numVirtualTokens, position, edges } = placementOf(named.prompt, config)
      const placement = { numVirtualTokens, afterFirst: position === 'after-bos' && numVirtualTokens > 0, edges }
      const blocks = Math.ceil(requirePositions(request, placement, named.prompt, config) / BLOCK_LENGTH)
      const sequence = new Sequence(request, placement, tokenizer, this.#endTokenIds, i === 0 ? settle : nobody)
      sequence.reserved = blocks
      return { sequence, named }
    })
    const [answering, beside] = all.map(({ sequence }) => sequence)
    if (beside !== undefined) new Contrast(contrast!.strength, answering!, beside)
    const blocks = all.reduce((sum, { sequence }) => sum + sequence.reserved, 0)
    if (blocks <= this.#capacity) return all
    const bytes = BlockStore.bytes(config)
    throw new GradpromptError('not-enough-memory', 'The keys and values of this request do not fit into the cache', {
      found: `${blocks * BLOCK_LENGTH} positions: ${gigabytes(blocks * bytes)}`,
      expected: `${gigabytes(this.#capacity * bytes)} at most`,
      hint: 'raise the memory budget, or ask for fewer tokens',
    })
  }
}

/** What cached keys and values may take: a part of what is left beside the weights, which programs may pack once more. */
function defaultCacheBytes({ memory, config }: LanguageModel): number {
  const left = Math.max(0, memory.budget - 2 * memory.weights)
  return Math.max(4 * BlockStore.bytes(config), Math.min(4e9, left / 2))
}
