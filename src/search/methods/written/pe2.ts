import { z } from 'zod'
import { beginning, type Kept, outcomeOf, ranked } from '../../moves/beam.js'
import type { SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { asks, casesOf, criticOptions, whole } from '../../writing/critic.js'
import { promptsOf } from '../../writing/written-prompts.js'

export const pe2Schema = z.strictObject({
  type: z.literal('pe2'),
  ...criticOptions,
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  beam: z.int().min(1).default(2).describe('prompts that a step goes on from'),
  expand: z.int().min(1).default(4).describe('new prompts after each of these'),
  mistakes: z.int().min(1).default(2).describe('questions answered wrongly that are looked at for each new prompt'),
  backtrack: z
    .boolean()
    .default(true)
    .describe('a step goes on from the best prompts of all steps; else from the best of the step before it'),
})

type State = {
  /** The best prompts of all steps, best first. */
  readonly history: readonly Kept[]
  /** Those of the last step that wrote any. */
  readonly latest: readonly Kept[]
}

/** Prompts that are remembered, and scored anew where questions come in batches. */
const HISTORY = 12

/** A meta-prompt that leads through failures step by step, within a limit of tokens, and goes back to better prompts where a step failed. */
export const pe2: SearchMethod<z.output<typeof pe2Schema>, State> = {
  type: 'pe2',
  paper: 'Ye et al. 2024, "Prompt Engineering a Prompt Engineer" (PE2)',
  steps: 4,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  start: (_, context) => Promise.resolve({ history: beginning(context), latest: beginning(context) }),

  async step({ history, latest }, options, context) {
    const { space, random } = context
    const writer = context.writer!
    const parents = (options.backtrack ? history : latest).slice(0, options.beam)
    const tasks: { prompt: string; mistakes: Awaited<ReturnType<typeof casesOf>> }[] = []
    for (const [i, { ids }] of parents.entries()) {
      const wrong = (await casesOf(ids, context)).filter(({ isRight }) => !isRight)
      if (wrong.length === 0) continue
      for (let j = 0; j < options.expand; j++)
        tasks.push({ prompt: space.wordingOf(ids), mistakes: draw(wrong, options.mistakes, random(i, j)) })
    }
    const inspect = tasks.map(({ prompt, mistakes }) => asks.inspect(prompt, mistakes))
    const notes = await writer.write(inspect, options)
    const revise = tasks.map(({ prompt }, i) =>
      asks.revise(prompt, whole(inspect[i]!, notes[i]!), Math.min(options.maxPromptTokens, context.maxLength)),
    )
    const known = [...history, ...latest].map(({ ids }) => ids)
    const { candidates, figures } = promptsOf(await writer.write(revise, options), parents[0]!.ids, known, options, context)
    const { beam: all, scored } = await ranked(history, candidates, context)
    const fresh = scored.map(({ ids, loss }) => ({ ids, loss }))
    const state = { history: all.slice(0, HISTORY), latest: fresh.length > 0 ? fresh : latest }
    return outcomeOf(state, all[0]!, scored, [], figures, tasks.length === 0 && !context.isBatched)
  },
}
