import { z } from 'zod'
import type { Generation } from '../generate/request.js'
import { goneOn } from './inputs.js'
import { withRoom } from './room.js'
import type { Strategy } from './strategy.js'
import { majority } from './votes.js'

const options = z.strictObject({
  turns: z.int().min(1).max(1000).default(3).describe('answers, the first among them'),
  say: z
    .string()
    .min(1)
    .default('The answer above may be wrong. Check each step of it, then answer the question again.')
    .describe('to each answer but the last'),
  take: z.enum(['majority', 'last']).default('majority').describe('which of the answers counts'),
})

/**
 * The question again, behind the answers that were given. RISE trains a model to do better in later turns; a frozen one may as well turn
 * from what was right, so that by default most answers decide, and the first one where none has more.
 */
export const retries: Strategy<z.output<typeof options>> = {
  type: 'retries',
  paper: 'the question again behind each answer, by majority over the turns (after RISE, Qu et al. 2024, arXiv 2407.18219)',
  options,
  async answer({ input, read }, model, { turns, say, take }) {
    const answers: [Generation, ...Generation[]] = [await model.answer(input)]
    let at = input
    while (answers.length < turns) {
      at = goneOn(at, answers.at(-1)!.text, say, input)
      const next = await withRoom(() => model.answer(at, { sample: answers.length }))
      if (next === undefined) break
      answers.push(next)
    }
    const index = take === 'last' ? answers.length - 1 : majority(answers.map(({ text }) => read(text))).index
    return { answer: answers[index]!, answers, figures: { turns: answers.length } }
  },
}
