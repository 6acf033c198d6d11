import type { Tokenizer } from '../formats/tokenizer.js'
import type { BlockOwner } from './block-store.js'
import type { PrefixNode } from './prefix-cache.js'
import type { Generation, GenerationRequest } from './request.js'
import { Sampler } from './sampling.js'
import { TextStream } from './text-stream.js'

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
  private readonly sampler: Sampler
  private readonly stream: TextStream
  private readonly logProbabilities: number[] = []
  private readonly endTokenIds: ReadonlySet<number>

  constructor(
    readonly request: GenerationRequest,
    readonly placement: Placement,
    tokenizer: Tokenizer,
    endTokenIds: Iterable<number>,
    private readonly settle: { resolve(generation: Generation): void; reject(error: unknown): void },
  ) {
    this.ids = [...request.ids]
    this.promptLength = request.ids.length
    this.sampler = new Sampler(request)
    this.stream = new TextStream(tokenizer, request.ids, request.stop ?? [], request.onText)
    this.endTokenIds = new Set([...endTokenIds, ...(request.stopTokenIds ?? [])])
  }

  /** Position of a token by its place among `ids`. */
  positionOf(index: number): number {
    const { numVirtualTokens, afterFirst } = this.placement
    return afterFirst && index === 0 ? 0 : numVirtualTokens + index
  }

  get needsLogits(): boolean {
    return this.sampler.needsLogits
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
    const { token, logProbability } = logits
      ? this.sampler.choose(logits, this.ids)
      : { token: likeliest, logProbability: Number.NaN }
    try {
      if (this.endTokenIds.has(token)) return this.finish(this.stream.finish() ?? token)
      this.ids.push(token)
      if (this.request.logProbabilities) this.logProbabilities.push(logProbability)
      const met = this.stream.push(token)
      if (met !== undefined) return this.finish(met)
      if (this.ids.length - this.promptLength < this.request.maxNewTokens) return false
      return this.finish(this.stream.finish())
    } catch (error) {
      // What listens to the text has failed: that ends this request alone.
      this.settle.reject(error)
      return true
    }
  }

  /** Ends the answer with what there is. */
  abort(): void {
    try {
      this.stream.finish()
      this.resolve('aborted')
    } catch (error) {
      this.settle.reject(error)
    }
  }

  fail(error: unknown): void {
    this.settle.reject(error)
  }

  private finish(stoppedBy: string | number | undefined): true {
    this.resolve(stoppedBy === undefined ? 'length' : 'stop', stoppedBy)
    return true
  }

  private resolve(finishReason: Generation['finishReason'], stoppedBy?: string | number): void {
    this.settle.resolve({
      ids: this.ids.slice(this.promptLength),
      text: this.stream.text,
      finishReason,
      ...(stoppedBy === undefined ? {} : { stoppedBy }),
      ...(this.request.logProbabilities ? { logProbabilities: this.logProbabilities } : {}),
      promptTokens: this.promptLength,
    })
  }
}
