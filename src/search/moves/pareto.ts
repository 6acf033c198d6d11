import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'

/** Fronts of single questions, as GEPA keeps them (Agrawal et al. 2025, algorithm 2). */

/** Losses of a candidate, question after question. */
export interface Scored {
  readonly id: number
  readonly losses: readonly number[]
}

/** Of each question, the candidates whose loss on it is the lowest. */
export function frontsOf(candidates: readonly Scored[]): Set<number>[] {
  const questions = candidates[0]?.losses.length ?? 0
  return Array.from({ length: questions }, (_, q) => {
    const best = Math.min(...candidates.map(({ losses }) => losses[q]!))
    return new Set(candidates.filter(({ losses }) => losses[q] === best).map(({ id }) => id))
  })
}

/**
 * Candidates that are not dominated, with the number of fronts that each is in. One is dominated where every front that it is in has another
 * that is kept; the worst by its mean is asked first, until nothing changes.
 */
export function undominated(candidates: readonly Scored[]): { id: number; fronts: number }[] {
  const fronts = frontsOf(candidates)
  const sum = ({ losses }: Scored) => losses.reduce((total, loss) => total + loss, 0)
  const kept = new Set([...candidates].sort((a, b) => sum(b) - sum(a) || b.id - a.id).map(({ id }) => id))
  let changed = true
  while (changed) {
    changed = false
    for (const id of kept) {
      const own = fronts.filter(front => front.has(id))
      if (kept.size > 1 && own.every(front => [...front].some(other => other !== id && kept.has(other)))) {
        kept.delete(id)
        changed = true
        break
      }
    }
  }
  return candidates
    .filter(({ id }) => kept.has(id))
    .map(({ id }) => ({ id, fronts: fronts.filter(front => front.has(id)).length }))
}

/** One of several, with a probability in proportion to its weight; all alike where no weight is above 0. */
export function drawWeighted<T>(items: readonly T[], weightOf: (item: T) => number, random: RandomGenerator): T {
  const weights = items.map(item => Math.max(0, weightOf(item)))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  let left = uniformFloat64(random) * (sum > 0 ? sum : items.length)
  for (const [i, item] of items.entries()) {
    left -= sum > 0 ? weights[i]! : 1
    if (left < 0) return item
  }
  return items.at(-1)!
}

/**
 * The texts of two candidates joined, by their common ancestor: where one of them still has the ancestor's text, the other's is taken; where
 * both have changed it, that of the better one.
 */
export function mergedComponents(
  ancestor: readonly string[],
  a: readonly string[],
  b: readonly string[],
  isBetter: 'a' | 'b',
): string[] {
  const better = isBetter === 'a' ? a : b
  return better.map((text, i) => {
    if (a[i] === ancestor[i]) return b[i] ?? text
    if (b[i] === ancestor[i]) return a[i] ?? text
    return text
  })
}
