import type { Candidate } from '../space/candidates.js'
import type { EliminatedCandidate, ScoredCandidate, SearchContext, StepOutcome } from './method.js'

/** A prompt with its loss over all questions of a step; null where it has not been scored. */
export type Kept = { readonly ids: readonly number[]; readonly loss: number | null }

/** What a search by whole prompts begins with. */
export const beginning = ({ space }: SearchContext): Kept[] => [{ ids: space.start, loss: null }]

/**
 * Scores new prompts beside those that are kept, all on the same questions: kept ones anew only where their losses are unknown, or are of
 * another batch. Kept ones come before new ones of the same loss.
 * @returns all of them, best first, and what was scored
 */
export async function ranked(
  kept: readonly Kept[],
  fresh: readonly Candidate[],
  context: SearchContext,
): Promise<{ beam: (Kept & { readonly loss: number })[]; scored: ScoredCandidate[] }> {
  const due = kept.filter(({ loss }) => loss === null || context.isBatched)
  const scored = await context.score([...due.map(({ ids }) => ({ ids, swaps: [] })), ...fresh])
  const losses = new Map(scored.map(({ ids, loss }) => [ids.join(), loss]))
  const all = [...kept, ...fresh.map(({ ids }) => ({ ids, loss: null }))].flatMap(({ ids, loss }) => {
    const known = losses.get(ids.join()) ?? loss
    return known === null ? [] : [{ ids, loss: known }]
  })
  return { beam: all.sort((a, b) => a.loss - b.loss), scored: scored.filter(({ swaps }) => swaps.length > 0) }
}

/** What a step reports that has come to some prompts, best first. */
export function outcomeOf<State>(
  state: State,
  prompt: Kept & { readonly loss: number },
  scored: readonly ScoredCandidate[],
  eliminated: readonly EliminatedCandidate[],
  figures: Readonly<Record<string, number>>,
  done = false,
): StepOutcome<State> {
  const accepted = scored.find(({ ids }) => ids.join() === prompt.ids.join())
  return {
    ...{ state, prompt: prompt.ids, objective: prompt.loss, candidates: scored, eliminated, figures, done },
    ...(accepted && { accepted }),
  }
}
