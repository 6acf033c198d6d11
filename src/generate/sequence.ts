import type { Tokenizer } from '../formats/tokenizer.js'
import { logSumExp } from '../numbers.js'
import type { BlockOwner } from './block-store.js'
import { ChoiceCursor } from './choices.js'
import type { PrefixNode } from './prefix-cache.js'
import { type Guess, PromptLookup } from './prompt-lookup.js'
import type { Alternative, ContinuationScore, Generation, GenerationRequest } from './request.js'
import { Sampler } from './sampling.js'
import { splitStops, TextStream } from './text-stream.js'

/** Where the virtual tokens of a request's prompt stand. */
export interface Placement {
  readonly numVirtualTokens: number
  readonly afterFirst: boolean
}

/** One request under way: its tokens, and what of them is in the cache. */
export class Sequence implements BlockOwner {
  /** Tokens of the prompt, then those that were generated. */
  readonly ids: number[]
  readonly promptLength: number
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
  readonly #sampler: Sampler
  readonly #lookup = new PromptLookup()
  readonly #stream: TextStream
  readonly #logProbabilities: number[] = []
  readonly #alternatives: (readonly Alternative[])[] = []
  readonly #endTokenIds: ReadonlySet<number>
  /** Where the answer is among those that may be given. */
  readonly #choices: ChoiceCursor | undefined
  /** How the answer ended, while the tokens behind it are put in. */
  #ending: Ending | undefined

  readonly #settle: { resolve(generation: Generation): void; reject(error: unknown): void }

  constructor(
    readonly request: GenerationRequest,
    readonly placement: Placement,
    tokenizer: Tokenizer,
    endTokenIds: Iterable<number>,
    settle: { resolve(generation: Generation): void; reject(error: unknown): void },
  ) {
    this.#settle = settle
    this.ids = [...request.ids]
    this.promptLength = request.ids.length
    this.#sampler = new Sampler(request)
    // A soft token has no text.
    const words = request.ids.filter(id => id < tokenizer.vocabSize)
    const { texts, ids } = splitStops(request.stop ?? [], tokenizer)
    this.#endTokenIds = new Set([...endTokenIds, ...(request.stopTokenIds ?? []), ...ids])
    this.#choices = request.choices && new ChoiceCursor(request.choices, [...this.#endTokenIds])
    // A choice is told as a whole: what it reads as need not be what its tokens do.
    const onText = this.#choices === undefined ? request.onText : undefined
    this.#stream = new TextStream(tokenizer, words, texts, onText)
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
    const chooses = this.#sampler.needsLogits || this.#choices !== undefined
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
    const { continuation, maxNewTokens } = this.request
    // What goes on behind the answer is known.
    if (this.#ending !== undefined) {
      const { put } = this.#ending
      return continuation!.ids.slice(put, put + most).map(id => ({ id, chance: 1 }))
    }
    const left = maxNewTokens - (this.ids.length - this.promptLength)
    const count = Math.min(most, left - 1)
    if (this.#choices !== undefined) return this.#choices.certain(count).map(id => ({ id, chance: 1 }))
    return this.#lookup.guess(this.ids, count, worth)
  }

  get aborted(): boolean {
    return this.request.signal?.aborted ?? false
  }

  /**
   * Takes the next token.
   *
   * @param likeliest the token of the highest logit
   * @param logits [V], where `needsLogits`
   * @returns whether the answer ends here; then the request is settled
   */
  accept(likeliest: number, logits: Float32Array | undefined): boolean {
    if (this.#ending !== undefined) return this.#goOn(this.#ending, likeliest, logits)
    // Without an answer the continuation follows the prompt.
    if (this.request.maxNewTokens === 0) return this.#end('length', undefined, { likeliest, logits })
    const { token, logProbability, alternatives } = logits
      ? this.#sampler.choose(logits, this.ids, this.#choices?.allowed)
      : { token: likeliest, logProbability: Number.NaN, alternatives: [] }
    try {
      if (this.#endTokenIds.has(token)) return this.#end('stop', this.#stream.finish() ?? token, { likeliest, logits })
      this.ids.push(token)
      if (this.request.logProbabilities) this.#logProbabilities.push(logProbability)
      if (this.request.alternatives !== undefined) this.#alternatives.push(alternatives)
      this.#choices?.take(token)
      const met = this.#stream.push(token)
      if (this.#choices?.isEnd) return this.#end('stop')
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
    if (answering && this.#choices === undefined) this.#lookup.settle(guesses.length, ahead)
    return ahead + 1
  }

  /** Ends the answer with what there is. */
  abort(): void {
    try {
      this.#stream.finish()
      this.#resolve('aborted')
    } catch (error) {
      this.#settle.reject(error)
    }
  }

  fail(error: unknown): void {
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
      text: this.#choices?.choice?.text ?? this.#stream.text,
      finishReason,
      ...(stoppedBy === undefined ? {} : { stoppedBy }),
      ...(this.request.logProbabilities ? { logProbabilities: this.#logProbabilities } : {}),
      ...(this.request.alternatives === undefined ? {} : { alternatives: this.#alternatives }),
      promptTokens: this.promptLength,
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
