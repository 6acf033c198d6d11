import { GradpromptError } from '../../errors.js'

/** What a search may spend, each part without a limit where it is not given. */
export interface BudgetLimits {
  /** Tokens that the model writes. */
  readonly generatedTokens?: number | undefined
  /** Token rows that go through the model, forward or forward and backward. */
  readonly computedTokens?: number | undefined
  readonly seconds?: number | undefined
}

export interface Spending {
  generatedTokens: number
  computedTokens: number
}

/** Thrown between two batches when there is nothing left: the step under way is given up. */
export class BudgetSpent extends Error {}

/**
 * What a search has spent. It is asked before every batch, so a limit is passed by less than one batch; what a batch costs is added
 * when it is done.
 */
export class Budget {
  readonly spent: Spending

  readonly #limits: BudgetLimits
  readonly #elapsed: () => number

  constructor(limits: BudgetLimits, elapsed: () => number, spent: Spending = { generatedTokens: 0, computedTokens: 0 }) {
    this.#limits = limits
    this.#elapsed = elapsed
    this.spent = { ...spent }
  }

  get isSpent(): boolean {
    const { generatedTokens = Infinity, computedTokens = Infinity, seconds = Infinity } = this.#limits
    return (
      this.spent.generatedTokens >= generatedTokens || this.spent.computedTokens >= computedTokens || this.#elapsed() >= seconds
    )
  }

  /** @throws BudgetSpent */
  require(): void {
    if (this.isSpent) throw new BudgetSpent('the budget is spent')
  }

  add({ generatedTokens = 0, computedTokens = 0 }: Partial<Spending>): void {
    this.spent.generatedTokens += generatedTokens
    this.spent.computedTokens += computedTokens
  }

  /** A search whose budget does not pay for its first step. */
  tooSmall(): GradpromptError {
    const { generatedTokens, computedTokens } = this.spent
    return new GradpromptError('budget-too-small', 'the budget does not pay for one step', {
      found: `search.budget: ${JSON.stringify(this.#limits)}; spent before the first step was done: ${generatedTokens} generated tokens, ${computedTokens} computed tokens, ${this.#elapsed().toFixed(1)} seconds`,
      expected: 'a budget of several steps',
      hint: 'raise search.budget, or make a step smaller: fewer questions, fewer candidates',
    })
  }
}
