import { z } from 'zod'
import { GradpromptError } from '../../../errors.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { verdictOfVotes, voteOf } from '../../moves/votes.js'
import { draw } from '../../space/candidates.js'
import type { SearchRow } from '../../space/token-space.js'
import { casesOf, criticOptions, feedbackOption, roleOption } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, founder, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, refusalFigures } from '../../writing/propose.js'

export const spoSchema = z.strictObject({
  type: z.literal('spo'),
  ...criticOptions,
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  feedback: feedbackOption.describe(
    'questions whose answers are compared; the others only say what came of it. By default half of search.questions',
  ),
  requirements: z
    .string()
    .min(1)
    .default('The answer is right, and has the form that was asked for.')
    .describe('what a good answer is: all that the judge knows'),
  samples: z
    .int()
    .min(1)
    .default(5)
    .describe('questions of a round, whose answers under the old and the new prompt are compared one by one'),
  judge: roleOption('compares answers'),
})

type State = { readonly pool: readonly Member[]; readonly best: number }

/**
 * Prompts are compared by their answers alone: no right answer is read to choose between them. A judge sees the answers of both prompts to one
 * question at a time, in both orders, so that the place of an answer has no say; its preference for a place is measured and said. The loss of the
 * steps, which right answers decide, is reported and decides nothing.
 */
export const spo: SearchMethod<z.output<typeof spoSchema>, State> = {
  type: 'spo',
  paper: 'Xiang et al. 2025, "Self-Supervised Prompt Optimization" (arXiv 2502.06855)',
  steps: 9,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  judges: true,
  drawsRows: true,
  needs: ({ optimizer, judge }) => ({ writer: optimizer, judge }),
  forecast: ({ samples, feedback }, { questions, steps }) => {
    const select = questions - Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    return { answers: select * (steps + 1) + steps * 2 * samples, written: steps, judged: steps * 2 * (samples + 1) }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], best: 0 }),

  async step(state, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const rows = draw(feedback, options.samples, context.random(0)).sort((a, b) => a.index - b.index)
    const pool = updated(state.pool, await measured(state.pool.slice(0, 1), select, context))
    const old = pool[state.best]!
    const before = await saidTo(old, rows, context)
    const { texts, figures } = await proposed(
      [metaAsks.refine(context.space.wordingOf(old.ids), before, options.requirements)],
      options,
      context,
    )
    const drafts = texts.flatMap(text =>
      text === undefined ? [] : [{ parents: [old.id], origin: 'refinement', components: [text], demos: [] }],
    )
    const { members, refused } = admitted(drafts, pool, context)
    const refusals = refusalFigures([figures, refused])
    const [draft] = members
    if (draft === undefined) return poolOutcome({ pool, best: old.id }, pool, [], select, context, refusals, { best: old })
    const after = await saidTo(draft, rows, context)
    const { requirements } = options
    const asks = rows.flatMap((_, i) => {
      const [{ input, said: a }, { said: b }] = [before[i]!, after[i]!]
      return [metaAsks.compare(input, a, b, requirements), metaAsks.compare(input, b, a, requirements)]
    })
    // The same answer twice: what the judge says of it is a preference for a place.
    const calibration = metaAsks.compare(before[0]!.input, before[0]!.said, before[0]!.said, requirements)
    const preferred = await context.judge!.prefer([...asks, calibration])
    const votes = rows.map((_, i) => (before[i]!.said === after[i]!.said ? 0 : voteOf(preferred[2 * i]!, preferred[2 * i + 1]!)))
    const verdict = verdictOfVotes(votes)
    const [child] = await measured([draft], select, context)
    const all = updated(pool, [child!])
    const best = verdict.isNewBetter ? child! : old
    return poolOutcome(
      { pool: all, best: best.id },
      all,
      [child!],
      select,
      context,
      { ...refusals, won: verdict.won, lost: verdict.lost, tied: verdict.tied, placeBias: preferred.at(-1)! },
      { best },
    )
  },
}

/** What the model answers. @throws GradpromptError `invalid-config` where that is free text that nothing reads */
async function saidTo(
  member: Member,
  rows: readonly SearchRow[],
  context: SearchContext,
): Promise<{ input: string; said: string }[]> {
  const cases = await casesOf(member.ids, context, rows)
  return cases.map(({ input, said }) => {
    if (said !== undefined) return { input, said }
    throw new GradpromptError('invalid-config', 'spo compares answers, and none are written here', {
      found: 'free-text answers without search.extractor',
      expected: 'labels, or an extractor behind which the model answers',
      hint: 'search.extractor: "\\nTherefore, the final answer is" lets the model write before it answers',
    })
  })
}
