import { z } from 'zod'
import type { PromptState } from '../moves/acceptance.js'
import type { SearchMethod } from '../moves/method.js'
import { nearestTokens } from '../score/relaxation.js'
import { distinct, normals, rowsOf } from '../space/candidates.js'

export const fluentSchema = z.strictObject({
  type: z.literal('fluent'),
  stepSize: z.number().positive().default(0.3).describe('eta: how far a step follows the gradient'),
  noise: z
    .strictObject({
      from: z.number().min(0).default(1).describe('beta in the first step'),
      to: z.number().min(0).default(1e-4).describe('beta in the last step'),
    })
    .prefault({})
    .describe('temperature of the Langevin noise, falling geometrically'),
})

/**
 * Langevin dynamics in the embedding space, projected on the vocabulary in every step. The part of the fluency term that is a token's
 * own likelihood is no function of its embedding: the projection weighs it instead (a proximal step).
 */
export const fluent: SearchMethod<z.output<typeof fluentSchema>, PromptState> = {
  type: 'fluent',
  paper: 'Shi et al. 2022, "Toward Human Readable Prompt Tuning" (FluentPrompt)',
  steps: 300,
  start: (_, { space }) => Promise.resolve({ ids: space.start }),

  async step({ ids }, { stepSize, noise }, context) {
    const { space, objective, embedding, allowed, rows, step, steps } = context
    const { gradient } = await objective.gradient([ids], rows)
    const slopes = rowsOf(gradient, space.free, embedding.hiddenSize)
    const beta =
      noise.from === 0 || noise.to === 0
        ? noise.from * (1 - step / steps)
        : noise.from * (noise.to / noise.from) ** (step / Math.max(1, steps - 1))
    const vectors = await embedding.rows(space.free.map(position => ids[position]!))
    const jitter = normals(vectors.length, context.random())
    for (let i = 0; i < vectors.length; i++) vectors[i]! += -stepSize * slopes[i]! + Math.sqrt(2 * stepSize * beta) * jitter[i]!
    const { fluency } = objective.options
    const own = fluency > 0 ? await objective.proposals(ids, rows, space.free) : undefined
    const penalty = own?.map(logProbability => (-2 * stepSize * fluency * logProbability) / space.free.length)
    const tokens = await nearestTokens(vectors, embedding, allowed, 'euclidean', penalty)
    const swaps = space.free.flatMap((position, j) => (ids[position] === tokens[j] ? [] : [{ position, to: tokens[j]! }]))
    const moves = await context.score(distinct([context.settled(ids, swaps)], ids))
    const now = moves[0] ?? (await context.score([{ ids, swaps: [] }]))[0]!
    return {
      state: { ids: now.ids },
      prompt: now.ids,
      objective: now.loss,
      candidates: moves,
      ...(moves[0] && { accepted: moves[0] }),
    }
  },
}
