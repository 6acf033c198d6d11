import { z } from 'zod'
import type { Member } from '../../moves/member.js'
import type { SearchMethod } from '../../moves/method.js'
import { criticOptions } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, founder, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, refusalFigures } from '../../writing/propose.js'

export const bestOfNSchema = z.strictObject({
  type: z.literal('best-of-n'),
  ...criticOptions,
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  feedback: z
    .int()
    .min(1)
    .optional()
    .describe('questions that are left aside, so that as many score a prompt as in the search it is compared with'),
  proposals: z.int().min(1).default(4).describe('rewrites of a step'),
})

type State = { readonly pool: readonly Member[] }

/** The control of every search by whole prompts: rewrites of the first prompt that know of no score and of no other rewrite. */
export const bestOfN: SearchMethod<z.output<typeof bestOfNSchema>, State> = {
  type: 'best-of-n',
  paper: 'a control; every prompt search is compared with it at an equal budget',
  steps: 10,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ proposals }, { questions, steps }) => ({
    answers: questions * (1 + steps * proposals),
    written: steps * proposals,
  }),
  start: (_, context) => Promise.resolve({ pool: [founder(context)] }),

  async step({ pool }, options, context) {
    const rows = options.feedback === undefined ? context.questions : partsOf(context, options.feedback).select
    const [first, ...others] = pool
    const wording = context.space.wordingOf(context.space.start)
    const asks = Array.from({ length: options.proposals }, () => metaAsks.vary(wording))
    const { texts, figures } = await proposed(asks, options, context)
    const drafts = texts.flatMap(text =>
      text === undefined ? [] : [{ parents: [0], origin: 'rewrite', components: [text], demos: [] }],
    )
    const { members, refused } = admitted(drafts, pool, context)
    const [start, ...tried] = await measured([first!, ...members], rows, context)
    const all = updated([start!, ...others], tried)
    return poolOutcome({ pool: all }, all, tried, rows, context, refusalFigures([figures, refused]))
  },
}
