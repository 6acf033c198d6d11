import { z } from 'zod'
import { acceptanceOption, moveAmong, type PromptState } from '../moves/acceptance.js'
import type { SearchMethod } from '../moves/method.js'
import { positionAt, positionOption } from '../moves/positions.js'
import { lowest, pick, rowsOf, substituted } from '../space/candidates.js'

export const arcaSchema = z.strictObject({
  type: z.literal('arca'),
  averages: z.int().min(1).default(8).describe('random tokens at the position over which gradients are averaged'),
  candidates: z.int().min(1).default(32).describe('tokens that are scored in a step: those with the best estimates'),
  positions: positionOption.unwrap().default('permuted').describe('the order in which positions are considered'),
  acceptance: acceptanceOption,
})

/**
 * Coordinate ascent by autoregressive randomised coordinate estimates: at one position the loss of every token is estimated by
 * gradients at random tokens there, averaged, plus the exact likelihood of the token itself where fluency counts.
 */
export const arca: SearchMethod<z.output<typeof arcaSchema>, PromptState> = {
  type: 'arca',
  paper: 'Jones et al. 2023, "Automatically Auditing Large Language Models via Discrete Optimization"',
  steps: 200,
  start: (_, { space }) => Promise.resolve({ ids: space.start }),

  async step({ ids }, { averages, candidates, positions, acceptance }, context) {
    const { space, objective, embedding, allowed, rows } = context
    const position = positionAt(positions, context)
    const random = context.random()
    const points = Array.from({ length: averages }, () => substituted(ids, [{ position, to: pick(allowed, random) }]).ids)
    const { gradient } = await objective.gradient(points, rows)
    const estimates = await embedding.project(rowsOf(gradient, [position], embedding.hiddenSize))
    const { fluency } = objective.options
    if (fluency > 0) {
      const own = await objective.proposals(ids, rows, [position])
      for (const [v, logProbability] of own.entries()) estimates[v]! -= (fluency * logProbability) / space.free.length
    }
    const current = estimates[ids[position]!]!
    const best = lowest(estimates, allowed, candidates, ids[position])
    const swapped = best.map(to => substituted(ids, [{ position, to }], estimates[to]! - current))
    return moveAmong(context, ids, swapped, acceptance)
  },
}
