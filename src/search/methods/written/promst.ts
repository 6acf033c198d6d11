import { z } from 'zod'
import type { Member } from '../../moves/member.js'
import type { SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { type Case, casesOf, criticOptions, feedbackOption, whole } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, bySelection, founder, lossOf, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, refusalFigures } from '../../writing/propose.js'

export const promstSchema = z.strictObject({
  type: z.literal('promst'),
  ...criticOptions,
  temperature: criticOptions.temperature.default(1),
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  feedback: feedbackOption,
  children: z.int().min(1).default(4).describe('rewrites of a prompt'),
  selected: z.int().min(1).default(2).describe('of them, the best that are rewritten in turn'),
  kinds: z.int().min(1).default(3).describe('kinds of mistakes that are told apart, the most frequent first'),
  shown: z.int().min(1).default(5).describe('mistakes of a kind that are shown, drawn for each rewrite'),
  minDepth: z.int().min(0).default(2).describe('rewrites in a row before a path may end because it falls'),
})

/** A prompt that is to be rewritten, and the losses of those that led to it, its own last. */
type Due = { readonly id: number; readonly path: readonly number[] }
type State = { readonly pool: readonly Member[]; readonly due: readonly Due[] | null }

/** Falls in a row that end a path. */
const FALLS = 3

/** Mistakes by their kind, the most frequent kind first; of equals the one that was met first. */
export function byKind(cases: readonly Case[], kinds: number): { readonly kind: string; readonly cases: readonly Case[] }[] {
  const found = new Map<string, Case[]>()
  for (const one of cases) {
    if (one.isRight) continue
    const kind = kindOf(one)
    found.set(kind, [...(found.get(kind) ?? []), one])
  }
  const sorted = [...found].sort(([, a], [, b]) => b.length - a.length)
  return sorted.slice(0, kinds).map(([kind, cases]) => ({ kind, cases }))
}

/** A model that says little confuses one answer with another; of one that reasons the right answer alone tells mistakes apart. */
function kindOf({ said, output }: Case): string {
  if (said === undefined) return 'The answer is not the right one'
  return said.includes(' ') || said.length > 30
    ? `The answer should have been ${output}`
    : `${said} is answered in place of ${output}`
}

/** Whether the last losses of a path rise three times in a row. */
export const hasFallen = (path: readonly number[], minDepth: number): boolean =>
  path.length > Math.max(minDepth, FALLS) &&
  Array.from({ length: FALLS }, (_, i) => path.at(-1 - i)! > path.at(-2 - i)!).every(Boolean)

/**
 * Feedback by kinds: mistakes of one kind are summarised together, and a rewrite heeds all summaries and knows the texts that led here. The best
 * rewrites are rewritten in turn, deeper ones first. A path ends where its own scores fall, which the released program decides by scores of
 * other branches; mistakes beyond those shown are drawn anew for each rewrite, where it drops them.
 */
export const promst: SearchMethod<z.output<typeof promstSchema>, State> = {
  type: 'promst',
  paper: 'Chen et al. 2024, "PRompt Optimization in Multi-Step Tasks (PROMST)" (arXiv 2402.08702)',
  steps: 10,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ children, kinds, feedback }, { questions, steps }) => {
    const shown = Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    return {
      answers: questions - shown + steps * (shown + children * (questions - shown)),
      written: steps * children * (kinds + 1),
    }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], due: null }),

  async step(state, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const { random, space } = context
    const [first, ...others] = state.pool
    const pool = [...(await measured([first!], select, context)), ...others]
    const [next, ...rest] = state.due ?? [{ id: 0, path: [lossOf(pool[0]!, select)] }]
    // Every path has ended: the best prompt is rewritten anew, with other mistakes shown.
    const best = [...pool].sort(bySelection(select))[0]!
    const { id, path } = next ?? { id: best.id, path: [lossOf(best, select)] }
    const parent = pool[id]!
    const text = space.wordingOf(parent.ids)
    const ancestors: string[] = []
    for (let up = parent.parents[0]; up !== undefined; up = pool[up]!.parents[0])
      ancestors.unshift(space.wordingOf(pool[up]!.ids))
    const cases = await casesOf(parent.ids, context, feedback)
    const figures = { kinds: byKind(cases, options.kinds).length, depth: ancestors.length }
    const drawn = Array.from({ length: options.children }, (_, child) =>
      byKind(draw(cases, cases.length, random(child)), options.kinds).map(({ kind, cases }) => ({
        kind,
        cases: cases.slice(0, options.shown),
      })),
    ).filter(buckets => buckets.length > 0)
    // Nothing went wrong: there is nothing to be said.
    if (drawn.length === 0)
      return poolOutcome(
        { pool, due: rest },
        pool,
        [],
        select,
        context,
        { ...refusalFigures([]), ...figures },
        { done: rest.length === 0 },
      )
    const asks = drawn.map(buckets => buckets.map(({ kind, cases }) => metaAsks.summarise(text, kind, cases)))
    const written = await context.writer!.write(asks.flat(), options)
    const summaries = written.map((summary, i) => whole(asks.flat()[i]!, summary))
    const { texts, figures: refusals } = await proposed(
      asks.map((own, child) => {
        const at = asks.slice(0, child).flat().length
        return metaAsks.mend(text, summaries.slice(at, at + own.length), ancestors)
      }),
      options,
      context,
    )
    const drafts = texts.flatMap(own =>
      own === undefined ? [] : [{ parents: [id], origin: 'feedback', components: [own], demos: [] }],
    )
    const { members, refused } = admitted(drafts, pool, context)
    const scored = await measured(members, select, context)
    const all = updated(pool, scored)
    const chosen = [...scored].sort(bySelection(select)).slice(0, options.selected)
    const due = chosen
      .map(member => ({ id: member.id, path: [...path, lossOf(member, select)] }))
      .filter(({ path }) => !hasFallen(path, options.minDepth))
    return poolOutcome({ pool: all, due: [...due, ...rest] }, all, scored, select, context, {
      ...refusalFigures([refusals, refused]),
      ...figures,
    })
  },
}
