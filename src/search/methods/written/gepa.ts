import { z } from 'zod'
import { shuffle, streams } from '../../../random.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod, StepOutcome } from '../../moves/method.js'
import { drawWeighted, mergedComponents, undominated } from '../../moves/pareto.js'
import type { SearchRow } from '../../space/token-space.js'
import { casesOf, criticOptions, feedbackOption } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import {
  admitted,
  bySelection,
  costOf,
  type Draft,
  founder,
  isMeasured,
  lossOf,
  measured,
  type Parts,
  partsOf,
  poolOutcome,
  updated,
} from '../../writing/pool.js'
import { proposed, type Refusals, refusalFigures } from '../../writing/propose.js'

export const gepaSchema = z.strictObject({
  type: z.literal('gepa'),
  ...criticOptions,
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  maxWrittenTokens: criticOptions.maxWrittenTokens.default(240),
  feedback: feedbackOption,
  minibatch: z
    .int()
    .min(1)
    .default(8)
    .describe('questions of a step: parent and child are compared on them before more is spent'),
  acceptance: z
    .enum(['likelihood', 'score'])
    .default('likelihood')
    .describe('a child is kept that makes right answers likelier on the minibatch, or that has a better sum of scores'),
  parents: z
    .enum(['pareto', 'best', 'epsilon'])
    .default('pareto')
    .describe(
      'which prompt a step goes on from: one of the fronts of single questions, the best, or any by a chance of a tenth and else the best',
    ),
  rewritten: z
    .enum(['in-turn', 'all'])
    .default('in-turn')
    .describe('paragraphs of the prompt that a step rewrites: one after the other, or all'),
  merges: z
    .int()
    .min(0)
    .default(5)
    .describe('joinings of two prompts that are tried, at most; they need a prompt of several paragraphs'),
})

type Options = z.output<typeof gepaSchema>
type State = {
  readonly pool: readonly Member[]
  /** Of each member, the paragraph that is rewritten next. */
  readonly next: Readonly<Record<string, number>>
  /** Pairs that were joined, or tried. */
  readonly merged: readonly string[]
  /** The last step has kept a child. */
  readonly isMergeDue: boolean
}

/** Questions that a merge is compared on before it is scored on all. */
const MERGE_ROWS = 5
const EPSILON = 0.1

/**
 * One paragraph of a prompt is rewritten by what came of it on a few questions, and kept where it does better there; prompts that are the best
 * on some question stay in the game, whatever their mean, and are joined where they come from one.
 */
export const gepa: SearchMethod<Options, State> = {
  type: 'gepa',
  paper: 'Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning" (arXiv 2507.19457)',
  steps: 20,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ minibatch, rewritten: _, feedback }, { questions, steps }) => {
    const select = questions - Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    return { answers: select + steps * (2 * minibatch + select), written: steps }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], next: {}, merged: [], isMergeDue: false }),

  async step(state, options, context) {
    const parts = partsOf(context, options.feedback)
    const pool = updated(
      state.pool,
      await measured(
        state.pool.filter(({ id }) => id === 0),
        parts.select,
        context,
      ),
    )
    const known = { ...state, pool }
    return (await merge(known, options, parts, context)) ?? reflect(known, options, parts, context)
  },
}

async function reflect(state: State, options: Options, parts: Parts, context: SearchContext): Promise<StepOutcome<State>> {
  const { pool } = state
  const rows = minibatchOf(parts.feedback, options.minibatch, context)
  const [parent] = await measured([parentOf(pool, options, parts.select, context)], rows, context)
  const kept = updated(pool, [parent!])
  const done = (
    pool: readonly Member[],
    tried: readonly Member[],
    figures: readonly Partial<Refusals>[],
    more: Partial<State> = {},
  ) =>
    poolOutcome({ ...state, ...more, pool, isMergeDue: more.isMergeDue ?? false }, pool, tried, parts.select, context, {
      ...refusalFigures(figures),
      perfect: Number(isPerfect),
    })
  const isPerfect = rows.every(({ index }) => parent!.losses[index]! <= 0)
  // Where nothing goes wrong there is nothing to reflect on; by likelihood there may be something to gain.
  if (isPerfect && options.acceptance === 'score') return done(kept, [], [])
  const place = state.next[parent!.id] ?? 0
  const places = options.rewritten === 'all' ? [...parent!.components.keys()] : [place % parent!.components.length]
  const next = { ...state.next, [parent!.id]: place + 1 }
  const cases = await casesOf(parent!.ids, context, rows)
  const asks = places.map(i => metaAsks.reflect(parent!.components[i]!, cases))
  const { texts, figures } = await proposed(asks, options, context)
  const components = parent!.components.map((text, i) => texts[places.indexOf(i)] ?? text)
  const draft: Draft = { parents: [parent!.id], origin: 'reflection', components, demos: [] }
  const { members, refused } = admitted(texts.some(text => text !== undefined) ? [draft] : [], kept, context)
  const [child] = await measured(members, rows, context)
  if (child === undefined) return done(kept, [], [figures, refused], { next })
  if (!isGain(child, parent!, rows, options)) return done(updated(kept, [child]), [child], [figures, refused], { next })
  const [whole] = await measured([child], parts.select, context)
  return done(updated(kept, [whole!]), [whole!], [figures, refused], { next, isMergeDue: true })
}

function isGain(child: Member, parent: Member, rows: readonly SearchRow[], { acceptance }: Options): boolean {
  return acceptance === 'likelihood' ? costOf(child, rows) < costOf(parent, rows) : lossOf(child, rows) < lossOf(parent, rows)
}

function parentOf(pool: readonly Member[], { parents }: Options, select: readonly SearchRow[], context: SearchContext): Member {
  const whole = pool.filter(member => isMeasured(member, select))
  const random = context.random(0)
  const best = [...whole].sort(bySelection(select))[0]!
  if (parents === 'best') return best
  if (parents === 'epsilon')
    return drawWeighted([true, false], any => (any ? EPSILON : 1 - EPSILON), random) ? drawWeighted(whole, () => 1, random) : best
  const scored = whole.map(({ id, losses }) => ({ id, losses: select.map(({ index }) => losses[index]!) }))
  const { id } = drawWeighted(undominated(scored), ({ fronts }) => fronts, random)
  return pool.find(member => member.id === id)!
}

/** The next questions of the feedback part, in an order that every epoch draws anew; the last ones of an epoch are filled up with its first. */
function minibatchOf(feedback: readonly SearchRow[], size: number, { seed, step }: SearchContext): SearchRow[] {
  const count = Math.min(size, feedback.length)
  const batches = Math.ceil(feedback.length / count)
  const order = shuffle(feedback, seed, streams.feedback, 1 + Math.floor(step / batches))
  const start = (step % batches) * count
  return Array.from({ length: count }, (_, i) => order[(start + i) % order.length]!)
}

/** Ancestors of a member, itself among them. */
function lineOf(pool: readonly Member[], id: number): Set<number> {
  const line = new Set<number>()
  const visit = (one: number) => {
    if (line.has(one)) return
    line.add(one)
    for (const parent of pool[one]?.parents ?? []) visit(parent)
  }
  visit(id)
  return line
}

/** Joins two undominated prompts of one ancestor that is no better than either; undefined where there are none that were not tried. */
async function merge(
  state: State,
  { merges }: Options,
  { select }: Parts,
  context: SearchContext,
): Promise<StepOutcome<State> | undefined> {
  const { pool, merged } = state
  if (!state.isMergeDue || merged.length >= merges) return undefined
  const whole = pool.filter(member => isMeasured(member, select))
  const scored = whole.map(({ id, losses }) => ({ id, losses: select.map(({ index }) => losses[index]!) }))
  const front = undominated(scored).map(({ id }) => pool.find(member => member.id === id)!)
  for (const [i, a] of front.entries())
    for (const b of front.slice(i + 1)) {
      const key = `${a.id} ${b.id}`
      const [lineA, lineB] = [lineOf(pool, a.id), lineOf(pool, b.id)]
      if (merged.includes(key) || lineA.has(b.id) || lineB.has(a.id)) continue
      const worst = Math.max(lossOf(a, select), lossOf(b, select))
      const ancestor = [...lineA]
        .filter(id => lineB.has(id))
        .map(id => pool[id]!)
        .find(one => isMeasured(one, select) && lossOf(one, select) >= worst)
      if (ancestor === undefined) continue
      const better = bySelection(select)(a, b) <= 0 ? 'a' : 'b'
      const components = mergedComponents(ancestor.components, a.components, b.components, better)
      const draft: Draft = { parents: [a.id, b.id], origin: 'merge', components, demos: [] }
      const { members } = admitted([draft], pool, context)
      if (members.length === 0) continue
      const rows = mergeRows(a, b, select)
      const [child] = await measured(members, rows, context)
      const isKept = child !== undefined && lossOf(child, rows) <= Math.min(lossOf(a, rows), lossOf(b, rows))
      const [final] = isKept ? await measured([child], select, context) : [child]
      const next = {
        ...state,
        pool: updated(pool, final === undefined ? [] : [final]),
        merged: [...merged, key],
        isMergeDue: false,
      }
      return poolOutcome(next, next.pool, final === undefined ? [] : [final], select, context, { merges: next.merged.length })
    }
  return undefined
}

/** Two questions on which the one is better, two on which the other is, and one more. */
function mergeRows(a: Member, b: Member, select: readonly SearchRow[]): SearchRow[] {
  const by = (sign: number) => select.filter(({ index }) => Math.sign(a.losses[index]! - b.losses[index]!) === sign)
  const chosen = [...by(-1).slice(0, 2), ...by(1).slice(0, 2), ...by(0)].slice(0, MERGE_ROWS)
  const rest = select.filter(row => !chosen.includes(row))
  return [...chosen, ...rest].slice(0, MERGE_ROWS)
}
