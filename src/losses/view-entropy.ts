import { declareCode } from '../code-identity.js'
import { logSumExp } from '../numbers.js'
import type { Loss } from './loss.js'
import { type Slopes, weighedLikelihoods } from './weighed-likelihoods.js'

/**
 * Entropies of class distributions, which are minimised where nobody knows the right class. Of the views of one row that of the mean of the
 * surest (TPT, Shu et al. 2022, arXiv 2209.07511, equation 3): views that are sure of different classes are not, which the mean of their
 * entropies would not see. Of a batch of rows the mean of the entropies less that of the mean, so that rows are sure, and not all of one
 * class (the mutual information of rows and classes, negated).
 *
 * A distribution is the softmax of a row's class scores, in nats, among the classes that the row may have: a score of -Infinity is none of
 * these. Programs compute no more than the scores weighed by the slopes, as with the cross entropy of classes.
 */
export const viewEntropy: Loss<{ readonly type: 'view-entropy' }, Slopes> = declareCode(import.meta.url, {
  type: 'view-entropy',
  paper: 'Shu et al. 2022, Test-Time Prompt Tuning for Zero-Shot Generalization in Vision-Language Models (arXiv 2209.07511)',
  ...weighedLikelihoods,
})

/** What a loss comes to, and its slope by the score of each class in each row; in the order of both. */
export interface EntropyLoss {
  /** In nats. */
  readonly loss: number
  readonly slopes: readonly (readonly number[])[]
}

/** Logarithms of the shares of each class, in nats. */
export function logShares(scores: readonly number[]): number[] {
  const level = logSumExp(scores)
  return scores.map(score => score - level)
}

/** The entropy of a distribution, in nats. @param logs of its shares */
export const entropy = (logs: readonly number[]): number => logs.reduce((sum, log) => sum - product(Math.exp(log), log), 0)

/** What has no share adds nothing, whatever its logarithm. */
const product = (share: number, value: number) => (share === 0 ? 0 : share * value)

/** Logarithms of the mean of distributions, as logsumexp(log q) - log K: a share that is tiny in all of them is not lost. */
export const logMean = (logs: readonly (readonly number[])[]): number[] =>
  logs[0]!.map((_, j) => logSumExpOf(logs.map(own => own[j]!)) - Math.log(logs.length))

const logSumExpOf = (values: readonly number[]) =>
  values.every(value => value === Number.NEGATIVE_INFINITY) ? Number.NEGATIVE_INFINITY : logSumExp(values)

/**
 * The surest of several distributions: of those that are most like the first, the given share of them all that has the least entropy, at least
 * one. The first, which is that of the row itself, is always among those that are looked at (DiffTPT, Feng et al. 2023, arXiv 2308.06038).
 *
 * @param logs logarithms of the shares, in nats; the first are those of the row itself
 * @param options.keep share of what is looked at that is kept; rounded down
 * @param options.similar share of the others that is looked at: those whose logarithms have the largest cosine with the first's
 * @returns places, ascending
 */
export function surestViews(
  logs: readonly (readonly number[])[],
  { keep, similar = 1 }: { readonly keep: number; readonly similar?: number },
): number[] {
  const others = [...logs.keys()].slice(1)
  const cosines = logs.map(own => cosine(own, logs[0]!))
  const alike = best(others, cosines, Math.floor(similar * others.length + roundingUp))
  const looked = [0, ...alike]
  const sureness = logs.map(own => -entropy(own))
  return best(looked, sureness, Math.max(1, Math.floor(keep * looked.length + roundingUp)))
}

/** A share of a count that is whole but for rounding is whole. */
const roundingUp = 1e-9

/** Places of the highest values, ascending; of equal ones those that come first. */
const best = (places: readonly number[], values: readonly number[], count: number): number[] =>
  [...places]
    .sort((a, b) => values[b]! - values[a]! || a - b)
    .slice(0, count)
    .sort((a, b) => a - b)

/** Between the logarithms of the classes that both may be. */
function cosine(a: readonly number[], b: readonly number[]): number {
  let [dot, left, right] = [0, 0, 0]
  for (const [j, x] of a.entries()) {
    const y = b[j]!
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue
    dot += x * y
    left += x * x
    right += y * y
  }
  return left === 0 || right === 0 ? 0 : dot / Math.sqrt(left * right)
}

/**
 * The entropy of the mean distribution of views. With q_n the softmax of a view's scores and q̄ their mean, the slope by a score is
 * q_nc (-log q̄_c - H(q_n, q̄)) / K, where H(q_n, q̄) is the cross entropy.
 * @param scores of the classes in each view, in nats
 */
export function entropyOfMean(scores: readonly (readonly number[])[]): EntropyLoss {
  const logs = scores.map(logShares)
  const ofMean = logMean(logs)
  return { loss: entropy(ofMean), slopes: logs.map(own => slopesOf(own, ofMean, 1 / logs.length)) }
}

/**
 * The mean entropy of rows less the entropy of their mean, which is 0 at most.
 * @param scores of the classes of each row, in nats
 */
export function negatedInformation(scores: readonly (readonly number[])[]): EntropyLoss {
  const logs = scores.map(logShares)
  const ofMean = logMean(logs)
  const share = 1 / logs.length
  const loss = logs.reduce((sum, own) => sum + entropy(own) * share, 0) - entropy(ofMean)
  const slopes = logs.map(own => {
    const apart = slopesOf(own, own, share)
    const together = slopesOf(own, ofMean, share)
    return apart.map((slope, j) => slope - together[j]!)
  })
  return { loss, slopes }
}

/** q_c (-log p_c - H(q, p)) of each class, times a weight. @param own log q  @param under log p */
function slopesOf(own: readonly number[], under: readonly number[], weight: number): number[] {
  const cross = own.reduce((sum, log, j) => sum - product(Math.exp(log), under[j]!), 0)
  return own.map((log, j) => (Math.exp(log) === 0 ? 0 : weight * Math.exp(log) * (-under[j]! - cross)))
}
