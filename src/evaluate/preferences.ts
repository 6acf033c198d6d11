import type { ScoringRow } from '../data/rows/rows.js'
import { GradpromptError } from '../errors.js'
import { mean } from '../numbers.js'
import { bootstrap, type MetricValue, wilsonInterval } from './intervals.js'

/**
 * Figures of answers that people chose between, or liked and did not: which of two the model finds likelier, and which has gained more on
 * a reference. By which loss a gain is worth how much is unknown here.
 */

/** What an answer is worth beside its likelihood. */
export interface Rewards {
  /** For each row and candidate the log-probability under the reference, in nats; undefined: gains are counted from nothing. */
  readonly reference: ((rows: readonly ScoringRow[]) => Promise<readonly (readonly number[])[]>) | undefined
  of(answer: { readonly logProbability: number; readonly reference: number; readonly tokens: number }): number
}

/** A row that was scored. */
export interface PreferenceRow {
  /** Of each candidate, in nats: in pairs the chosen answer and the rejected one. */
  readonly logLikelihoods: readonly number[]
  readonly rewards?: readonly number[] | undefined
  /** Where the row is a single answer. */
  readonly liked?: boolean | undefined
}

/** Whether rows are pairs, or single answers with thumbs. */
export const isPreference = ({ candidates, liked }: ScoringRow): boolean => candidates.length === 2 || liked !== undefined

/** The rewards of each row's candidates. */
export async function rewardsOf(
  rows: readonly ScoringRow[],
  logLikelihoods: readonly (readonly number[])[],
  { reference, of }: Rewards,
): Promise<number[][]> {
  const before = await reference?.(rows)
  return rows.map(({ candidates }, i) =>
    candidates.map(({ ids }, j) =>
      of({ logProbability: logLikelihoods[i]![j]!, reference: before === undefined ? 0 : before[i]![j]!, tokens: ids.length }),
    ),
  )
}

/**
 * Of pairs: `accuracy`, the share in which the chosen answer is the likelier one; where there are rewards `rewardAccuracy`, the share in
 * which it has the higher reward. Of single answers with rewards: `accuracy`, the share whose reward has the sign of its thumb. Besides the
 * mean log-likelihood of the chosen or liked answers, and the mean rewards of both sides with their difference. Equal sides count as wrong.
 * Shares have Wilson's interval, the others the bootstrap's over rows.
 * @throws GradpromptError `no-rows`, `not-finite`
 */
export function preferenceMetrics(rows: readonly PreferenceRow[], { seed }: { seed: number }): Record<string, MetricValue> {
  if (rows.length === 0) throw new GradpromptError('no-rows', 'there are no rows to evaluate')
  requireFinite(rows)
  const areThumbs = rows[0]!.liked !== undefined && rows[0]!.logLikelihoods.length === 1
  const share = (isRight: (row: PreferenceRow) => boolean): MetricValue => {
    const right = rows.filter(isRight).length
    return { value: right / rows.length, ...wilsonInterval(right, rows.length) }
  }
  const isRewarded = rows.every(({ rewards }) => rewards !== undefined)
  // The two sides, each with the rows that have it.
  const sides = areThumbs
    ? [rows.map(({ liked }) => liked === true), rows.map(({ liked }) => liked !== true)]
    : [rows.map(() => true), rows.map(() => true)]
  const reward = (side: 0 | 1) => rows.map(({ rewards }) => (areThumbs ? rewards![0]! : rewards![side]!))
  const meanOf = (values: readonly number[], there: readonly boolean[]) => (drawn: Int32Array) =>
    mean(Array.from(drawn).flatMap(i => (there[i] ? [values[i]!] : [])))
  const likelihood = meanOf(
    rows.map(({ logLikelihoods }) => logLikelihoods[0]!),
    sides[0]!,
  )
  if (!isRewarded)
    return {
      ...(areThumbs ? {} : { accuracy: share(({ logLikelihoods: [chosen, rejected] }) => chosen! > rejected!) }),
      ...bootstrap(rows.length, { logLikelihood: likelihood }, { seed }),
    }
  const [chosen, rejected] = [meanOf(reward(0), sides[0]!), meanOf(reward(1), sides[1]!)]
  const figures = {
    logLikelihood: likelihood,
    chosenReward: chosen,
    rejectedReward: rejected,
    rewardMargin: (drawn: Int32Array) => chosen(drawn) - rejected(drawn),
  }
  return {
    ...(areThumbs
      ? { accuracy: share(({ rewards, liked }) => (liked ? rewards![0]! > 0 : rewards![0]! < 0)) }
      : {
          accuracy: share(({ logLikelihoods: [one, other] }) => one! > other!),
          rewardAccuracy: share(({ rewards }) => rewards![0]! > rewards![1]!),
        }),
    ...bootstrap(rows.length, figures, { seed }),
  }
}

function requireFinite(rows: readonly PreferenceRow[]): void {
  const bad = rows.findIndex(({ logLikelihoods }) => !logLikelihoods.every(Number.isFinite))
  if (bad === -1) return
  throw new GradpromptError('not-finite', `the log-likelihood of an answer in row ${bad + 1} is not a finite number`, {
    found: rows[bad]!.logLikelihoods.join(', '),
    hint: 'the prompt or the weights hold numbers that are too large; a lower learning rate keeps the prompt in range',
    exitCode: 1,
  })
}
