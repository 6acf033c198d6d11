import type { Candidate } from '../space/candidates.js'
import type { ScoredCandidate, SearchContext } from './method.js'

/**
 * Scores the candidates that look best in 8 bits: one of `reduction`. Where that is no faster, all of them.
 * @returns those that have an exact score, best first
 */
export async function screened(
  context: SearchContext,
  given: readonly Candidate[],
  reduction: number,
): Promise<readonly ScoredCandidate[]> {
  const candidates = given.filter(({ ids }) => context.readsBack(ids))
  const count = Math.ceil(candidates.length / reduction)
  const guesses = count < candidates.length ? await context.guess(candidates) : undefined
  if (guesses === undefined) return context.score(candidates.length > 0 ? candidates : given)
  const best = [...candidates.keys()].sort((a, b) => guesses[a]! - guesses[b]! || a - b).slice(0, count)
  return context.score(best.map(i => candidates[i]!))
}
