import { logSumExp } from '../../numbers.js'
import type { LabelSet } from './labels.js'

/** How the scores of a class's words become its own. */
export const aggregates = ['mean', 'sum', 'max'] as const
export type Aggregate = (typeof aggregates)[number]

/**
 * Several words for a class (Schick and Schütze 2021, arXiv 2001.07676; OpenPrompt, Ding et al. 2022, arXiv 2111.01998). A class is called
 * after its first word, which is the one that is learned.
 *
 * - `mean`: mean of the words' log-likelihoods; with learned weights α, sum of α_j times the j-th, where α is a softmax within the class
 *   (Hu et al. 2022, KPT, arXiv 2108.02035)
 * - `sum`: log-likelihood that the answer is any of them
 * - `max`: that of the likeliest
 */
export interface Verbalizer {
  readonly aggregate: Aggregate
  /** The words of each class, by its name, its name first; in the order of the candidates. */
  readonly words: Readonly<Record<string, readonly string[]>>
}

/** Name of the learned weights among a prompt's tensors. */
export const wordParameter = 'verbalizer'

/** The words of each class, in the order of the candidates. */
export const classWords = ({ candidates, verbalizer }: LabelSet): readonly (readonly string[])[] =>
  candidates.map(name => (verbalizer && Object.hasOwn(verbalizer.words, name) ? verbalizer.words[name]! : [name]))

/** Words over all classes. */
export const countWords = (labels: LabelSet): number => classWords(labels).reduce((sum, words) => sum + words.length, 0)

/**
 * Scores of the classes from those of all their words.
 *
 * @param scores of the words, class after class, in nats
 * @param weights learned numbers, one for each word, whose softmax within a class weighs its words; by default all weigh alike
 * @returns one for each candidate
 */
export function classScores(labels: LabelSet, scores: readonly number[], weights?: Float32Array): number[] {
  const { aggregate = 'mean' } = labels.verbalizer ?? {}
  let start = 0
  return classWords(labels).map(({ length }) => {
    const own = scores.slice(start, start + length)
    const shares = weights && softmax(Array.from(weights.subarray(start, start + length)))
    start += length
    if (length === 1) return own[0]!
    if (aggregate === 'max') return Math.max(...own)
    if (aggregate === 'sum') return logSumExp(own)
    return own.reduce((sum, score, i) => sum + score * (shares?.[i] ?? 1 / length), 0)
  })
}

/**
 * How a loss changes with the score of each word, from how it changes with those of the classes.
 * @param scores of the words and `weights` as `classScores` takes them
 * @param slopes by the score of each class
 * @returns one for each word; of equally likely words under `max` the first's
 */
export function wordSlopes(
  labels: LabelSet,
  scores: readonly number[],
  slopes: readonly number[],
  weights?: Float32Array,
): number[] {
  const { aggregate = 'mean' } = labels.verbalizer ?? {}
  let start = 0
  return classWords(labels).flatMap(({ length }, i) => {
    const own = scores.slice(start, start + length)
    const shares = weights && softmax(Array.from(weights.subarray(start, start + length)))
    start += length
    const slope = slopes[i]!
    if (length === 1) return [slope]
    if (aggregate === 'max') return own.map((_, j) => (j === own.indexOf(Math.max(...own)) ? slope : 0))
    return (aggregate === 'sum' ? softmax(own) : (shares ?? own.map(() => 1 / length))).map(share => slope * share)
  })
}

/**
 * The gradient of the learned weights: of the mean cross entropy of the classes, whose scores are the weighted means of their words'.
 *
 * @param rows the words' scores of each row, and the index of its class
 */
export function weightGradient(
  labels: LabelSet,
  rows: readonly { readonly scores: readonly number[]; readonly target: number }[],
  weights: Float32Array,
): Float32Array {
  const gradient = new Float64Array(weights.length)
  for (const { scores, target } of rows) {
    const classes = classScores(labels, scores, weights)
    const probabilities = softmax(classes)
    let start = 0
    for (const [i, { length }] of classWords(labels).entries()) {
      const slope = (probabilities[i]! - (i === target ? 1 : 0)) / rows.length
      const shares = softmax(Array.from(weights.subarray(start, start + length)))
      for (const [j, share] of shares.entries()) gradient[start + j]! += slope * share * (scores[start + j]! - classes[i]!)
      start += length
    }
  }
  return Float32Array.from(gradient)
}

function softmax(values: readonly number[]): number[] {
  const level = logSumExp(values)
  return values.map(value => Math.exp(value - level))
}
