/** What a search reads of a row of its task: the tokens around the prompt. How they are cut stands in `token-space.ts`. */

/**
 * A row cut at the prompt: `[...before, ...prompt, ...after, ...answer]`; where the model reasons before it answers,
 * `[...before, ...prompt, ...after, ...reasoning, ...extractor, ...answer]`.
 */
export interface SearchRow {
  readonly index: number
  readonly before: readonly number[]
  /** From the prompt to where the model goes on. */
  readonly after: readonly number[]
  /** What asks for the answer behind the reasoning; empty where there is none. */
  readonly extractor: readonly number[]
  /** The label tokens, and what ends them. */
  readonly answer: readonly number[]
  /** Of the answer, its last tokens that only end it: no text stands for them. */
  readonly end?: readonly number[] | undefined
  /** The text on both sides of the prompt. Without an extractor the answer's is the end of the second. */
  readonly text: { readonly before: string; readonly after: string }
  /** Where answers are a closed set: what each of its words makes of the row. */
  readonly choices?: RowChoices | undefined
}

/** The answer's tokens that are text. */
export const writtenAnswer = ({ answer, end }: SearchRow): readonly number[] =>
  answer.slice(0, answer.length - (end?.length ?? 0))

/** All answers that a row may have: `[...before, ...prompt, ...after, ...words[i]]`. */
export interface RowChoices {
  readonly after: readonly number[]
  /** Of every word, class after class. */
  readonly words: readonly (readonly number[])[]
  /** Index of the right class. */
  readonly target: number
}
