import type { ContrastAsked } from './contrast.js'
import type { GenerationInput } from './input.js'
import type { AnswerChoice } from './limits/choices.js'
import type { WrittenGrammar } from './limits/grammars.js'

/** What to generate from, and how. */
export interface GenerationRequest {
  /** Prompt token ids (a soft prompt is not among them). */
  readonly ids: readonly number[]
  /** What these are made of, for whoever answers with several calls. */
  readonly asked?: GenerationInput
  /** At most this many new tokens. */
  readonly maxNewTokens: number
  /** 0: greedy. */
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly seed?: number
  /** Strings that end the answer; they are not part of `text`. One may be a special token's text. */
  readonly stop?: readonly string[]
  /** Token ids that end the answer, beside the model's own end tokens. */
  readonly stopTokenIds?: readonly number[]
  /** Log-probability of each generated token (under the unmodified distribution). */
  readonly logProbabilities?: boolean
  /** With `logProbabilities`: so many of the likeliest tokens in each place, with theirs. */
  readonly alternatives?: number
  /** The answers that may be given: each token is chosen among those that some of them go on with. */
  readonly choices?: readonly AnswerChoice[]
  /** What the answer must be as a whole. An answer that `maxNewTokens` ends may be only the beginning of one. */
  readonly grammar?: WrittenGrammar
  /** With either of them: the mass that it rejects. */
  readonly rejectedMass?: boolean
  /** Tokens that go on behind the answer. */
  readonly continuation?: Continuation
  /** A prompt of another name than the default one, registered with the engine. */
  readonly prompt?: string
  /** Tokens are chosen against what the model makes of the text under another prompt; at a strength of 0 they are not. */
  readonly contrast?: ContrastAsked
  readonly signal?: AbortSignal
  /** Called with each piece of text as soon as no stop string can begin in it. */
  readonly onText?: (piece: string) => void
}

/**
 * Tokens that stand behind an answer as if the model had written them (an answer that ended of itself is followed by them in place of
 * its end token). They are computed over the keys and values that the answer has left, up to sixteen in a step.
 */
export interface Continuation {
  readonly ids: readonly number[]
  /** Of these, the last so many are scored. */
  readonly scored: number
}

/** What the model makes of the scored tokens of a continuation. */
export interface ContinuationScore {
  /** Of each scored token. */
  readonly logProbabilities: readonly number[]
  /** The likeliest token in the place of each scored one, and the one behind the last. */
  readonly likeliest: readonly number[]
}

export interface Generation {
  readonly ids: readonly number[]
  readonly text: string
  readonly finishReason: 'stop' | 'length' | 'aborted'
  /** The stop string or token id that ended it. */
  readonly stoppedBy?: string | number
  readonly logProbabilities?: readonly number[]
  /** Of each generated token, the likeliest in its place, downwards. */
  readonly alternatives?: readonly (readonly Alternative[])[]
  readonly promptTokens: number
  /** Where several calls were made for it: how many, the tokens that they have generated, and what else there is to say in numbers. */
  readonly severally?: { readonly calls: number; readonly tokens: number; readonly figures?: Readonly<Record<string, number>> }
  /**
   * The probability that the model, without a limit, would have left it somewhere along this answer: 1 less the product, over its tokens,
   * of the probability of all tokens that were allowed in the place; its end is counted where it could have gone on.
   */
  readonly rejectedMass?: number
  /** Absent where none was asked for, or the request was aborted before its end. */
  readonly continuation?: ContinuationScore
}

/** A token that might have stood in a place. */
export interface Alternative {
  readonly id: number
  readonly logProbability: number
}

/** Rows join and leave a running batch; results do not depend on what else runs. */
export interface Generator {
  generate(request: GenerationRequest): Promise<Generation>
  dispose(): Promise<void>
}
