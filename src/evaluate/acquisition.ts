import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { mean, squaredDistance } from '../numbers.js'
import { randomGenerator, streams } from '../random.js'

/**
 * Which rows are worth a label: how unsure a model is of each, and how a few of the unsure are chosen that are not alike. It knows neither
 * models nor files.
 */

/** How unsure members of a committee are of a row: probabilities of each class, of each member. Higher is less sure. */
type Acquisition = (members: readonly (readonly number[])[]) => number

const entropy = (shares: readonly number[]) => shares.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0)

/** The members' mean probability of each class. */
export const meanShares = (members: readonly (readonly number[])[]): number[] =>
  members[0]!.map((_, i) => mean(members.map(shares => shares[i]!)))

/** Each rule by its name. A new one is a line here. */
const rules = {
  /** 1 less the margin between the two likeliest classes (Scheffer et al. 2001). */
  margin(members) {
    const [most, second = 0] = meanShares(members).sort((a, b) => b - a) as [number, number?]
    return 1 - (most - second)
  },
  /** Of the mean of all members, in nats (Lewis and Gale 1994; Settles 2009). */
  entropy: members => entropy(meanShares(members)),
  /** How far members disagree: the entropy of their mean less the mean of their entropies (BALD, Houlsby et al. 2011, arXiv 1112.5745). */
  disagreement: members => Math.max(0, entropy(meanShares(members)) - mean(members.map(entropy))),
} satisfies Record<string, Acquisition>

export type AcquisitionRule = keyof typeof rules | 'random'
export const acquisitionRules: readonly AcquisitionRule[] = [...(Object.keys(rules) as (keyof typeof rules)[]), 'random']

/**
 * @param rows of each row the probabilities of each class, of each member
 * @returns how unsure of each row; with `random` a number drawn by seed
 */
export function unsureness(
  rule: AcquisitionRule,
  rows: readonly (readonly (readonly number[])[])[],
  { seed }: { readonly seed: number },
): number[] {
  if (rule !== 'random') return rows.map(rules[rule])
  const random = randomGenerator(seed, streams.acquisition, 0)
  return rows.map(() => uniformFloat64(random))
}

/** Places of the highest scores, in falling order; of equal ones the first. */
export const highest = (scores: readonly number[], count: number): number[] =>
  [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, count)

/**
 * Chooses rows that are far from each other (the seeding of k-means++, Arthur and Vassilvitskii 2007): the first row, then each with a
 * chance as its squared distance to the nearest that is chosen. Rows in the place of a chosen one are taken only when no others are left.
 * @param points one a row, of equal length
 * @returns places in the order of their choice, none twice
 */
export function spread(points: readonly ArrayLike<number>[], count: number, { seed }: { readonly seed: number }): number[] {
  const random = randomGenerator(seed, streams.acquisition, 1)
  const chosen: number[] = []
  const nearest = new Float64Array(points.length).fill(Number.POSITIVE_INFINITY)
  const take = (place: number) => {
    chosen.push(place)
    for (const [i, point] of points.entries()) nearest[i] = Math.min(nearest[i]!, squaredDistance(point, points[place]!))
    nearest[place] = 0
  }
  while (chosen.length < Math.min(count, points.length)) {
    if (chosen.length === 0) {
      take(0)
      continue
    }
    const total = nearest.reduce((sum, distance) => sum + distance, 0)
    let left = uniformFloat64(random) * total
    const drawn = nearest.findIndex(distance => {
      left -= distance
      return distance > 0 && left <= 0
    })
    // Rounding may leave a rest behind the last of them.
    const far = drawn >= 0 ? drawn : nearest.findLastIndex(distance => distance > 0)
    take(far >= 0 ? far : points.findIndex((_, i) => !chosen.includes(i)))
  }
  return chosen
}

/**
 * Embeddings without what all have in common, each of length 1: language models give all texts much the same direction.
 * @param embeddings one a row, [d]
 */
export function centred(embeddings: readonly Float32Array[]): Float64Array[] {
  const middle = Float64Array.from(embeddings[0] ?? [], (_, i) => mean(embeddings.map(row => row[i]!)))
  return embeddings.map(row => {
    const moved = Float64Array.from(row, (value, i) => value - middle[i]!)
    const length = Math.hypot(...moved)
    return length > 0 ? moved.map(value => value / length) : moved
  })
}
