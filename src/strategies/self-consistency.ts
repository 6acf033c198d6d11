import { z } from 'zod'
import type { Strategy } from './strategy.js'
import { majority } from './votes.js'

const options = z.strictObject({
  samples: z.int().min(1).max(1000).default(8).describe('answers that vote'),
  temperature: z.number().min(0).max(10).default(0.7).describe('they are sampled at'),
})

/** The answer that most of several sampled ones come to. */
export const selfConsistency: Strategy<z.output<typeof options>> = {
  type: 'self-consistency',
  paper: 'the answer that most samples come to (Wang et al. 2023, arXiv 2203.11171)',
  options,
  samplesAlone: true,
  async answer({ input, read }, model, { samples, temperature }) {
    const answers = await Promise.all(
      Array.from({ length: samples }, (_, sample) => model.answer(input, { sample, temperature })),
    )
    const { index, agreement } = majority(answers.map(({ text }) => read(text)))
    return { answer: answers[index]!, answers, figures: { agreement } }
  },
}
