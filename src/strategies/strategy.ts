import type { OptionsDeclaration } from '../config/typed-options.js'
import type { GenerationInput } from '../generate/input.js'
import type { Generation } from '../generate/request.js'

/**
 * Ways to answer one input with several calls of a model, chosen when it answers and not when a prompt is learned. A strategy knows what it
 * asks and which answer it takes; who asks, under which prompt, and how answers are read and scored is unknown to it.
 */

export interface Strategy<Options = never> {
  readonly type: string
  /** What it does, and where it comes from, in a line. */
  readonly paper: string
  readonly options?: OptionsDeclaration<Options>
  /** It does nothing but answer several times: what it is held against is one answer, and not the same tokens spent so. */
  readonly samplesAlone?: boolean
  /** Each of its answers is scored, and a row counts their mean; otherwise the one that it takes. */
  readonly eachCounts?: boolean
  /** What it reads before a model is opened: files, and soft prompts of its own. @throws GradpromptError as reading them does */
  prepare?(options: Options): Promise<Prepared<Options>>
  answer(asked: Asked, model: Asking, options: Options): Promise<Answered>
}

export interface Prepared<Options> {
  /** What it answers with, as JSON has it: what was read decides answers, as options do. */
  readonly options: Options
  /** Prompts that its instructions may be given under, by its own names for them: run folders, or prompt files. */
  readonly prompts?: Readonly<Record<string, string>>
}

/** What is to be answered. */
export interface Asked {
  readonly input: GenerationInput
  /** The part of it that differs from input to input: a row's own text, the last message of a user, or all of it. */
  readonly question: string
  /** The answer in a text, by which texts agree or differ; undefined where there is none. */
  read(text: string): string | undefined
}

export interface AnswerCall {
  /** Which of several answers under one seed, from 0. */
  readonly sample?: number
  /** By default as the caller asks for. */
  readonly temperature?: number
  /** At most so many, where the caller would have more. */
  readonly maxNewTokens?: number
  /**
   * Tokens of an answer that was begun, maybe under another input: it is gone on with, `maxNewTokens` are those that come to it, and the answer
   * that comes back is the whole. An end that the caller names is looked for in what comes to it. One that is begun cannot be limited to
   * choices or a grammar (`invalid-option`).
   */
  readonly begun?: readonly number[]
}

export interface InstructCall extends AnswerCall {
  readonly maxNewTokens: number
  /** One of the prompts of `prepare`; by default none. */
  readonly under?: string
}

/** The model, as a strategy may call it. What the calls cost is counted there. */
export interface Asking {
  /**
   * An answer as the caller wants it: under its prompt, its limits and its ends.
   * @throws GradpromptError `context-exceeded`, `aborted`
   */
  answer(input: GenerationInput, call?: AnswerCall): Promise<Generation>
  /** What the model alone, or under a prompt of the strategy's own, says to an instruction; of a model that knows chat, as a user's message. @throws as `answer` does */
  instruct(text: string, call: InstructCall): Promise<string>
  /** The mean of the digits 1 to 9 by the probability that the model alone gives them behind an instruction. */
  rate(text: string): Promise<number>
  /**
   * The mean log-probability, in nats, that the model alone gives the tokens of a text (or tokens themselves) behind an input, and behind
   * `begun`, the tokens of an answer to it that was begun. Where a model knows no chat, a conversation is its messages.
   * @throws GradpromptError `invalid-option` where the text has no tokens, and as `answer` does
   */
  likelihood(
    input: GenerationInput,
    text: string | readonly number[],
    behind?: { readonly begun?: readonly number[] },
  ): Promise<number>
}

export interface Answered {
  readonly answer: Generation
  /** The answers to the input itself, in their order: of several, the first is what one call alone would have given. */
  readonly answers: readonly Generation[]
  /** What there is to say of it in numbers, by name: `agreement`, `turns`, …; none of the names that rows have of themselves (`ownFigures`). */
  readonly figures?: Readonly<Record<string, number>>
}

/** What is said of every row that is answered with several calls. */
export const ownFigures = ['calls', 'tokens', 'first answer', 'mended', 'spoiled'] as const
