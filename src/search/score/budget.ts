import { GradpromptError } from '../../errors.js'
import { Ending } from '../../own-calls.js'

/** What a search may spend, each part without a limit where it is not given. */
export interface BudgetLimits {
  /** Tokens that the model writes. */
  readonly generatedTokens?: number | undefined
  /** Token rows that go through the model, forward or forward and backward. */
  readonly computedTokens?: number | undefined
  readonly seconds?: number | undefined
  /** Requests to endpoints, of all roles. */
  readonly calls?: number | undefined
  /** Of endpoints, in the currency of their prices. */
  readonly cost?: number | undefined
}

export interface Spending {
  generatedTokens: number
  computedTokens: number
  /** Of these, what was for one role, on this machine. */
  roles?: Readonly<Record<string, RoleSpending>>
}

/** What a role has spent; of an endpoint with its cost. */
export interface RoleSpending {
  readonly calls: number
  readonly promptTokens: number
  readonly generatedTokens: number
  readonly cost?: number
}

/** Thrown between two batches when there is nothing left: the step under way is given up. */
export class BudgetSpent extends Ending {}

/**
 * What a search has spent. It is asked before every batch, so a limit is passed by less than one batch; what a batch costs is added
 * when it is done.
 */
export class Budget {
  readonly spent: Spending

  readonly #limits: BudgetLimits
  readonly #elapsed: () => number
  readonly #outside: () => { readonly calls: number; readonly cost: number }

  /** @param outside what endpoints have been asked */
  constructor(
    limits: BudgetLimits,
    elapsed: () => number,
    spent: Spending = { generatedTokens: 0, computedTokens: 0 },
    outside = () => ({ calls: 0, cost: 0 }),
  ) {
    this.#limits = limits
    this.#elapsed = elapsed
    this.#outside = outside
    this.spent = { ...spent }
  }

  get isSpent(): boolean {
    const { generatedTokens = Infinity, computedTokens = Infinity, seconds = Infinity } = this.#limits
    const { calls = Infinity, cost = Infinity } = this.#limits
    const outside = this.#outside()
    if (outside.calls >= calls || outside.cost >= cost) return true
    return (
      this.spent.generatedTokens >= generatedTokens || this.spent.computedTokens >= computedTokens || this.#elapsed() >= seconds
    )
  }

  /** @throws BudgetSpent */
  require(): void {
    if (this.isSpent) throw new BudgetSpent('the budget is spent')
  }

  /**
   * Before a request is sent that may cost so much beside what is spent: a limit of calls or cost is never passed.
   * @throws BudgetSpent
   */
  requireFor(more: { readonly calls: number; readonly cost: number }): void {
    const { calls = Infinity, cost = Infinity } = this.#limits
    const outside = this.#outside()
    if (this.isSpent || outside.calls + more.calls > calls || outside.cost + more.cost > cost)
      throw new BudgetSpent('the budget is spent')
  }

  add({ generatedTokens = 0, computedTokens = 0 }: Partial<Spending>): void {
    this.spent.generatedTokens += generatedTokens
    this.spent.computedTokens += computedTokens
  }

  /** One call of a role on this machine. */
  addCall(role: string, { promptTokens, generatedTokens }: Omit<RoleSpending, 'calls'>): void {
    this.add({ generatedTokens, computedTokens: promptTokens + generatedTokens })
    const known = this.spent.roles?.[role] ?? { calls: 0, promptTokens: 0, generatedTokens: 0 }
    const own = {
      calls: known.calls + 1,
      promptTokens: known.promptTokens + promptTokens,
      generatedTokens: known.generatedTokens + generatedTokens,
    }
    this.spent.roles = { ...this.spent.roles, [role]: own }
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
