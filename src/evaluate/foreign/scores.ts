import { GradpromptError } from '../../errors.js'
import { logSumExp, mean } from '../../numbers.js'
import { shuffle, streams } from '../../random.js'
import { bootstrap, type MetricValue } from '../intervals.js'

/**
 * Whether a row belongs to one of the classes at all: scores of it, high where it does, and how well they tell such rows from foreign ones.
 * What gave the classes' scores is unknown here.
 */

/**
 * How likely a row is of a class, among the classes and labels of foreign things (LAPT, arXiv 2407.08966; NegLabel, Jiang et al. 2024, arXiv
 * 2403.20078): the foreign labels are dealt into groups by seed, and the score is the mean over groups of
 * sum_known exp z / (sum_known exp z + sum_group exp z). Every foreign label is in one group; the first groups may have one more.
 * @param known scores of the classes, in nats
 * @param foreign those of the foreign labels; without any the score is 1
 * @param groups how many groups, at most as many as foreign labels. The score hangs on it: a threshold holds for one number alone
 */
export function groupedScore(
  known: readonly number[],
  foreign: readonly number[],
  { groups, seed }: { readonly groups: number; readonly seed: number },
): number {
  if (foreign.length === 0) return 1
  const count = Math.min(groups, foreign.length)
  const order = shuffle([...foreign.keys()], seed, streams.foreign, 0)
  const shares = Array.from({ length: count }, (_, group) => {
    const own = order.filter((_, i) => i % count === group).map(place => foreign[place]!)
    return Math.exp(logSumExp(known) - logSumExp([...known, ...own]))
  })
  return mean(shares)
}

/** The share that the likeliest class has of all (MCM's analogue, Ming et al. 2022, arXiv 2211.13445; Hendrycks and Gimpel 2017). */
export const largestShare = (known: readonly number[]): number => Math.exp(Math.max(...known) - logSumExp(known))

/** The log of how likely any of the classes is: the negated free energy (Liu et al. 2020, arXiv 2010.03759). */
export const negatedEnergy = (known: readonly number[]): number => logSumExp(known)

/** The area under the receiver's curve: the chance that a known row scores higher than a foreign one, where equal scores count half. */
export function areaUnderCurve(known: readonly number[], foreign: readonly number[]): number {
  const all = [...known.map(score => ({ score, own: 1 })), ...foreign.map(score => ({ score, own: 0 }))]
  all.sort((a, b) => a.score - b.score)
  let rankSum = 0
  for (let from = 0; from < all.length; ) {
    let to = from
    while (to < all.length && all[to]!.score === all[from]!.score) to++
    // Ranks from 1; equal scores share the middle of theirs.
    for (let i = from; i < to; i++) rankSum += all[i]!.own * ((from + 1 + to) / 2)
    from = to
  }
  const n = known.length
  return (rankSum - (n * (n + 1)) / 2) / (n * foreign.length)
}

/** The highest threshold that at least a share of the known rows reaches. */
export function thresholdFor(known: readonly number[], share: number): number {
  const sorted = [...known].sort((a, b) => b - a)
  return sorted[Math.min(sorted.length, Math.max(1, Math.ceil(share * sorted.length - 1e-9))) - 1]!
}

/** The share of foreign rows that are taken for known ones where 95 % of these are. */
export function falseAt95(known: readonly number[], foreign: readonly number[]): number {
  const threshold = thresholdFor(known, 0.95)
  return foreign.filter(score => score >= threshold).length / foreign.length
}

/** How well a score tells known rows from foreign ones. */
export interface Separation {
  readonly auroc: MetricValue
  /** False positives at 95 % true positives. */
  readonly fpr95: MetricValue
}

/**
 * Scores of the same rows beside each other, and by how much the first's AUROC is above each of the others'; intervals over resamples of
 * both kinds of rows, the same for all.
 * @param scores by name, of each known row and each foreign one
 * @throws GradpromptError `no-rows`
 */
export function separations<Name extends string>(
  scores: Readonly<Record<Name, { readonly known: readonly number[]; readonly foreign: readonly number[] }>>,
  { seed }: { readonly seed: number },
): { readonly scores: Readonly<Record<Name, Separation>>; readonly gains: Readonly<Partial<Record<Name, MetricValue>>> } {
  const names = Object.keys(scores) as Name[]
  const first = scores[names[0]!]
  const [n, m] = [first.known.length, first.foreign.length]
  if (n === 0 || m === 0)
    throw new GradpromptError('no-rows', 'known rows are told from foreign ones, and there are none of one kind', {
      found: `${n} known rows and ${m} foreign ones`,
    })
  /** A resample of both kinds: each row that is drawn draws one of its own kind, so that both stay as many as they are. */
  const drawn = (name: Name, rows: Int32Array) => {
    const known: number[] = []
    const foreign: number[] = []
    for (const [i, row] of rows.entries()) {
      if (i < n) known.push(scores[name].known[Math.floor((row * n) / (n + m))]!)
      else foreign.push(scores[name].foreign[Math.floor((row * m) / (n + m))]!)
    }
    return { known, foreign }
  }
  // The figure itself is of all rows, each once.
  const of = (figure: (known: readonly number[], foreign: readonly number[]) => number, name: Name) => (rows: Int32Array) => {
    const isWhole = rows.every((row, i) => row === i)
    const { known, foreign } = isWhole ? scores[name] : drawn(name, rows)
    return figure(known, foreign)
  }
  const figures = names.flatMap((name, i) => [
    [`auroc:${name}`, of(areaUnderCurve, name)] as const,
    [`fpr95:${name}`, of(falseAt95, name)] as const,
    ...(i === 0
      ? []
      : [[`gain:${name}`, (rows: Int32Array) => of(areaUnderCurve, names[0]!)(rows) - of(areaUnderCurve, name)(rows)] as const]),
  ])
  const values = bootstrap(n + m, Object.fromEntries(figures), { seed, resamples: 400 }) as Readonly<Record<string, MetricValue>>
  return {
    scores: Object.fromEntries(
      names.map(name => [name, { auroc: values[`auroc:${name}`]!, fpr95: values[`fpr95:${name}`]! }]),
    ) as Record<Name, Separation>,
    gains: Object.fromEntries(names.slice(1).map(name => [name, values[`gain:${name}`]!])) as Partial<Record<Name, MetricValue>>,
  }
}
