import { z } from 'zod'
import { beginning, type Kept, outcomeOf, ranked } from '../../moves/beam.js'
import type { SearchMethod } from '../../moves/method.js'
import { preselect, selectionOptions, selections } from '../../moves/selection.js'
import { draw } from '../../space/candidates.js'
import { asks, criticOptions } from '../../writing/critic.js'
import { promptsOf } from '../../writing/written-prompts.js'

export const apeSchema = z.strictObject({
  type: z.literal('ape'),
  ...criticOptions,
  proposals: z.int().min(1).default(12).describe('prompts that are written in a step'),
  demonstrations: z.int().min(1).default(5).describe('questions with their answers from which an instruction is guessed'),
  keep: z.int().min(1).default(4).describe('best prompts that the next step says in other words'),
  selection: z
    .enum(selections)
    .default('halving')
    .describe('how the written prompts are thinned out before all questions are asked'),
  ...selectionOptions,
})

type State = { readonly beam: readonly Kept[] }

/**
 * The model guesses the instruction behind questions and answers, a few others each time; the best guesses are then said in other words,
 * step by step (iterative Monte Carlo search).
 */
export const ape: SearchMethod<z.output<typeof apeSchema>, State> = {
  type: 'ape',
  paper: 'Zhou et al. 2023, "Large Language Models Are Human-Level Prompt Engineers"',
  steps: 4,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  start: (_, context) => Promise.resolve({ beam: beginning(context) }),

  async step({ beam }, options, context) {
    const { rows, space, step, random, writer, exampleOf } = context
    const requests = Array.from({ length: options.proposals }, (_, i) =>
      step === 0
        ? asks.induce(draw(rows, options.demonstrations, random(i)).map(exampleOf))
        : asks.paraphrase(space.wordingOf(beam[i % beam.length]!.ids)),
    )
    const answers = await writer!.write(requests, options)
    const known = beam.map(({ ids }) => ids)
    const { candidates, figures } = promptsOf(answers, known[0]!, known, options, context)
    const { kept, eliminated } = await preselect(candidates, options.keep, options, context)
    const { beam: all, scored } = await ranked(beam, kept, context)
    return outcomeOf({ beam: all.slice(0, options.keep) }, all[0]!, scored, eliminated, figures)
  },
}
