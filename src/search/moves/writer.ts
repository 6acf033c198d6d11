import type { EndpointOptions } from '../../endpoint/options.js'

/** A model in a role beside the searched one: one on this machine, by name, or one behind an endpoint. */
export type RoleModel = string | EndpointOptions

/** What the optimiser model is asked, and the words that its answer begins with. */
export interface Ask {
  readonly ask: string
  readonly begin: string
}

export interface WritingOptions {
  readonly temperature: number
  /** Of one answer. */
  readonly maxWrittenTokens: number
}

/** Lets a model write: the critic of a search. */
export interface Writer {
  /**
   * @returns what follows the beginning of each answer, in the order of the asks
   * @throws BudgetSpent; GradpromptError `context-exceeded`, `aborted`, and what an endpoint throws
   */
  write(asks: readonly Ask[], options: WritingOptions): Promise<string[]>
  /** Its tokens one by one: of a model on this machine alone. */
  readonly tokens?: TokenWriter
}

/** Lets a model write one token at a time, so that somebody else decides which of many is taken. */
export interface TokenWriter {
  /** How many tokens there are. */
  readonly vocabulary: number
  /**
   * Samples the token that each answer goes on with. What is asked is in no log.
   * @param begun tokens behind the beginning of every answer
   * @param seeds of each ask
   * @returns of each ask a token, which may end the answer
   * @throws BudgetSpent; GradpromptError `context-exceeded`, `aborted`
   */
  next(
    asks: readonly Ask[],
    begun: readonly number[],
    seeds: readonly number[],
    options: { temperature: number },
  ): Promise<number[]>
  /** Whether a token is no text. */
  isEnd(id: number): boolean
  read(ids: readonly number[]): string
}

/** Lets a model compare. */
export interface Judge {
  /**
   * @param asks each ends where the letter A or B follows
   * @returns of each, how much likelier A is than B in nats; of an endpoint, which only says a letter, 1, -1, or 0 where it says neither
   * @throws as `Writer.write` does
   */
  prefer(asks: readonly Ask[]): Promise<number[]>
  /**
   * @param labels what each ask may be answered with
   * @returns of each ask the label that it takes; undefined where an endpoint says none of them, or several
   * @throws as `Writer.write` does
   */
  choose(asks: readonly Ask[], labels: readonly string[]): Promise<(string | undefined)[]>
}

/** A text that a model wrote to be a question. */
export interface WrittenCase {
  readonly text: string
  /** The label that it was asked to be of; what it is of is another matter. */
  readonly asked: string
}

/** Questions that come up during a search, batch by batch, on disk before they are used. */
export interface CaseBook {
  /** All texts that were ever written. */
  texts(): Promise<string[]>
  /**
   * Keeps a batch: it is written once, and found again whenever the search goes on.
   * @returns how many texts it has
   */
  keep(batch: number, write: () => Promise<readonly WrittenCase[]>): Promise<number>
  /**
   * The labels of a batch, whose texts are questions of the search from now on.
   * @param label asked for what has no label yet; without it a person is
   * @returns how many became questions, and how many are of no use
   * @throws GradpromptError `labels-needed` where a person has not said them all, `unknown-label`, `row-too-long`, and as `label` does
   */
  settle(
    batch: number,
    label?: (texts: readonly string[]) => Promise<readonly (string | undefined)[]>,
  ): Promise<{ readonly added: number; readonly left: number }>
}
