import type { TokenMask } from './token-mask.js'

/** What an answer may be, while it is written: the same questions whether it is one of a list, or what a grammar describes. */

/** A way through the answers that may be given: one for each answer. */
export interface AnswerCursor {
  /** Whether nothing can follow, as far as that is known: of a grammar behind `prepare` at the latest. */
  readonly isEnd: boolean
  /**
   * The tokens that may come next: a list, or a mask over the vocabulary. A grammar knows them only behind `prepare`.
   * @throws GradpromptError `answer-unreachable` where there are none
   */
  readonly allowed: readonly number[] | TokenMask
  /** Whether the answer reads as its tokens do, so that it may be told piece by piece. */
  readonly readsAsTokens: boolean
  /** The chance that a token of `certain` stands where it is said to. */
  readonly certainty: number
  /** Takes a token that is allowed and does not end the answer. */
  take(id: number): void
  /** The tokens that must come next, or are the usual way of writing what must: at most so many. */
  certain(most: number): number[]
  /** Of tokens that may follow in this order, how many may. */
  accepts(ids: readonly number[]): number
  /** Finds out what is allowed now, and behind each of these tokens, all of which it `accepts`. */
  prepare(ahead: readonly number[]): Promise<void>
  /** What the answer is, by the text of its tokens. */
  answerOf(text: string): string
}
