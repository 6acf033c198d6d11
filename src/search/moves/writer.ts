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
}

/** Lets a model compare. */
export interface Judge {
  /**
   * @param asks each ends where the letter A or B follows
   * @returns of each, how much likelier A is than B in nats; of an endpoint, which only says a letter, 1, -1, or 0 where it says neither
   * @throws as `Writer.write` does
   */
  prefer(asks: readonly Ask[]): Promise<number[]>
}
