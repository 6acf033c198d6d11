import { z } from 'zod'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { drawWeighted } from '../../moves/pareto.js'
import { draw } from '../../space/candidates.js'
import type { SearchRow } from '../../space/token-space.js'
import { criticOptions } from '../../writing/critic.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, bySelection, founder, goodness, lossOf, measured, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, type Refusals, refusalFigures } from '../../writing/propose.js'

export const evopromptSchema = z.strictObject({
  type: z.literal('evoprompt'),
  ...criticOptions,
  temperature: criticOptions.temperature.default(0.5),
  maxPromptTokens: criticOptions.maxPromptTokens.default(100),
  evolution: z
    .enum(['genetic', 'differential'])
    .default('genetic')
    .describe(
      'two prompts are crossed and the best of all survive, or what differs between two is worked into the best; the second asks more of a critic',
    ),
  population: z.int().min(4).default(8).describe('prompts that live at the same time; the first are rewrites of search.prompt'),
})

type Options = z.output<typeof evopromptSchema>
type State = { readonly pool: readonly Member[]; readonly alive: readonly number[] }

/** Evolution of whole prompts, of which a model does the crossing and the mutating. */
export const evoprompt: SearchMethod<Options, State> = {
  type: 'evoprompt',
  paper:
    'Guo et al. 2023, "Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt Optimizers" (arXiv 2309.08532)',
  steps: 10,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ population }, { questions, steps }) => ({
    answers: questions * (population * (steps + 1)),
    written: population * (steps + 1),
  }),
  start: (_, context) => Promise.resolve({ pool: [founder(context)], alive: [0] }),

  async step(state, options, context) {
    const { space, questions } = context
    const written: Partial<Refusals>[] = []
    let pool: readonly Member[] = state.pool
    const tried: Member[] = []
    const born = async (asks: Parameters<typeof proposed>[0], parents: readonly (readonly number[])[], origin: string) => {
      const { texts, figures } = await proposed(asks, options, context)
      const drafts = texts.flatMap((text, i) =>
        text === undefined ? [] : [{ parents: parents[i]!, origin, components: [text], demos: [] }],
      )
      const { members, refused } = admitted(drafts, pool, context)
      written.push(figures, refused)
      const scored = await measured(members, questions, context)
      pool = updated(pool, scored)
      tried.push(...scored)
      return scored
    }
    pool = updated(pool, await measured(pool.slice(0, 1), questions, context))
    const living = () => state.alive.map(id => pool[id]!)
    let alive = living()
    if (state.alive.length === 1) {
      const wording = space.wordingOf(space.start)
      const asks = Array.from({ length: options.population - 1 }, () => metaAsks.vary(wording))
      alive = [
        ...alive,
        ...(await born(
          asks,
          asks.map(() => [0]),
          'rewrite',
        )),
      ]
    }
    const textOf = ({ ids }: Member) => space.wordingOf(ids)
    if (options.evolution === 'genetic') {
      const pairs = Array.from({ length: options.population }, (_, i) => pairOf(alive, questions, context, i))
      const children = await born(
        pairs.map(([a, b]) => metaAsks.cross(textOf(a), textOf(b))),
        pairs.map(([a, b]) => [a.id, b.id]),
        'crossover',
      )
      alive = [...alive, ...children].sort(bySelection(questions)).slice(0, options.population)
    } else if (alive.length >= 4)
      for (const [i, own] of alive.entries()) {
        const [a, b] = draw(
          alive.filter(other => other !== own),
          2,
          context.random(1, i),
        )
        const best = [...alive].sort(bySelection(questions))[0]!
        const ask = metaAsks.differ(textOf(a!), textOf(b!), textOf(best), textOf(own))
        const [child] = await born([ask], [[a!.id, b!.id, best.id, own.id]], 'difference')
        if (child !== undefined && lossOf(child, questions) < lossOf(own, questions)) alive[i] = child
      }
    const next = { pool, alive: alive.map(({ id }) => id) }
    return poolOutcome(next, pool, tried, questions, context, { ...refusalFigures(written), alive: alive.length })
  },
}

/** Two different parents by the roulette wheel, where there are two. */
function pairOf(alive: readonly Member[], rows: readonly SearchRow[], context: SearchContext, child: number): [Member, Member] {
  const random = context.random(0, child)
  const weight = (member: Member) => goodness(member, rows, context)
  const first = drawWeighted(alive, weight, random)
  const others = alive.filter(member => member !== first)
  return [first, others.length === 0 ? first : drawWeighted(others, weight, random)]
}
