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
   * @throws BudgetSpent; GradpromptError `context-exceeded`, `aborted`
   */
  write(asks: readonly Ask[], options: WritingOptions): Promise<string[]>
}
