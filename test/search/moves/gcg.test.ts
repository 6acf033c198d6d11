import { describe, expect, test } from 'vitest'
import { gcg, gcgSchema } from '../../../src/search/methods/gcg.js'
import type { SearchContext } from '../../../src/search/moves/method.js'
import { contextOf, drawnCosts, type Landscape } from '../support/context.js'

const options = (given: Record<string, unknown> = {}) => gcgSchema.parse({ type: 'gcg', screening: 1, ...given })
const entry = (loss: number, ...ids: number[]) => ({ ids, loss })
const round = (x: number) => Number(x.toFixed(5))

test('options of a search that does not say', () => {
  expect(gcgSchema.parse({ type: 'gcg' })).toEqual({
    ...{ type: 'gcg', searchWidth: 128, topk: 256, replace: 1, bufferSize: 0, screening: 16, earlyStop: false },
  })
  for (const wrong of [{ searchWidth: 0 }, { topk: 0 }, { replace: 0 }, { bufferSize: -1 }, { screening: 0.5 }, { x: 1 }])
    expect(gcgSchema.safeParse({ type: 'gcg', ...wrong }).success).toBe(false)
  expect(gcgSchema.safeParse({ type: 'gcg', searchWidth: 1, topk: 1, screening: 1 }).success).toBe(true)
  expect(gcg).toMatchObject({ type: 'gcg', steps: 250 })
  expect(gcg.needs!(options())).toEqual({ draft: undefined })
  expect(gcg.needs!(options({ probe: { draft: 'small' } }))).toEqual({ draft: 'small' })
})

describe('a step', () => {
  const start = [100, 101, 102]
  const costs = drawnCosts(3, 300, 2)
  const allowed = Array.from({ length: 250 }, (_, i) => i)
  const landscape = (step: number): Landscape => ({ costs, start, free: [0, 2], allowed, step, rows: 4 })
  const cheapest = (position: number, count: number) =>
    [...allowed].sort((a, b) => costs[position]![a]! - costs[position]![b]!).slice(0, count)

  test('draws from the tokens of a position that lower the loss most, and says by how much', async () => {
    const { context, gradients, lossOf } = contextOf(landscape(0))
    const own = options({ topk: 5, searchWidth: 40 })
    const { candidates, prompt } = await gcg.step({ buffer: [entry(lossOf(start), ...start)] }, own, context)
    expect(gradients).toEqual([{ ids: start, rows: 4 }])
    for (const { ids, swaps, gradientScore, loss } of candidates) {
      expect(swaps).toHaveLength(1)
      const [{ position, from, to }] = swaps as [{ position: number; from: number; to: number }]
      expect([0, 2]).toContain(position)
      expect(from).toBe(start[position])
      expect(cheapest(position, 5)).toContain(to)
      // The loss is a sum, so that the gradient says all of it.
      expect(gradientScore).toBeCloseTo(lossOf(ids) - lossOf(start), 5)
      expect(loss).toBe(lossOf(ids))
    }
    // Every one of two times five is drawn by forty draws, nearly surely, and none twice.
    expect(new Set(candidates.map(({ ids }) => ids.join())).size).toBe(candidates.length)
    expect(candidates.length).toBeGreaterThan(7)
    expect(prompt).toEqual(candidates[0]!.ids)
  })

  test('changes several positions at once, if that is asked', async () => {
    const { context, lossOf } = contextOf(landscape(0))
    const { candidates } = await gcg.step(
      { buffer: [entry(9, ...start)] },
      options({ topk: 4, searchWidth: 9, replace: 2 }),
      context,
    )
    expect(candidates.length).toBeGreaterThan(3)
    for (const { ids, swaps, gradientScore } of candidates) {
      expect(swaps.map(({ position }) => position).sort()).toEqual([0, 2])
      expect(gradientScore).toBeCloseTo(lossOf(ids) - lossOf(start), 5)
    }
  })

  test('by few of them finds the best of 62,500 prompts, whatever the seed', async () => {
    for (const seed of [1, 2, 3]) {
      let buffer = [entry(9, ...start)]
      for (let step = 0; step < 12; step++) {
        const { context } = contextOf({ ...landscape(step), seed })
        const { state } = await gcg.step({ buffer }, options({ topk: 3, searchWidth: 6, bufferSize: 1 }), context)
        buffer = [...state.buffer].map(({ ids, loss }) => entry(loss, ...ids))
      }
      expect(buffer[0]!.ids).toEqual([cheapest(0, 1)[0], 101, cheapest(2, 1)[0]])
    }
  })
})

describe('the buffer', () => {
  // One position, and one token that may stand there.
  const step = (found: number, bufferSize: number, buffer: ReturnType<typeof entry>[], landscape: Partial<Landscape> = {}) => {
    const { context, scored, given } = contextOf({ costs: [[0.5, 0.9, found]], start: [0], allowed: [2], ...landscape })
    return gcg.step({ buffer }, options({ bufferSize, searchWidth: 1 }), context).then(outcome => ({ ...outcome, scored, given }))
  }
  const full = [entry(0.5, 0), entry(0.9, 1)]

  test('when it is full takes what is better than its worst, and the search goes on from its best', async () => {
    const { state, prompt, objective, accepted } = await step(0.7, 2, full)
    expect(state.buffer).toEqual([entry(0.5, 0), entry(0.7, 2)])
    expect([prompt, objective]).toEqual([[0], 0.5])
    expect(accepted).toMatchObject({ ids: [2] })
  })

  test('puts the best in front', async () => {
    const { state, prompt, objective } = await step(0.1, 2, full)
    expect(state.buffer).toEqual([entry(0.1, 2), entry(0.5, 0)])
    expect([prompt, objective]).toEqual([[2], 0.1])
  })

  test.each([0.9, 1.4])('leaves out a loss of %f', async found => {
    const { state, prompt, objective, candidates, ...rest } = await step(found, 2, full)
    expect(state.buffer).toEqual(full)
    expect([prompt, objective]).toEqual([[0], 0.5])
    expect(candidates).toHaveLength(1)
    expect('accepted' in rest).toBe(false)
  })

  test('takes whatever comes as long as there is room', async () => {
    const { state, accepted, prompt } = await step(1.4, 2, [entry(0.5, 0)])
    expect(state.buffer).toEqual([entry(0.5, 0), entry(1.4, 2)])
    expect(accepted).toBeDefined()
    expect(prompt).toEqual([0])
  })

  test('of size 0 is the best of the step, even if it is worse', async () => {
    const { state, prompt, objective, accepted } = await step(1.4, 0, [entry(0.5, 0)])
    expect(state.buffer).toEqual([entry(1.4, 2)])
    expect([prompt, objective]).toEqual([[2], 1.4])
    expect(accepted).toMatchObject({ ids: [2] })
  })

  test('is scored anew where the questions are others', async () => {
    const stale = [entry(0.1, 1), entry(0.2, 0)]
    const { state, scored, given } = await step(0.7, 2, stale, { isBatched: true })
    expect(given[0]!.map(({ swaps }) => swaps)).toEqual([[], []])
    expect(scored).toEqual([[[1], [0]], [[2]]])
    expect(state.buffer).toEqual([entry(0.5, 0), entry(0.7, 2)])
    const { scored: unbatched } = await step(0.7, 2, stale)
    expect(unbatched).toEqual([[[2]]])
  })

  test('stays as it is where nothing reads back', async () => {
    const outcome = await step(0.1, 2, full, { readsBack: ([id]) => id !== 2 })
    expect(outcome).toMatchObject({ state: { buffer: full }, prompt: [0], objective: 0.5, candidates: [], figures: {} })
    expect('accepted' in outcome).toBe(false)
  })
})

test.each([
  [true, true, true],
  [true, false, false],
  [false, true, false],
])('a search that stops early (%s) where every token is the likeliest (%s) is done: %s', async (earlyStop, exact, done) => {
  const { context } = contextOf({ costs: [[0.5, 0.1]], start: [0], allowed: [1], exact: () => exact })
  expect((await gcg.step({ buffer: [entry(0.5, 0)] }, options({ earlyStop, searchWidth: 1 }), context)).done).toBe(done)
})

describe('fewer exact scores', () => {
  const landscape = { costs: drawnCosts(2, 50, 3), start: [0, 1] }
  const own = { topk: 40, searchWidth: 24 }

  test('by screening: the best of guesses', async () => {
    const guess: SearchContext['guess'] = candidates => Promise.resolve(candidates.map(({ ids }) => -ids[0]! - ids[1]!))
    const { context, scored } = contextOf(landscape, { guess })
    const { candidates, figures } = await gcg.step({ buffer: [entry(9, 0, 1)] }, options({ ...own, screening: 6 }), context)
    expect(scored).toHaveLength(1)
    expect(scored[0]!.length).toBeLessThanOrEqual(4)
    expect(candidates).toHaveLength(scored[0]!.length)
    expect(figures).toEqual({})
  })

  test('by a draft: a random few, and its best', async () => {
    const { lossOf } = contextOf(landscape)
    const draft = { computedTokens: 0, score: (prompts: number[][]) => Promise.resolve(prompts.map(lossOf)) }
    const { context, scored } = contextOf(landscape, { draft })
    const probe = { draft: 'm', samplingFactor: 8, reduction: 8 }
    const { figures, candidates } = await gcg.step({ buffer: [entry(9, 0, 1)] }, options({ ...own, probe }), context)
    expect(figures).toMatchObject({ filtered: 1 })
    expect(figures!.agreement).toBeCloseTo(1, 9)
    expect(scored.map(({ length }) => length)[0]).toBeLessThanOrEqual(3)
    expect(candidates.length).toBeLessThanOrEqual(4)
  })
})

describe('the first buffer', () => {
  const marks = [...'.,!?;:(){}[]@#$%&*wxyz']
  // Every third token is a mark, some behind a space.
  const text = (id: number) => (id % 3 === 0 ? `${id % 2 === 0 ? ' ' : ''}${marks[(id / 3) % marks.length]}` : `word${id}`)
  const landscape = { costs: drawnCosts(3, 90, 4), start: [1, 2, 4], free: [0, 2], text }
  const begin = async (bufferSize: number, given: Partial<Landscape> = {}) => {
    const { context, scored, lossOf, given: asked } = contextOf({ ...landscape, ...given })
    const { buffer } = await gcg.start(options({ bufferSize }), context)
    // The prompt itself moves nothing.
    expect(asked[0]![0]!.swaps).toEqual([])
    return { buffer, scored, lossOf }
  }

  test.each([0, 1])('of size %i is the prompt alone', async size => {
    const { buffer, lossOf } = await begin(size)
    expect(buffer).toEqual([entry(lossOf([1, 2, 4]), 1, 2, 4)])
  })

  test('has prompts of marks and single letters beside it, best first', async () => {
    const { buffer, scored } = await begin(40)
    expect(scored[0]![0]).toEqual([1, 2, 4])
    const others = scored[0]!.slice(1)
    expect(others.length).toBeGreaterThan(30)
    for (const ids of others) {
      expect(ids[1]).toBe(2)
      for (const id of [ids[0]!, ids[2]!]) expect(id % 3).toBe(0)
    }
    // Behind a space as well as without.
    expect(new Set(others.map(ids => ids[0]! % 2)).size).toBe(2)
    // Any mark may stand anywhere, not one in a prompt.
    expect(others.some(ids => ids[0] !== ids[2])).toBe(true)
    expect(new Set(others.map(ids => ids[0])).size).toBeGreaterThan(12)
    const losses = buffer.map(({ loss }) => round(loss))
    expect(losses).toEqual([...losses].sort((a, b) => a - b))
    expect(buffer).toHaveLength(others.length + 1)
    expect(Object.keys(buffer[0]!)).toEqual(['ids', 'loss'])
  })

  test('takes whatever tokens there are where the vocabulary has no marks', async () => {
    const { scored } = await begin(9, { allowed: [1, 5, 7, 8] })
    for (const ids of scored[0]!.slice(1)) expect([1, 5, 7, 8]).toContain(ids[0])
    expect(scored[0]!.length).toBeGreaterThan(4)
  })
})
