import { z } from 'zod'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  samples: z.int().min(1).max(1000).default(10).describe('answers, each of which is scored'),
  temperature: z.number().min(0).max(10).default(0.8).describe('they are sampled at'),
})

/** Several answers that nobody chooses among: what they come to is the mean, and how often one of so many is right. */
export const samples: Strategy<z.output<typeof options>> = {
  type: 'samples',
  paper: 'answers that all count: pass@k (Chen et al. 2021, arXiv 2107.03374)',
  options,
  samplesAlone: true,
  eachCounts: true,
  async answer({ input }, model, { samples, temperature }) {
    const answers = await Promise.all(
      Array.from({ length: samples }, (_, sample) => model.answer(input, { sample, temperature })),
    )
    return { answer: answers[0]!, answers }
  },
}
