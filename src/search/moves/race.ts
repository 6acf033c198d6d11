import { shuffle, streams } from '../../data/random.js'
import type { Candidate } from '../space/candidates.js'
import type { EliminatedCandidate, ScoredCandidate, SearchContext } from './method.js'

/**
 * Scores candidates beside the prompt they come from on one block of questions after the other. After each block those go that are no
 * better than that prompt on the questions so far, and the worse half of the others: most of what a step generates is for candidates that
 * will not win (successive halving; Jamieson and Talwalkar 2016). The order of the questions is drawn anew for each step.
 *
 * @param current scored on all questions
 * @returns what is left when one block is, and what went, with the questions that it was scored on
 */
export async function race(
  current: ScoredCandidate,
  candidates: readonly Candidate[],
  blocks: number,
  { objective, rows, seed, step }: SearchContext,
): Promise<{ finalists: Candidate[]; eliminated: EliminatedCandidate[] }> {
  const order = shuffle([...rows.keys()], seed, streams.race, step)
  const eliminated: EliminatedCandidate[] = []
  let left = [...candidates]
  for (let block = 1; block < blocks && left.length > 0; block++) {
    const seen = order.slice(0, Math.ceil((block * rows.length) / blocks)).sort((a, b) => a - b)
    const scores = await objective.score(
      [current.ids, ...left.map(({ ids }) => ids)],
      seen.map(i => rows[i]!),
    )
    const [own, ...others] = scores
    const scored = left
      .map((candidate, i) => ({ ...candidate, ...others[i]!, questions: seen.length }))
      .sort((a, b) => a.loss - b.loss)
    const kept = scored.filter(({ loss }) => loss < own!.loss).slice(0, Math.ceil(left.length / 2))
    eliminated.push(...scored.filter(candidate => !kept.includes(candidate)))
    left = kept.map(({ ids, swaps, gradientScore }) => ({ ids, swaps, ...(gradientScore !== undefined && { gradientScore }) }))
  }
  return { finalists: left, eliminated }
}
