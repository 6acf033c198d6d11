import { z } from 'zod'
import { beginning, type Kept, outcomeOf, ranked } from '../../moves/beam.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { preselect, selectionOptions, selections } from '../../moves/selection.js'
import { draw } from '../../space/candidates.js'
import { asks, casesOf, criticOptions, whole } from '../../writing/critic.js'
import { promptsOf, type WrittenPrompts } from '../../writing/written-prompts.js'

export const apoSchema = z.strictObject({
  type: z.literal('apo'),
  ...criticOptions,
  beam: z.int().min(1).default(2).describe('prompts that a step goes on from'),
  mistakes: z.int().min(1).default(3).describe('questions answered wrongly that one criticism is of'),
  criticisms: z.int().min(1).default(2).describe('criticisms of each prompt, of other mistakes each'),
  edits: z.int().min(1).default(2).describe('better prompts after each criticism'),
  paraphrases: z.int().min(0).default(1).describe('of each of these, variants in other words'),
  selection: z.enum(selections).default('ucb').describe('how the written prompts are thinned out before all questions are asked'),
  ...selectionOptions,
})

type Options = z.output<typeof apoSchema>
type State = { readonly beam: readonly Kept[] }

/** Criticisms of a prompt's mistakes are its gradients, edits after them the steps, and a bandit selects the beam that goes on. */
export const apo: SearchMethod<Options, State> = {
  type: 'apo',
  paper: 'Pryzant et al. 2023, "Automatic Prompt Optimization with Gradient Descent and Beam Search" (ProTeGi)',
  steps: 6,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  start: (_, context) => Promise.resolve({ beam: beginning(context) }),

  async step({ beam }, options, context) {
    const { candidates, figures, done } = await expanded(beam, options, context)
    const { kept, eliminated } = await preselect(candidates, 2 * options.beam, options, context)
    const { beam: all, scored } = await ranked(beam, kept, context)
    return outcomeOf({ beam: all.slice(0, options.beam) }, all[0]!, scored, eliminated, figures, done)
  },
}

/** What is written for the prompts of a beam, all that can be written at the same time together; done where none makes mistakes. */
async function expanded(
  beam: readonly Kept[],
  options: Options,
  context: SearchContext,
): Promise<WrittenPrompts & { readonly done: boolean }> {
  const { space, random } = context
  const writer = context.writer!
  const gradients: { prompt: string; mistakes: Awaited<ReturnType<typeof casesOf>> }[] = []
  for (const [i, { ids }] of beam.entries()) {
    const wrong = (await casesOf(ids, context)).filter(({ isRight }) => !isRight)
    if (wrong.length === 0) continue
    for (let j = 0; j < options.criticisms; j++)
      gradients.push({ prompt: space.wordingOf(ids), mistakes: draw(wrong, options.mistakes, random(i, j)) })
  }
  const criticise = gradients.map(({ prompt, mistakes }) => asks.criticise(prompt, mistakes))
  const criticisms = await writer.write(criticise, options)
  const edit = gradients.flatMap(({ prompt, mistakes }, i) => {
    const criticism = whole(criticise[i]!, criticisms[i]!)
    return Array.from({ length: options.edits }, () => asks.edit(prompt, mistakes, criticism))
  })
  const edits = await writer.write(edit, options)
  const known = beam.map(({ ids }) => ids)
  const edited = promptsOf(edits, known[0]!, known, options, context)
  const paraphrase = edited.candidates.flatMap(({ ids }) =>
    Array.from({ length: options.paraphrases }, () => asks.paraphrase(space.wordingOf(ids))),
  )
  const seen = [...known, ...edited.candidates.map(({ ids }) => ids)]
  const varied = promptsOf(await writer.write(paraphrase, options), known[0]!, seen, options, context)
  return {
    done: gradients.length === 0 && !context.isBatched,
    candidates: [...edited.candidates, ...varied.candidates],
    figures: {
      written: edited.figures.written + varied.figures.written,
      unread: edited.figures.unread + varied.figures.unread,
      unfit: edited.figures.unfit + varied.figures.unfit,
    },
  }
}
