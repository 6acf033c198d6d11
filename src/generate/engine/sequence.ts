import type { Tokenizer } from '../../formats/tokenizer.js'
import { logSumExp } from '../../numbers.js'
import { withEdges } from '../../prompts/edges.js'
import type { InstructionEdges } from '../../prompts/method.js'
import { ChoiceCursor } from '../limits/choices.js'
import type { AnswerCursor } from '../limits/cursor.js'
import type { Grammars, WrittenGrammar } from '../limits/grammars.js'
import { TokenMask } from '../limits/token-mask.js'
import { type Guess, PromptLookup } from '../prompt-lookup.js'
import type { Alternative, ContinuationScore, Generation, GenerationRequest } from '../request.js'
import { type Choice, Sampler } from '../sampling.js'
import { splitStops, TextStream } from '../text-stream.js'
import type { BlockOwner } from './block-store.js'
import type { Contrast } from './contrast.js'
import type { PrefixNode } from './prefix-cache.js'

/** Hears how a request has ended. */
export interface Settle {
  resolve(generation: Generation): void
  reject(error: unknown): void
}

/** Where the virtual tokens of a request's prompt stand. */
export interface Placement {
  readonly numVirtualTokens: number
  readonly afterFirst: boolean
  /** Tokens at both ends of the prompt's text that the soft prompt treats otherwise. */
  readonly edges?: InstructionEdges | undefined
}

/** One request under way: its tokens, and what of them is in the cache. */
export class Sequence implements BlockOwner {
  /** Tokens of the prompt, then those that were generated. */
  readonly ids: number[]
  readonly promptLength: number
  /** Of the prompt, by which other sequences are known to begin alike. */
  readonly beginning: readonly number[]
  /** Its own blocks in the cache, and how many positions of them are filled. */
  readonly blocks: number[] = []
  ownLength = 0
  /** The beginning that it takes from the prefix cache. Undefined once its own blocks hold everything. */
  prefix: PrefixNode | undefined
  /** The part of it that it decodes from together with other sequences. */
  shared: PrefixNode | undefined
  /** How many of `ids` are in the cache. */
  done = 0
  /** Blocks that are set aside for it. */
  reserved = 0
  /** What ties it to a sequence under another prompt. */
  contrast: Contrast | undefined
  /** Whether a sequence that it was tied to has ended it: it is to leave. */
  isOver = false
  readonly #sampler: Sampler
  readonly #lookup = new PromptLookup()
  /** Whether the last guesses were looked up, and not known from what the answer is limited to. */
  #lookedUp = true
  #stream: TextStream
  readonly #logProbabilities: number[] = []
  readonly #alternatives: (readonly Alternative[])[] = []
  readonly #endTokenIds: ReadonlySet<number>
  /** Where the answer is among those that may be given. */
  #limit: AnswerCursor | undefined
  /** Sum of the log-probabilities of what was allowed. */
  #allowed = 0
  readonly #words: readonly number[]
  readonly #tokenizer: Tokenizer
  readonly #stops: readonly string[]
  /** How the answer ended, while the tokens behind it are put in. */
  #ending: Ending | undefined

  readonly #settle: Settle

  constructor(
    readonly request: GenerationRequest,
    readonly placement: Placement,
    tokenizer: Tokenizer,
    endTokenIds: Iterable<number>,
    settle: Settle,
  ) {
    this.#settle = settle
    this.ids = [...request.ids]
    this.promptLength = request.ids.length
    this.beginning = withEdges(placement.edges, request.ids)
    this.#sampler = new Sampler(request)
    // A soft token has no text.
    this.#words = request.ids.filter(id => id < tokenizer.vocabSize)
    this.#tokenizer = tokenizer
    const { texts, ids } = splitStops(request.stop ?? [], tokenizer)
    this.#endTokenIds = new Set([...endTokenIds, ...(request.stopTokenIds ?? []), ...ids])
    this.#stops = texts
    this.#limit = request.choices && new ChoiceCursor(request.choices, [...this.#endTokenIds])
    this.#stream = this.#openStream()
  }

  /**
   * Limits the answer to what a grammar describes, before it begins.
   * @returns what is to be disposed of behind its end
   * @throws GradpromptError as `Grammars.cursor` does
   */
  async limitTo(grammar: WrittenGrammar, grammars: Grammars): Promise<Disposable> {
    const limited = await grammars.cursor(grammar, [...this.#endTokenIds])
    this.#limit = limited.cursor
    this.#stream = this.#openStream()
    return limited
  }

  #openStream(): TextStream {
    const isTold = this.#limit?.readsAsTokens ?? true
    return new TextStream(this.#tokenizer, this.#words, this.#stops, isTold ? this.request.onText : undefined)
  }

  /** Position of a token by its place among `ids`. */
  positionOf(index: number): number {
    const { numVirtualTokens, afterFirst } = this.placement
    return afterFirst && index === 0 ? 0 : numVirtualTokens + index
  }

  /**
   * Whether the logits behind a token are wanted.
   * @param ahead how many guesses lie between the next token and this one
   */
  needsLogits(ahead = 0): boolean {
    const { continuation } = this.request
    const chooses = this.#sampler.needsLogits || this.#limit !== undefined || this.contrast !== undefined
    if (continuation === undefined) return chooses
    const unscored = continuation.ids.length - continuation.scored
    // An answer's end is not known before it is there: then its first logits may be those of a scored token.
    if (this.#ending === undefined) return chooses || unscored === 0
    const put = this.#ending.put + ahead
    return put >= unscored && put < continuation.ids.length
  }

  /**
   * Guesses at the tokens behind the next one, and none that could not be taken any more.
   * @param most as many at most
   * @param worth the least chance of being taken that is of use
   */
  guess(most: number, worth: number): Guess[] {
    // The other sequence has not seen them.
    if (this.contrast !== undefined) return []
    const { continuation, maxNewTokens } = this.request
    // What goes on behind the answer is known.
    if (this.#ending !== undefined) {
      const { put } = this.#ending
      return continuation!.ids.slice(put, put + most).map(id => ({ id, chance: 1 }))
    }
    const left = maxNewTokens - (this.ids.length - this.promptLength)
    const count = Math.min(most, left - 1)
    if (this.#limit === undefined) return this.#lookup.guess(this.ids, count, worth)
    const { certainty } = this.#limit
    const certain = this.#limit.certain(count)
    this.#lookedUp = certain.length === 0
    if (!this.#lookedUp) return certain.map((id, i) => ({ id, chance: certainty ** (i + 1) }))
    const looked = this.#lookup.guess(this.ids, count, worth)
    return looked.slice(0, this.#limit.accepts(looked.map(({ id }) => id)))
  }

  /** Finds out what is allowed behind the last token, and behind each guess. */
  async prepare(guesses: readonly number[] = []): Promise<void> {
    if (this.#ending === undefined) await this.#limit?.prepare(guesses)
  }

  /** Whether it is to leave before its own end. */
  get aborted(): boolean {
    return this.isOver || (this.request.signal?.aborted ?? false)
  }

  /** Whether it only runs beside an answer, under another prompt. */
  get isBeside(): boolean {
    return this.contrast?.isBeside(this) ?? false
  }

  /** Whether its next token is not known yet, though its keys and values are there. */
  get waits(): boolean {
    return this.contrast?.waits(this) ?? false
  }

  /**
   * Takes the next token, or waits for the sequence that it is tied to.
   *
   * @param likeliest the token of the highest logit
   * @param logits [V], where `needsLogits`
   * @returns whether the answer ends here; then the request is settled
   */
  accept(likeliest: number, logits: Float32Array | undefined): boolean {
    return this.contrast === undefined ? this.take(likeliest, logits) : this.contrast.take(this, logits!)
  }

  /** Takes the next token. @returns whether the answer ends here; then the request is settled */
  take(likeliest: number, logits: Float32Array | undefined): boolean {
    if (this.#ending !== undefined) return this.#goOn(this.#ending, likeliest, logits)
    // Without an answer the continuation follows the prompt.
    if (this.request.maxNewTokens === 0) return this.#end('length', undefined, { likeliest, logits })
    try {
      // Where only an end can follow nothing is chosen.
      if (this.#limit?.isEnd) return this.#end('stop', undefined, { likeliest, logits })
      const { token, logProbability, alternatives } = this.#choose(likeliest, logits)
      if (this.#endTokenIds.has(token)) return this.#end('stop', this.#stream.finish() ?? token, { likeliest, logits })
      this.ids.push(token)
      if (this.request.logProbabilities) this.#logProbabilities.push(logProbability)
      if (this.request.alternatives !== undefined) this.#alternatives.push(alternatives)
      this.#limit?.take(token)
      const met = this.#stream.push(token)
      if (this.#limit?.isEnd) return this.#end('stop')
      if (met !== undefined) return this.#end('stop', met)
      if (this.ids.length - this.promptLength < this.request.maxNewTokens) return false
      const late = this.#stream.finish()
      return this.#end(late === undefined ? 'length' : 'stop', late)
    } catch (error) {
      // What listens to the text has failed: that ends this request alone.
      this.#settle.reject(error)
      return true
    }
  }

  /**
   * Takes the next token, and goes on behind each guess that is the token taken.
   *
   * @param resultOf what the model says behind the next token (0) and each guess
   * @returns how many of these tokens stand in the text now, or undefined where the answer has ended
   */
  acceptGuessed(
    guesses: readonly number[],
    resultOf: (ahead: number) => { readonly likeliest: number; readonly logits: Float32Array | undefined },
  ): number | undefined {
    const answering = this.#ending === undefined
    let ahead = 0
    for (; ; ahead++) {
      const { likeliest, logits } = resultOf(ahead)
      if (this.accept(likeliest, logits)) return undefined
      // Where the continuation has begun, logits may be wanted that were not asked for.
      if (ahead === guesses.length || this.ids.at(-1) !== guesses[ahead] || (this.#ending === undefined) !== answering) break
    }
    if (answering && this.#lookedUp) this.#lookup.settle(guesses.length, ahead)
    return ahead + 1
  }

  #choose(likeliest: number, logits: Float32Array | undefined): Choice {
    const allowed = this.#limit?.allowed
    // Where the likeliest token is all that is needed, and allowed, nothing is to be looked through.
    const isFree =
      !this.#sampler.needsLogits && (allowed === undefined || (allowed instanceof TokenMask && allowed.has(likeliest)))
    if (logits === undefined || isFree) return { token: likeliest, logProbability: Number.NaN, alternatives: [] }
    const choice = this.#sampler.choose(logits, this.ids, allowed)
    this.#allowed += choice.allowedLogProbability ?? 0
    return choice
  }

  /** Ends the answer with what there is. */
  abort(): void {
    if (this.isOver) return
    try {
      this.#stream.finish()
      this.#resolve('aborted')
    } catch (error) {
      this.#settle.reject(error)
    }
  }

  fail(error: unknown): void {
    this.contrast?.fail(error)
    this.reject(error)
  }

  reject(error: unknown): void {
    this.#settle.reject(error)
  }

  /**
   * The answer has ended.
   * @param now what the model says behind the last token, where that is an end token, which stays out
   */
  #end(
    finishReason: Ending['finishReason'],
    stoppedBy?: string | number,
    now?: { readonly likeliest: number; readonly logits: Float32Array | undefined },
  ): boolean {
    const ending = { finishReason, stoppedBy, length: this.ids.length, put: 0, logProbabilities: [], likeliest: [] }
    if (this.request.continuation === undefined) return this.#resolve(finishReason, ending)
    this.#ending = ending
    return now !== undefined && this.#goOn(ending, now.likeliest, now.logits)
  }

  /** Puts the next token of the continuation in. */
  #goOn(ending: Ending, likeliest: number, logits: Float32Array | undefined): boolean {
    const { ids, scored } = this.request.continuation!
    const next = ids[ending.put]
    if (ending.put >= ids.length - scored) {
      ending.likeliest.push(likeliest)
      if (next !== undefined) ending.logProbabilities.push(logits![next]! - logSumExp(logits!))
    }
    if (next === undefined) return this.#resolve(ending.finishReason, ending)
    this.ids.push(next)
    ending.put++
    return false
  }

  #resolve(finishReason: Generation['finishReason'], ending?: Ending): true {
    const { stoppedBy, length = this.ids.length, logProbabilities, likeliest = [] } = ending ?? this.#ending ?? {}
    const continuation: ContinuationScore | undefined =
      this.request.continuation && finishReason !== 'aborted'
        ? { logProbabilities: logProbabilities ?? [], likeliest }
        : undefined
    this.#settle.resolve({
      ids: this.ids.slice(this.promptLength, length),
      text: this.#limit?.answerOf(this.#stream.text) ?? this.#stream.text,
      finishReason,
      ...(stoppedBy === undefined ? {} : { stoppedBy }),
      ...(this.request.logProbabilities ? { logProbabilities: this.#logProbabilities } : {}),
      ...(this.request.alternatives === undefined ? {} : { alternatives: this.#alternatives }),
      promptTokens: this.promptLength,
      ...(this.request.rejectedMass ? { rejectedMass: Math.abs(Math.expm1(this.#allowed)) } : {}),
      ...(continuation === undefined ? {} : { continuation }),
    })
    return true
  }
}

/** An answer that has ended, and how far its continuation is. */
interface Ending extends ContinuationScore {
  readonly finishReason: 'stop' | 'length'
  readonly stoppedBy: string | number | undefined
  /** Of the sequence up to the answer's end. */
  readonly length: number
  /** Tokens of the continuation that have been put in. */
  put: number
  readonly logProbabilities: number[]
  readonly likeliest: number[]
}
