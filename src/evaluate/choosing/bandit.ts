import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { cholesky, solve } from '../../cholesky.js'
import { dot } from '../../numbers.js'
import { randomGenerator, streams } from '../../random.js'

/**
 * Which two of several things to show a person next, so that the best is found with few questions (a dueling bandit, after APOHF, Lin et al.
 * 2024, arXiv 2405.17346): the one that is thought best, and the one that might still be better. What is liked is a linear function of points,
 * learned by Bayesian logistic regression on differences (Laplace's approximation) where the paper has a network: exact, and the same every
 * time. What the points are of is unknown here.
 */

/** An answer to "which of both?". */
export interface Comparison {
  readonly first: number
  readonly second: number
  /** 1: the first, 0: the second, 0.5: neither. */
  readonly chose: number
}

export interface BanditOptions {
  /** How strongly weights are held to 0; 0.1 by default, as the paper has it: for points of about length 1. */
  readonly lambda?: number | undefined
  /** How much what is not known counts for; 4 by default. */
  readonly nu?: number | undefined
  /** Pairs that are drawn at random at the beginning; 5 by default. */
  readonly initial?: number | undefined
  readonly seed: number
}

/** What has been learned of all points. */
export interface Liking {
  /** How much each is liked, in nats of odds. */
  readonly values: readonly number[]
  /** The variance of the difference between two of them. */
  variance(first: number, second: number): number
}

const newtonSteps = 30
const defaultLambda = 0.1

/**
 * The likeliest weights and what is not known of them: of -log posterior, sum of BCE(w (x_a - x_b), y) + lambda |w|^2 / 2.
 * @param points of equal length
 */
export function likingOf(
  points: readonly ArrayLike<number>[],
  comparisons: readonly Comparison[],
  lambda = defaultLambda,
): Liking {
  const size = points[0]?.length ?? 0
  const between = (a: number, b: number) => Float64Array.from(points[a]!, (x, i) => x - points[b]![i]!)
  const differences = comparisons.map(({ first, second }) => between(first, second))
  const weights = new Float64Array(size)
  let factor = cholesky(diagonal(size, lambda), size)
  for (let step = 0; step < newtonSteps && differences.length > 0; step++) {
    const gradient = weights.map(w => lambda * w)
    const hessian = diagonal(size, lambda)
    for (const [row, d] of differences.entries()) {
      const p = 1 / (1 + Math.exp(-dot(weights, d)))
      for (let i = 0; i < size; i++) {
        gradient[i]! += (p - comparisons[row]!.chose) * d[i]!
        const scaled = p * (1 - p) * d[i]!
        if (scaled !== 0) for (let j = 0; j <= i; j++) hessian[i * size + j]! += scaled * d[j]!
      }
    }
    factor = cholesky(hessian, size)
    const change = solve(factor, gradient, size)
    let moved = 0
    for (let i = 0; i < size; i++) {
      weights[i]! -= change[i]!
      moved = Math.max(moved, Math.abs(change[i]!))
    }
    if (moved < 1e-10) break
  }
  return {
    values: points.map(point => dot(weights, point)),
    variance(a, b) {
      const d = between(a, b)
      return dot(d, solve(factor, d, size))
    },
  }
}

function diagonal(size: number, value: number): Float64Array {
  const matrix = new Float64Array(size * size)
  for (let i = 0; i < size; i++) matrix[i * size + i] = value
  return matrix
}

/** The place of the highest number among some places. */
function highestOf(values: readonly number[], among: Iterable<number>): number {
  let best = -1
  for (const place of among) if (best < 0 || values[place]! > values[best]!) best = place
  return best
}

/**
 * The next two to show: at first random ones; then the one liked best, and of the others the one with the highest
 * value + sqrt(nu variance of its difference to that one). Which of both stands on which side is the caller's.
 * @returns places of two different points
 * @throws RangeError for fewer than two points
 */
export function nextPair(
  points: readonly ArrayLike<number>[],
  comparisons: readonly Comparison[],
  { lambda = defaultLambda, nu = 4, initial = 5, seed }: BanditOptions,
): readonly [first: number, second: number] {
  if (points.length < 2) throw new RangeError('there is nothing to choose between')
  if (comparisons.length < initial) {
    const random = randomGenerator(seed, streams.choosing, comparisons.length)
    const first = uniformInt(random, 0, points.length - 1)
    const second = uniformInt(random, 0, points.length - 2)
    return [first, second < first ? second : second + 1]
  }
  const liking = likingOf(points, comparisons, lambda)
  const all = [...points.keys()]
  const first = highestOf(liking.values, all)
  const hopes = all.map(place => liking.values[place]! + Math.sqrt(nu * liking.variance(place, first)))
  return [first, highestOf(hopes, all.filter(place => place !== first))] // biome-ignore format: a pair
}

/** The one liked best among those that were shown; undefined before the first answer. */
export function bestShown(
  points: readonly ArrayLike<number>[],
  comparisons: readonly Comparison[],
  { lambda = defaultLambda }: Pick<BanditOptions, 'lambda'> = {},
): number | undefined {
  const shown = new Set(comparisons.flatMap(({ first, second }) => [first, second]))
  if (shown.size === 0) return undefined
  return highestOf(likingOf(points, comparisons, lambda).values, [...shown].sort((a, b) => a - b)) // biome-ignore format: one call
}

/**
 * Somebody who is asked, for trying a way of choosing: takes the first with the chance sigmoid(slope (u_first - u_second)).
 * @param utilities how good each really is
 * @param slope how sure the answers are: with 0 they are coin tosses
 */
export const simulatedPerson =
  (utilities: readonly number[], slope: number, seed: number) =>
  (first: number, second: number, question: number): Comparison => {
    const chance = 1 / (1 + Math.exp(-slope * (utilities[first]! - utilities[second]!)))
    const drawn = uniformFloat64(randomGenerator(seed, streams.choosing, 1, question))
    return { first, second, chose: drawn < chance ? 1 : 0 }
  }
