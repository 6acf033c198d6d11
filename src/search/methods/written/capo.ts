import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { z } from 'zod'
import { shuffle, streams } from '../../../random.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { type PairedTest, pairedChance, pairedTests } from '../../moves/paired-test.js'
import { draw } from '../../space/candidates.js'
import type { SearchRow } from '../../space/token-space.js'
import { criticOptions, feedbackOption } from '../../writing/critic.js'
import { demoTexts } from '../../writing/demos.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, bySelection, founder, isMeasured, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, type Refusals, refusalFigures } from '../../writing/propose.js'

export const capoSchema = z.strictObject({
  type: z.literal('capo'),
  ...criticOptions,
  maxPromptTokens: criticOptions.maxPromptTokens.default(100),
  feedback: feedbackOption.describe(
    'questions that may be shown as examples; the others alone score prompts. By default half of search.questions',
  ),
  population: z.int().min(1).default(6).describe('prompts that live at the same time; the first are rewrites of search.prompt'),
  children: z.int().min(1).default(4).describe('prompts of a step'),
  demos: z.int().min(0).default(3).describe('examples that a prompt shows, at most'),
  block: z.int().min(1).default(8).describe('questions after which the race drops prompts'),
  test: z
    .enum(pairedTests)
    .default('permutation')
    .describe('what says that one prompt is better than another: the t-test of the paper, or exact signs'),
  alpha: z.number().min(0).max(0.5).default(0.2).describe('chance of an error that one comparison may have'),
})

type Options = z.output<typeof capoSchema>
type State = { readonly pool: readonly Member[]; readonly alive: readonly number[] }

/**
 * Instructions are crossed and said otherwise by a model, examples of two prompts are mixed, and prompts race over blocks of questions: one that
 * as many others as may live have beaten goes before all questions are asked. Of equals the one goes on that makes right answers likelier: a
 * penalty on length would decide between equals with certainty.
 */
export const capo: SearchMethod<Options, State> = {
  type: 'capo',
  paper: 'Zehle et al. 2025, "CAPO: Cost-Aware Prompt Optimization" (arXiv 2504.16005)',
  steps: 8,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ population, children, feedback }, { questions, steps }) => {
    const select = questions - Math.min(questions - 1, feedback ?? Math.floor(questions / 2))
    return {
      answers: select * (population + steps * children) + questions - select,
      written: population - 1 + 2 * steps * children,
    }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], alive: [0] }),

  async step(state, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const { random } = context
    const written: Partial<Refusals>[] = []
    const texts = options.demos > 0 ? await demoTexts(feedback, context) : new Map<number, string>()
    let pool: readonly Member[] = state.pool
    const admit = (drafts: Parameters<typeof admitted>[0]) => {
      const { members, refused } = admitted(drafts, pool, context, ({ demos }) => demos.map(index => texts.get(index)!))
      written.push(refused)
      pool = updated(pool, members)
      return members
    }
    let alive = state.alive.map(id => pool[id]!)
    if (alive.length === 1 && alive[0]!.id === 0) {
      const first = alive[0]!.components.join(' ')
      const asks = Array.from({ length: options.population - 1 }, () => metaAsks.vary(first))
      const { texts: wordings, figures } = await proposed(asks, options, context)
      written.push(figures)
      const drafts = wordings.flatMap((text, i) => {
        const count = uniformInt(random(2, i), 0, options.demos)
        const demos = draw(feedback, count, random(3, i)).map(({ index }) => index)
        return text === undefined ? [] : [{ parents: [0], origin: 'rewrite', components: [text], demos }]
      })
      alive = [...alive, ...admit(drafts)]
    }
    const pairs = Array.from({ length: options.children }, (_, i) => draw(alive, 2, random(0, i)))
    const crossed = await proposed(
      pairs.map(([a, b = a]) => metaAsks.cross(a!.components.join(' '), b!.components.join(' '))),
      options,
      context,
    )
    const whole = crossed.texts.map((text, i) => text ?? pairs[i]![0]!.components.join(' '))
    const varied = await proposed(whole.map(metaAsks.vary), options, context)
    written.push(crossed.figures, varied.figures)
    const drafts = pairs.map(([a, b = a], i) => ({
      parents: [a!.id, b!.id],
      origin: 'crossover',
      components: [varied.texts[i] ?? whole[i]!],
      demos: mixedDemos(a!.demos, b!.demos, feedback, options.demos, context, i),
    }))
    const children = admit(drafts)
    const scored = await race([...alive, ...children], select, options, context)
    pool = updated(pool, scored.members)
    const left = scored.left
      .map(id => pool[id]!)
      .sort(bySelection(select))
      .slice(0, options.population)
    const next = { pool, alive: left.map(({ id }) => id) }
    const tried = scored.members.filter(({ id }) => id > 0 && !state.alive.includes(id))
    return poolOutcome(next, pool, tried, select, context, { ...refusalFigures(written), raced: scored.answers })
  },
}

/** Half of both parents' examples; then one more, one fewer, or as many, each by a third. */
export function mixedDemos(
  a: readonly number[],
  b: readonly number[],
  from: readonly SearchRow[],
  most: number,
  { random }: Pick<SearchContext, 'random'>,
  child: number,
): number[] {
  const union = [...new Set([...a, ...b])]
  const kept = draw(union, Math.floor((a.length + b.length) / 2), random(4, child))
  const chance = uniformFloat64(random(5, child))
  if (chance < 1 / 3) {
    const others = from.filter(({ index }) => !kept.includes(index))
    if (kept.length < most) kept.push(...draw(others, 1, random(6, child)).map(({ index }) => index))
  } else if (chance < 2 / 3) kept.pop()
  return draw(kept.slice(0, most), most, random(7, child))
}

/** Of the losses of several prompts on the same questions: those that fewer than `places` others have beaten. */
export function survivors(
  losses: readonly (readonly number[])[],
  places: number,
  { test, alpha }: { readonly test: PairedTest; readonly alpha: number },
): number[] {
  return [...losses.keys()].filter(i => {
    const beaten = losses.filter(
      (other, j) =>
        j !== i &&
        pairedChance(
          other.map((loss, q) => losses[i]![q]! - loss),
          test,
        ) < alpha,
    )
    return beaten.length < places
  })
}

async function race(
  members: readonly Member[],
  select: readonly SearchRow[],
  { block, population, test, alpha }: Options,
  context: SearchContext,
): Promise<{ members: Member[]; left: number[]; answers: number }> {
  // In one order for the whole search, so that what is known of a parent is of the questions that come first.
  const order = shuffle(select, context.seed, streams.race)
  const known = new Map(members.map(member => [member.id, member]))
  let left = members.map(({ id }) => id)
  let answers = 0
  for (let end = block; ; end += block) {
    const seen = order.slice(0, Math.min(end, order.length))
    const before = left.map(id => known.get(id)!)
    answers += before.reduce((sum, { losses }) => sum + seen.filter(({ index }) => losses[index] === undefined).length, 0)
    const scored = await measured(before, seen, context)
    for (const member of scored) known.set(member.id, member)
    const losses = scored.filter(member => isMeasured(member, seen))
    const kept = survivors(
      losses.map(({ losses: own }) => seen.map(({ index }) => own[index]!)),
      population,
      { test, alpha },
    )
    left = kept.map(i => losses[i]!.id)
    if (seen.length === order.length) break
    // Those that are left when the race is decided are scored on all questions, so that figures can be compared.
    if (left.length <= population) end = order.length
  }
  return { members: [...known.values()], left, answers }
}
