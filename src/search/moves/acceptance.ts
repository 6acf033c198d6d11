import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { z } from 'zod'
import type { Candidate } from '../space/candidates.js'
import type { SearchContext, StepOutcome } from './method.js'

/** `better`: only what is better. `always`: the best of a step, even if it is worse. `annealed`: worse ones ever more rarely. */
export const acceptances = ['better', 'always', 'annealed'] as const
export type Acceptance = (typeof acceptances)[number]

export const acceptanceOption = z.enum(acceptances).default('better').describe('when the prompt changes')

/** What a search that moves one prompt keeps. */
export type PromptState = { readonly ids: readonly number[] }

/** Whether a search moves from a loss to another (`annealed`: Metropolis et al. 1953, with a temperature that falls to 0). */
export function accepts(
  policy: Acceptance,
  current: number,
  candidate: number,
  { step, steps, random }: { step: number; steps: number; random: RandomGenerator },
): boolean {
  if (policy === 'always' || candidate < current) return true
  if (policy === 'better') return false
  const temperature = Math.max(1e-9, 1 - (step + 1) / steps)
  return (random.next() >>> 0) / 0x1_0000_0000 < Math.exp((current - candidate) / temperature)
}

/** Scores candidates beside the prompt they come from, all on the same questions, and moves to the best of them if it is accepted. */
export async function moveAmong(
  context: SearchContext,
  ids: readonly number[],
  candidates: readonly Candidate[],
  acceptance: Acceptance,
): Promise<StepOutcome<PromptState>> {
  const scored = await context.score([{ ids, swaps: [] }, ...candidates])
  const current = scored.find(({ swaps }) => swaps.length === 0)!
  const others = scored.filter(({ swaps }) => swaps.length > 0)
  const [best] = others
  const { step, steps } = context
  const isTaken = best !== undefined && accepts(acceptance, current.loss, best.loss, { step, steps, random: context.random(1) })
  const next = isTaken ? best : current
  return {
    state: { ids: next.ids },
    prompt: next.ids,
    objective: next.loss,
    candidates: others,
    ...(isTaken && { accepted: best }),
  }
}
