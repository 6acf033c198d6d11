import { z } from 'zod'
import { acceptanceOption, moveAmong, type PromptState } from '../moves/acceptance.js'
import type { SearchMethod } from '../moves/method.js'
import { positionAt, positionOption } from '../moves/positions.js'
import { lowest, rowsOf, substituted, substitutionScores } from '../space/candidates.js'

export const autopromptSchema = z.strictObject({
  type: z.literal('autoprompt'),
  candidates: z.int().min(1).default(32).describe('tokens that are scored in a step: those with the best gradient scores'),
  positions: positionOption,
  acceptance: acceptanceOption,
})

/** HotFlip's linear estimate over the vocabulary at one position, and exact scores of its best tokens. */
export const autoprompt: SearchMethod<z.output<typeof autopromptSchema>, PromptState> = {
  type: 'autoprompt',
  paper: 'Shin et al. 2020, "AutoPrompt"; Ebrahimi et al. 2018, "HotFlip"',
  steps: 200,
  start: (_, { space }) => Promise.resolve({ ids: space.start }),

  async step({ ids }, { candidates, positions, acceptance }, context) {
    const { objective, embedding, allowed, rows } = context
    const position = positionAt(positions, context)
    const { gradient } = await objective.gradient([ids], rows)
    const products = await embedding.project(rowsOf(gradient, [position], embedding.hiddenSize))
    const scores = substitutionScores(products, ids, [position], embedding.vocabSize)
    const best = lowest(scores, allowed, candidates, ids[position])
    const swapped = best.map(to => substituted(ids, [{ position, to }], scores[to]))
    return moveAmong(context, ids, swapped, acceptance)
  },
}
