import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'

/** One token put in another's place; null where there was none, or is none any more. */
export interface Swap {
  readonly position: number
  readonly from: number | null
  readonly to: number | null
}

/** A prompt one or a few swaps away, with what the gradient says of it: the change of loss that it predicts, so lower is better. */
export interface Candidate {
  readonly ids: readonly number[]
  readonly swaps: readonly Swap[]
  readonly gradientScore?: number
}

/**
 * First-order changes of the loss for every token in the place of each one: `(E[v] - E[p_i]) . g_i` (HotFlip; Ebrahimi et al. 2018).
 *
 * @param products `E[v] . g_i`, [F, V]
 * @param prompt ids; row j of `products` belongs to position `positions[j]`
 * @returns [F, V]
 */
export function substitutionScores(
  products: Float32Array,
  prompt: readonly number[],
  positions: readonly number[],
  vocabSize: number,
): Float32Array {
  const scores = new Float32Array(products.length)
  for (const [j, position] of positions.entries()) {
    const current = products[j * vocabSize + prompt[position]!]!
    for (let v = 0; v < vocabSize; v++) scores[j * vocabSize + v] = products[j * vocabSize + v]! - current
  }
  return scores
}

/** The allowed ids with the lowest scores, in rising order; of equal ones the lower id first. `without` is left out. */
export function lowest(scores: Float32Array, allowed: Int32Array, count: number, without?: number): number[] {
  const values = Float32Array.from(allowed, id => (id === without ? Number.POSITIVE_INFINITY : scores[id]!))
  const threshold = values.slice().sort()[Math.min(count, values.length) - 1]!
  const chosen: number[] = []
  for (const [i, value] of values.entries()) if (value <= threshold && value < Number.POSITIVE_INFINITY) chosen.push(allowed[i]!)
  return chosen.sort((a, b) => scores[a]! - scores[b]! || a - b).slice(0, count)
}

/** A prompt with one token changed. */
export function substituted(
  prompt: readonly number[],
  swaps: readonly { readonly position: number; readonly to: number }[],
  gradientScore?: number,
): Candidate {
  const ids = [...prompt]
  for (const { position, to } of swaps) ids[position] = to
  return {
    ids,
    swaps: swaps.map(({ position, to }) => ({ position, from: prompt[position]!, to })),
    ...(gradientScore !== undefined && { gradientScore }),
  }
}

/** Candidates with different ids, none of them those of `prompt`. */
export function distinct(candidates: readonly Candidate[], prompt: readonly number[]): Candidate[] {
  const seen = new Set([prompt.join()])
  return candidates.filter(({ ids }) => {
    const key = ids.join()
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}

export const pick = <T>(items: ArrayLike<T>, random: RandomGenerator): T => items[uniformInt(random, 0, items.length - 1)]!

/** `count` different items, in random order; all of them when there are no more. */
export function draw<T>(items: readonly T[], count: number, random: RandomGenerator): T[] {
  const left = [...items]
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(uniformInt(random, 0, left.length - 1), 1)[0]!)
}

/** Standard normal numbers (Box and Muller 1958). */
export function normals(count: number, random: RandomGenerator): Float32Array {
  const uniform = () => ((random.next() >>> 0) + 0.5) / 0x1_0000_0000
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()))
}

/** The rows of some positions: [L, width] -> [F, width]. */
export function rowsOf(matrix: Float32Array, positions: readonly number[], width: number): Float32Array {
  const rows = new Float32Array(positions.length * width)
  for (const [j, position] of positions.entries()) rows.set(matrix.subarray(position * width, (position + 1) * width), j * width)
  return rows
}
