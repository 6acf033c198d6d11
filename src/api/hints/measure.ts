import { bootstrap, type MetricValue, type Statistic, wilsonInterval } from '../../evaluate/intervals.js'
import type { RowScore } from './likelihoods.js'

/** What hints are worth on rows that nothing was learned of: each way beside the others, over the same rows. */

/** Without a hint; with one text for all rows; with what the model writes when it is told to; with what the learned policy writes. */
export const conditionNames = ['none', 'fixed', 'untrained', 'policy'] as const
export type ConditionName = (typeof conditionNames)[number]

/** What was written and answered under a condition, row by row. */
export interface Condition {
  readonly scores: readonly RowScore[]
  /** Generated for the hints, in all. */
  readonly tokens: number
  /** Of the model, for an answer. */
  readonly calls: number
  /** Hints that say the answer. */
  readonly leaked: number
}

export interface ConditionFigures {
  /** Mean log-probability in nats: of the right class among the classes, or of a token of a free answer. */
  readonly score: MetricValue
  /** Of classes. */
  readonly accuracy?: MetricValue
  /** The share of rows whose answer is likelier than without a hint. */
  readonly raised?: MetricValue
  readonly calls: number
  /** Generated for a hint, in the mean. */
  readonly tokens: number
  readonly leaked: number
}

/** What the policy is above another condition by, on the same rows. */
export interface Difference {
  readonly score: MetricValue
  readonly accuracy?: MetricValue
}

export interface Measured {
  readonly rows: number
  readonly conditions: Readonly<Record<ConditionName, ConditionFigures>>
  readonly differences: Readonly<Record<Exclude<ConditionName, 'policy'>, Difference>>
}

export function measured(conditions: Readonly<Record<ConditionName, Condition>>, seed: number): Measured {
  const count = conditions.none.scores.length
  const isClasses = conditions.none.scores.every(({ correct }) => correct !== undefined)
  const meanOf =
    (of: (row: number) => number): Statistic =>
    rows =>
      rows.reduce((sum, row) => sum + of(row), 0) / rows.length
  const others = ['none', 'fixed', 'untrained'] as const
  const score = (name: ConditionName) => (row: number) => conditions[name].scores[row]!.score
  const right = (name: ConditionName) => (row: number) => Number(conditions[name].scores[row]!.correct)
  const statistics: Record<string, Statistic> = {}
  for (const name of conditionNames) statistics[name] = meanOf(score(name))
  for (const name of others) {
    statistics[`score-${name}`] = meanOf(row => score('policy')(row) - score(name)(row))
    statistics[`accuracy-${name}`] = meanOf(row => right('policy')(row) - right(name)(row))
  }
  const values = bootstrap(count, statistics, { seed })
  const shareOf = (holds: (row: number) => boolean): MetricValue => {
    const rows = Array.from({ length: count }, (_, row) => row).filter(holds).length
    return { value: rows / count, ...wilsonInterval(rows, count) }
  }
  const figures = (name: ConditionName): ConditionFigures => ({
    score: values[name]!,
    ...(isClasses && { accuracy: shareOf(row => right(name)(row) === 1) }),
    ...(name !== 'none' && { raised: shareOf(row => score(name)(row) > score('none')(row)) }),
    calls: conditions[name].calls,
    tokens: conditions[name].tokens / count,
    leaked: conditions[name].leaked,
  })
  const difference = (name: (typeof others)[number]): Difference => ({
    score: values[`score-${name}`]!,
    ...(isClasses && { accuracy: values[`accuracy-${name}`]! }),
  })
  return {
    rows: count,
    conditions: Object.fromEntries(conditionNames.map(name => [name, figures(name)])) as Measured['conditions'],
    differences: Object.fromEntries(others.map(name => [name, difference(name)])) as Measured['differences'],
  }
}
