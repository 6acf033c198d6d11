import { z } from 'zod'
import type { SearchContext, SearchMethod } from '../moves/method.js'
import { adamStep, nearestTokens, offsetsOf, promptOf } from '../score/relaxation.js'
import { distinct, rowsOf } from '../space/candidates.js'

export const pezSchema = z.strictObject({
  type: z.literal('pez'),
  learningRate: z.number().positive().default(0.1).describe('of AdamW, on the vectors'),
  weightDecay: z.number().min(0).default(0.1).describe('of AdamW'),
  distance: z.enum(['cosine', 'euclidean']).default('cosine').describe('what makes a token the nearest of a vector'),
  from: z.string().min(1).optional().describe('a run with a static soft prompt: its vectors are what is projected first'),
})

type State = {
  readonly vectors: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly updates: number
}

/** Hard prompts made easy: vectors are optimised by gradients that are taken where they are projected on the vocabulary. */
export const pez: SearchMethod<z.output<typeof pezSchema>, State> = {
  type: 'pez',
  paper: 'Wen et al. 2023, "Hard Prompts Made Easy"',
  steps: 300,
  needs: ({ from }) => ({ softPrompt: from }),

  async start(_, { space, embedding, softPrompt }) {
    const vectors = softPrompt ?? (await embedding.rows(space.free.map(position => space.start[position]!)))
    return { vectors, first: new Float32Array(vectors.length), second: new Float32Array(vectors.length), updates: 0 }
  },

  async step(state, { learningRate, weightDecay, distance }, context) {
    const { space, objective, rows, allowed, embedding } = context
    const tokens = await nearestTokens(state.vectors, embedding, allowed, distance)
    const prompt = promptOf(space, tokens)
    const { loss, gradient } = await objective.gradient([prompt], rows)
    const own = rowsOf(gradient, space.free, embedding.hiddenSize)
    const next = adamStep(state, own, { learningRate, weightDecay, beta1: 0.9, beta2: 0.999 })
    const swaps = space.free.flatMap((position, j) => (space.start[position] === tokens[j] ? [] : [{ position, to: tokens[j]! }]))
    // What counts is a prompt whose text gives it back; the gradient is taken where the projection stands.
    const candidates = await context.score(distinct([context.settled(space.start, swaps)], space.start))
    const soft = state.updates === 0 ? await softLoss(state.vectors, prompt, context) : undefined
    return {
      state: { vectors: next.values, first: next.first, second: next.second, updates: next.updates },
      prompt,
      objective: loss,
      candidates,
      ...(candidates[0] && { accepted: candidates[0] }),
      figures: { ...(soft !== undefined && { softObjective: soft, projectionCost: loss - soft }) },
    }
  },
}

/** The loss with the vectors themselves in the prompt's places. */
async function softLoss(vectors: Float32Array, prompt: readonly number[], { objective, space, embedding, rows }: SearchContext) {
  const offsets = await offsetsOf(vectors, prompt, space, embedding)
  return (await objective.gradient([prompt], rows, { offsets: [offsets] })).loss
}
