import { isRecord } from '../json.js'

/** What the classes of a row came to where the prompt was tuned on the row without its label; each in the order of the classes. */
export interface TestTimeScores {
  /** Log-likelihoods under the prompt as it was learned, in nats. */
  readonly before: readonly number[]
  /** The same under the prompt once tuned: they decide. */
  readonly after: readonly number[]
  /** Mean shares over all views under the prompt as it was learned, and over those that it was tuned on. */
  readonly averaged: readonly number[]
  readonly surest: readonly number[]
  /** How many views there were. */
  readonly views: number
  /** What the first step minimised, in nats. */
  readonly loss: number
}

export const isTestTime = (value: unknown): value is TestTimeScores =>
  isRecord(value) &&
  [value.before, value.after, value.averaged, value.surest].every(
    list => Array.isArray(list) && list.length > 0 && list.every(Number.isFinite),
  ) &&
  [value.views, value.loss].every(Number.isFinite)
