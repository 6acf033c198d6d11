import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { z } from 'zod'
import type { ScoredCandidate, SearchContext, SearchMethod } from '../moves/method.js'
import { labelGap } from '../score/measure.js'
import { champion, type Individual, idsOf, mutated, prunedTo, thinned } from '../space/pruning.js'
import type { TokenSpace } from '../space/token-space.js'

export const promptquineSchema = z.strictObject({
  type: z.literal('promptquine'),
  shots: z.int().min(1).optional().describe('training rows that the first prompt shows, in place of search.prompt'),
  separator: z.string().default('\n').describe('what stands behind each row that the first prompt shows'),
  evolution: z
    .enum(['steady-state', 'generational'])
    .default('generational')
    .describe(
      'whether offspring can be parents within their own generation (then they are scored one by one), or only in the next',
    ),
  population: z.int().min(1).default(30).describe('prompts that a generation leaves'),
  offspring: z.int().min(1).default(50).describe('prompts that a generation tries: a step'),
  tournament: z.number().positive().max(1).default(0.2).describe('share of the population of which the best is a parent'),
  drop: z.int().min(1).default(4).describe('tokens that a mutation drops, at most; at least one'),
  begin: z
    .enum(['pruned', 'copies'])
    .default('pruned')
    .describe('the first population: prompts of which 5 % to 20 % of the tokens are dropped, or the first prompt alone'),
  minLength: z.int().min(1).default(15).describe('mean number of searched tokens at which the search ends'),
})

type Options = z.output<typeof promptquineSchema>

type State = { readonly population: readonly Individual[] }

/**
 * Examples in the prompt are pruned by evolution: a mutation only drops tokens. Evolution is regularised (Real et al. 2019): a
 * generation's survivors are the best of the youngest prompts, so that a parent lives no longer than its luck. The prompts that were
 * best at any time are ranked anew on dev at the end.
 */
export const promptquine: SearchMethod<Options, State> = {
  type: 'promptquine',
  paper: 'Wang et al. 2025, "Evolving Prompts In-Context: An Open-ended, Self-replicating Perspective" (PromptQuine)',
  steps: 200,
  defaults: options => ({ measure: labelGap(options) }),
  needs: ({ shots, separator }) => (shots === undefined ? {} : { shots: { count: shots, separator } }),
  start: () => Promise.resolve({ population: [] }),

  async step(state, options, context) {
    const { space } = context
    const random = context.random()
    const whole = [...space.start.keys()]
    let population = state.population
    let tried: ScoredCandidate[]
    if (population.length === 0) {
      const first = Array.from({ length: options.population }, () =>
        options.begin === 'copies' ? whole : thinned(space, random),
      )
      ;({ population, tried } = await judged(context, options.begin === 'copies' ? [whole] : first))
    } else {
      // Losses of another batch of questions say nothing beside this one's.
      if (context.isBatched)
        population = (
          await judged(
            context,
            population.map(({ kept }) => kept),
          )
        ).population
      const bred = await breed(population, options, context, random)
      tried = bred.tried
      // The youngest, the parents' generation among them only where there are too few offspring.
      const youngest = [...population, ...bred.offspring].slice(-options.offspring)
      population = [...youngest].sort((a, b) => a.loss - b.loss).slice(0, options.population)
    }
    tried.sort((a, b) => a.loss - b.loss)
    const lengths = population.map(({ kept }) => space.freeOf(idsOf(space, kept)).length)
    const length = lengths.reduce((sum, count) => sum + count, 0) / Math.max(1, lengths.length)
    const best = population.reduce<Individual | undefined>((a, b) => (a === undefined || b.loss < a.loss ? b : a), undefined)
    const prompt = idsOf(space, best?.kept ?? whole)
    const accepted = tried.find(({ ids }) => ids.join() === prompt.join())
    return {
      state: { population },
      prompt,
      objective: best?.loss ?? Number.POSITIVE_INFINITY,
      candidates: tried,
      ...(accepted && { accepted }),
      done: population.length > 0 && length <= options.minLength,
      figures: { meanLength: length },
    }
  },
}

/** Offspring of a generation, the scored ones in the order of their birth. */
async function breed(given: readonly Individual[], options: Options, context: SearchContext, random: RandomGenerator) {
  const parents = [...given]
  const born: number[][] = []
  const known = new Set(parents.map(({ kept }) => keyOf(context.space, kept)))
  const offspring: Individual[] = []
  const tried: ScoredCandidate[] = []
  for (let i = 0; i < options.offspring; i++) {
    const { kept } = champion(parents, options.tournament, random)
    const child = mutated(kept, options.drop, context.space, random)
    if (child === undefined || known.has(keyOf(context.space, child))) continue
    known.add(keyOf(context.space, child))
    if (options.evolution === 'generational') {
      born.push(child)
      continue
    }
    const one = await judged(context, [child])
    offspring.push(...one.population)
    tried.push(...one.tried)
    parents.push(...one.population)
  }
  if (born.length === 0) return { offspring, tried }
  const all = await judged(context, born)
  return { offspring: all.population, tried: all.tried }
}

/** Scores prompts, each once; those that do not read back are left out. In the given order. */
async function judged(context: SearchContext, prompts: readonly (readonly number[])[]) {
  const distinct = new Map(prompts.map(kept => [keyOf(context.space, kept), kept]))
  const tried = await context.score([...distinct.values()].map(kept => prunedTo(context.space, kept)))
  const losses = new Map(tried.map(({ ids, loss }) => [ids.join(), loss]))
  const population = [...distinct].flatMap(([key, kept]): Individual[] => {
    const loss = losses.get(key)
    return loss === undefined ? [] : [{ kept, loss }]
  })
  return { population, tried }
}

const keyOf = (space: TokenSpace, kept: readonly number[]) => idsOf(space, kept).join()
