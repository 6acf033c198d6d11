import { z } from 'zod'
import type { Member } from '../../moves/member.js'
import type { SearchMethod } from '../../moves/method.js'
import { roundHalfEven } from '../../moves/rounding.js'
import { draw } from '../../space/candidates.js'
import { criticOptions, feedbackOption } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, bySelection, costOf, founder, goodness, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, refusalFigures } from '../../writing/propose.js'

export const oproSchema = z.strictObject({
  type: z.literal('opro'),
  ...criticOptions,
  temperature: criticOptions.temperature.default(1),
  maxPromptTokens: criticOptions.maxPromptTokens.default(100),
  feedback: feedbackOption,
  proposals: z.int().min(1).default(8).describe('texts of a step'),
  history: z.int().min(1).default(20).describe('best texts that the optimiser sees with their scores, the worst first'),
  hidden: z.number().min(0).max(1).default(0).describe('texts with a lower score are not shown'),
  exemplars: z.int().min(0).default(3).describe('questions with their answers that are shown'),
})

type State = { readonly pool: readonly Member[] }

/** What the optimiser sees of the texts so far: the best of them, the worst first; of equal scores the more surprising first. */
export function historyOf<T extends { readonly score: number; readonly cost: number }>(
  tried: readonly T[],
  { history, hidden }: { readonly history: number; readonly hidden: number },
): (Omit<T, 'score'> & { readonly score: number })[] {
  const percent = (score: number) => roundHalfEven(100 * score)
  return tried
    .filter(({ score }) => score >= hidden)
    .map(one => ({ ...one, score: percent(one.score) }))
    .sort((a, b) => a.score - b.score || b.cost - a.cost)
    .slice(-history)
}

/**
 * The optimiser reads the texts so far with their scores, and writes better ones. Beside the share of right answers it sees how unexpected they
 * were, which tells texts apart that are right equally often (as IPO does; Du et al. 2024, arXiv 2410.15397).
 */
export const opro: SearchMethod<z.output<typeof oproSchema>, State> = {
  type: 'opro',
  paper: 'Yang et al. 2023, "Large Language Models as Optimizers" (arXiv 2309.03409)',
  steps: 10,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ proposals, feedback }, { questions, steps }) => {
    const select = questions - Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    return { answers: select * (1 + steps * proposals), written: steps * proposals }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)] }),

  async step({ pool }, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const { space, random, exampleOf } = context
    const [first, ...others] = pool
    const [start] = await measured([first!], select, context)
    const known = [start!, ...others]
    const tried = historyOf(
      [...known].sort(bySelection(select)).map(member => ({
        text: space.wordingOf(member.ids),
        score: goodness(member, select, context),
        cost: costOf(member, select),
      })),
      options,
    )
    const asks = Array.from({ length: options.proposals }, (_, i) =>
      metaAsks.climb(tried, draw(feedback, options.exemplars, random(i)).map(exampleOf)),
    )
    const { texts, figures } = await proposed(asks, options, context)
    const best = [...known].sort(bySelection(select))[0]!
    const drafts = texts.flatMap(text =>
      text === undefined ? [] : [{ parents: [best.id], origin: 'history', components: [text], demos: [] }],
    )
    const { members, refused } = admitted(drafts, known, context)
    const fresh = await measured(members, select, context)
    const all = updated(known, fresh)
    return poolOutcome({ pool: all }, all, fresh, select, context, refusalFigures([figures, refused]))
  },
}
