import { z } from 'zod'
import { type Candidate, draw } from '../space/candidates.js'
import { spearman } from './drift.js'
import type { ScoredCandidate, SearchContext } from './method.js'

export const probeOption = z.strictObject({
  draft: z.string().min(1).describe('a smaller model: it scores all candidates, the searched model only some'),
  samplingFactor: z.number().min(1).default(16).describe('one of so many candidates tells how far the two models agree'),
  reduction: z.number().positive().default(8).describe('what the number of candidates that go on is divided by'),
})

type Probe = z.output<typeof probeOption>

/**
 * Scores candidates by a draft model, and by the searched model a random few and the draft's best: fewer of these, the more the two models
 * agree on the few (probe sampling; Zhao et al. 2024, arXiv 2403.01251).
 * @returns those that the searched model has scored, best first; `agreement` is from 0 to 1
 */
export async function probed(
  context: SearchContext,
  given: readonly Candidate[],
  { samplingFactor, reduction }: Probe,
): Promise<{ scored: ScoredCandidate[]; figures: Readonly<Record<string, number>> }> {
  const candidates = given.filter(({ ids }) => context.readsBack(ids))
  const draft = context.draft!
  if (candidates.length === 0) return { scored: await context.score(given), figures: {} }
  const before = draft.computedTokens
  const guesses = await draft.score(
    candidates.map(({ ids }) => ids),
    context.rows,
  )
  const count = candidates.length
  const few = new Set(draw([...candidates.keys()], Math.max(2, Math.floor(count / samplingFactor)), context.random(3)))
  const sample = await context.score([...few].map(i => candidates[i]!))
  const guessOf = new Map(candidates.map(({ ids }, i) => [ids.join(), guesses[i]!]))
  const correlation = spearman(
    sample.map(({ ids }) => guessOf.get(ids.join())!),
    sample.map(({ loss }) => loss),
  )
  const agreement = (1 + (correlation ?? 0)) / 2
  const size = Math.max(1, Math.min(count, Math.floor(((1 - agreement) * count) / reduction)))
  const best = [...candidates.keys()].sort((a, b) => guesses[a]! - guesses[b]! || a - b).slice(0, size)
  const further = await context.score(best.filter(i => !few.has(i)).map(i => candidates[i]!))
  return {
    scored: [...sample, ...further].sort((a, b) => a.loss - b.loss),
    figures: { agreement, filtered: size, draftTokens: draft.computedTokens - before },
  }
}
