import { describe, expect, test } from 'vitest'
import { greater, greaterSchema } from '../../../src/search/methods/greater.js'
import { problemOf } from '../../support/problem.js'
import { fresh, keys, options, start, steepest, worldOf } from '../support/greater-world.js'

describe('options', () => {
  test('a preset says what a search leaves out: in losses and in defaults', () => {
    const of = (preset: string) => greater.objective!(options({ preset }))
    expect([of('default'), of('paper'), of('official'), of('greaterprompt')]).toEqual([
      { temperature: 1, scoredFluency: 0.02 },
      { temperature: 1, scoredFluency: 0.2 },
      { temperature: 0.2, scoredFluency: 0.02 },
      { temperature: 1, scoredFluency: 0.2 },
    ])
    const defaults = greater.defaults as (options: unknown) => {
      fluency: number
      measure: string
      prompt: string
      vocabulary: string
    }
    const said = ['default', 'paper', 'official', 'greaterprompt'].map(preset => defaults(options({ preset })))
    expect(said.map(({ measure, fluency }) => [measure, fluency])).toEqual([
      ['probability', 0.02],
      ['cross-entropy', 0.2],
      ['mistakes', 0.2],
      ['cross-entropy', 0.2],
    ])
    for (const { prompt, vocabulary } of said) {
      expect(vocabulary).toBe('words')
      expect(prompt).toContain('step by step')
    }
    expect(greater.steps).toBe(20)
    expect(greater.type).toBe('greater')
  })

  test('are checked', () => {
    expect(greaterSchema.parse({ type: 'greater' })).toEqual({
      ...{ type: 'greater', preset: 'default', sampled: 5, shortlist: 'gradient', maxLength: 40 },
    })
    const least = { mu: 1, topk: 1, sampled: 1, prefilter: 1, maxLength: 1, blocks: 1, patience: 1 }
    expect(greaterSchema.safeParse({ type: 'greater', ...least }).success).toBe(true)
    for (const name of Object.keys(least)) expect(greaterSchema.safeParse({ type: 'greater', [name]: 0 }).success).toBe(false)
    for (const preset of ['default', 'paper', 'official', 'greaterprompt']) expect(options({ preset }).preset).toBe(preset)
    for (const shortlist of ['gradient', 'held-reasoning', 'gradient-without-reasoning', 'random'])
      expect(options({ shortlist }).shortlist).toBe(shortlist)
    for (const positions of ['all', 'left-to-right']) expect(options({ positions }).positions).toBe(positions)
    for (const wrong of [{ preset: '' }, { shortlist: '' }, { positions: '' }, { other: 1 }])
      expect(greaterSchema.safeParse({ type: 'greater', ...wrong }).success).toBe(false)
  })

  test.each([
    // Proposals of all sampled questions together or of each; positions that a step considers; whether it moves to what is worse.
    ['default', { together: [5], each: [] }, 3, false],
    ['paper', { together: [], each: [5] }, 1, true],
    ['official', { together: [], each: [6] }, 1, true],
    ['greaterprompt', { together: [], each: [5] }, 1, true],
  ])('a preset says how a step goes: %s', async (preset, asked, positions, moves) => {
    const worse = Array.from({ length: 8 }, (_, i) => Array.from({ length: 30 }, (_, id) => (id === start[i] ? 0 : 1)))
    const { context, proposed, scored } = worldOf({ costs: worse, step: 9, steps: 10 })
    const { accepted } = await greater.step(fresh, options({ preset, mu: 60 }), context)
    expect(proposed).toEqual(asked)
    expect(new Set(scored[1]!.map(ids => ids.findIndex((id, i) => id !== start[i]))).size).toBe(positions)
    expect(accepted !== undefined).toBe(moves)
  })

  test('what is given as nothing is as a preset says', async () => {
    const { context, scored } = worldOf()
    await greater.step(fresh, options({ mu: undefined, topk: undefined }), context)
    expect(scored[1]).toHaveLength(3)
  })

  test('a search begins with its prompt', async () => {
    expect(await greater.start(options(), worldOf().context)).toEqual(fresh)
  })
})

describe('a shortlist by the gradient', () => {
  test('is what lowers the loss most of what the model proposes, at any position', async () => {
    const { context, costs, gradients, scored, lossOf } = worldOf()
    const { candidates, figures, state } = await greater.step(fresh, options({ mu: 4, topk: 9 }), context)
    const wanted = steepest(
      costs,
      [0, 1, 2],
      Array.from({ length: 9 }, (_, i) => 21 + i),
    )
    expect(gradients).toEqual([{ ids: start, rows: 6, options: { withReasoning: true } }])
    expect(figures).toEqual({ pool: 27, exactRows: 0 })
    expect(scored[0]).toEqual([start])
    const prompts = wanted.slice(0, 4).map(({ position, to }) => start.with(position, to))
    expect(keys(scored[1]!)).toEqual(keys(prompts))
    for (const { ids, gradientScore } of candidates) expect(gradientScore).toBeCloseTo(lossOf(ids) - lossOf(start), 5)
    expect(state.tried).toEqual(keys(prompts))
  })

  test('holds what reads back, and nothing that has been tried', async () => {
    const first = worldOf()
    const { state } = await greater.step(fresh, options({ mu: 3, topk: 9 }), first.context)
    const wanted = steepest(
      first.costs,
      [0, 1, 2],
      Array.from({ length: 9 }, (_, i) => 21 + i),
    )
    const bad = wanted[3]!
    const { context, scored } = worldOf({ readsBack: ids => ids[bad.position] !== bad.to })
    await greater.step({ ...fresh, tried: state.tried }, options({ mu: 3, topk: 9 }), context)
    expect(keys(scored[1]!)).toEqual(keys(wanted.slice(4, 7).map(({ position, to }) => start.with(position, to))))
  })

  test('where nothing reads back, the watch over drift hears of what was left', async () => {
    const { context } = worldOf({ readsBack: () => false })
    const heard: number[] = []
    const score = (given: readonly { ids: readonly number[]; swaps: readonly unknown[] }[]) => {
      heard.push(given.length)
      const own = given.filter(({ swaps }) => swaps.length === 0)
      return Promise.resolve(own.map(one => ({ ...one, loss: 1, rowLosses: [], exact: false, exactRows: 0 })))
    }
    const outcome = await greater.step(fresh, options({ mu: 2 }), { ...context, score } as unknown as typeof context)
    expect(heard).toEqual([1, 2])
    expect(outcome).toMatchObject({ prompt: start, candidates: [], objective: 1 })
    expect('accepted' in outcome).toBe(false)
  })

  test('the token that stands there is not proposed for itself', async () => {
    const { context, scored } = worldOf({ likelihood: (_, id) => -Math.abs(id - 11) })
    const { figures } = await greater.step(fresh, options({ mu: 2, topk: 3 }), context)
    // Four are proposed at each position (twice mu): 10, 11, 12 and 9, or 13 where one of them stands before.
    expect(figures!.pool).toBe(4 + 4 + 4 - 3)
    for (const ids of scored[1]!) expect(ids).not.toEqual(start)
  })

  test('nothing proposed anywhere is an error', async () => {
    const { context } = worldOf({ allowed: [10], start: [10] })
    const error = await problemOf(greater.step({ ...fresh, ids: [10] }, options(), context))
    expect(error).toMatchObject({ code: 'no-candidates', exitCode: 1 })
  })

  test('everything tried is none: the step has no candidates', async () => {
    const { context, scored } = worldOf({ allowed: [10, 20], start: [10] })
    const outcome = await greater.step({ ...fresh, ids: [10], tried: ['20'] }, options(), context)
    expect(outcome.candidates).toEqual([])
    expect(scored).toEqual([[[10]], []])
  })
})

describe('the gradient', () => {
  const bad = Array.from({ length: 8 }, () => Array.from({ length: 30 }, (_, id) => (start.includes(id) ? 0 : 1 + id / 100)))

  test('is kept as long as the prompt stays, and is asked for again when it changes', async () => {
    const stays = worldOf({ costs: bad })
    const { state } = await greater.step(fresh, options(), stays.context)
    expect(state.ids).toEqual(start)
    expect(state.gradient).toHaveLength(3 * 30)
    const again = worldOf({ costs: bad })
    await greater.step(state, options(), again.context)
    expect(again.gradients).toEqual([])
    const moves = worldOf()
    const { state: moved } = await greater.step(fresh, options(), moves.context)
    expect(moved.ids).not.toEqual(start)
    expect('gradient' in moved).toBe(false)
  })

  test('is not kept over batches of questions', async () => {
    const { context } = worldOf({ costs: bad, isBatched: true })
    expect('gradient' in (await greater.step(fresh, options(), context)).state).toBe(false)
  })

  test('of one question is drawn by step, and not kept', async () => {
    const { context, gradients } = worldOf({ costs: bad })
    const { state } = await greater.step(fresh, options({ preset: 'greaterprompt', acceptance: 'better' }), context)
    expect(gradients.map(({ rows }) => rows)).toEqual([1])
    expect('gradient' in state).toBe(false)
  })

  test('is not there for a random shortlist, and may be without reasoning', async () => {
    const random = worldOf()
    const { candidates } = await greater.step(fresh, options({ shortlist: 'random', mu: 3 }), random.context)
    expect(random.gradients).toEqual([])
    expect(candidates).toHaveLength(3)
    for (const candidate of candidates) expect('gradientScore' in candidate).toBe(false)
    const drawn = new Set<string>()
    for (const step of [0, 1, 2, 3]) {
      const { context, scored } = worldOf({ step })
      await greater.step(fresh, options({ shortlist: 'random', mu: 3 }), context)
      drawn.add(keys(scored[1]!).join())
    }
    expect(drawn.size).toBe(4)
    const without = worldOf()
    await greater.step(fresh, options({ shortlist: 'gradient-without-reasoning' }), without.context)
    expect(without.gradients[0]!.options).toEqual({ withReasoning: false })
  })
})

describe('what a step comes to', () => {
  const of = (cost: number) => [Array.from({ length: 30 }, (_, id) => (id === 10 ? 0.5 : cost))]
  const one = { ...fresh, ids: [10] }

  test.each([
    ['better', 0.4, true],
    ['better', 0.5, false],
    ['better', 0.6, false],
    ['always', 0.6, true],
  ])('%s moves to a loss of %f: %s', async (acceptance, cost, isTaken) => {
    const { context } = worldOf({ costs: of(cost), start: [10] })
    const outcome = await greater.step(one, options({ acceptance }), context)
    expect('accepted' in outcome).toBe(isTaken)
    expect(outcome.objective).toBe(isTaken ? cost : 0.5)
    expect(outcome.prompt[0] === 10).toBe(!isTaken)
    expect(outcome.state).toMatchObject({ ids: outcome.prompt, best: outcome.objective, stale: 0 })
  })

  test('annealed: nothing that is worse in the last step', async () => {
    const { context } = worldOf({ costs: of(0.6), start: [10], step: 9, steps: 10 })
    expect('accepted' in (await greater.step(one, options({ acceptance: 'annealed' }), context))).toBe(false)
    const early = worldOf({ costs: of(0.500001), start: [10], step: 0, steps: 1000 })
    expect('accepted' in (await greater.step(one, options({ acceptance: 'annealed' }), early.context))).toBe(true)
  })

  test('without a better prompt the patience is used up', async () => {
    const { context } = worldOf({ costs: of(0.6), start: [10] })
    const next = async (state: typeof one, given = {}) => {
      const { done, state: left } = await greater.step(state, options({ patience: 2, ...given }), context)
      return { done, best: left.best, stale: left.stale }
    }
    expect(await next({ ...one, best: 0.5, stale: 0 } as never)).toEqual({ done: false, best: 0.5, stale: 1 })
    expect(await next({ ...one, best: 0.5, stale: 1 } as never)).toEqual({ done: true, best: 0.5, stale: 2 })
    expect(await next({ ...one, best: 0.7, stale: 1 } as never)).toEqual({ done: false, best: 0.5, stale: 0 })
    expect(await next({ ...one, best: 0.5, stale: 8 } as never, { patience: undefined })).toMatchObject({
      done: false,
      stale: 9,
    })
  })

  test('a race thins the shortlist out before it is scored on all questions', async () => {
    const { context, raced, scored } = worldOf()
    const { eliminated } = await greater.step(fresh, options({ mu: 4, blocks: 3 }), context)
    expect(raced).toEqual([2, 4])
    expect(scored[1]!.length + eliminated!.length).toBe(4)
    expect(eliminated!.length).toBeGreaterThan(1)
  })

  test('where a race leaves none, nothing more is scored', async () => {
    const { context, scored } = worldOf({ costs: of(0.6), start: [10] })
    const { candidates } = await greater.step(one, options({ blocks: 3 }), context)
    expect(candidates).toEqual([])
    expect(scored).toEqual([[[10]]])
  })
})
