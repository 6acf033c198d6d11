import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { SearchContext } from '../../../src/search/moves/method.js'
import { preselect, selectionOptions, selections } from '../../../src/search/moves/selection.js'

const of = (id: number) => ({ ids: [id], swaps: [{ position: 0, from: 99, to: id }] })
const idsOf = (given: readonly { ids: readonly number[] }[]) => given.map(({ ids }) => ids[0]!)

/** Losses by prompt and row; what is asked, call by call. */
function contextOf(loss: (id: number, row: number) => number, questions: number, step = 0) {
  const asked: { ids: number[]; rows: number[] }[] = []
  const context = {
    rows: Array.from({ length: questions }, (_, index) => ({ index })),
    ...{ seed: 1, step },
    objective: {
      score(prompts: number[][], rows: { index: number }[]) {
        asked.push({ ids: prompts.map(([id]) => id!), rows: rows.map(({ index }) => index) })
        return Promise.resolve(
          prompts.map(([id]) => {
            const rowLosses = rows.map(({ index }) => loss(id!, index))
            const sum = rowLosses.reduce((a, b) => a + b, 0)
            return { loss: sum / rows.length, rowLosses, exact: id! < 2, exactRows: id! / 10 }
          }),
        )
      },
    },
  } as unknown as SearchContext
  return { context, asked }
}

const options = (selection: (typeof selections)[number], given: { blocks?: number; exploration?: number } = {}) => ({
  ...{ selection, blocks: 4, exploration: 0 },
  ...given,
})
const eight = [7, 3, 5, 1, 6, 0, 4, 2].map(of)

test('all: every prompt goes on; and nobody is asked where there are no more than wanted', async () => {
  const { context, asked } = contextOf(id => id, 8)
  expect(await preselect(eight, 2, options('all'), context)).toEqual({ kept: eight, eliminated: [] })
  for (const selection of ['halving', 'ucb'] as const)
    expect(await preselect(eight, 8, options(selection), context)).toEqual({ kept: eight, eliminated: [] })
  expect(asked).toEqual([])
})

describe('halving', () => {
  test('the worse half goes after each block, until as few are left as are wanted', async () => {
    const { context, asked } = contextOf(id => id, 8)
    const { kept, eliminated } = await preselect(eight, 2, options('halving'), context)
    expect(asked.map(({ ids }) => ids)).toEqual([
      [7, 3, 5, 1, 6, 0, 4, 2],
      [0, 1, 2, 3],
    ])
    expect(idsOf(kept)).toEqual([0, 1])
    expect(kept[0]).toEqual(of(0))
    expect(idsOf(eliminated)).toEqual([2, 3, 4, 5, 6, 7])
    expect(eliminated.map(({ questions }) => questions)).toEqual([4, 4, 2, 2, 2, 2])
    for (const { rowLosses, questions } of eliminated) expect(rowLosses).toHaveLength(questions)
  })

  test('of three wanted none of the best three goes; an odd half is rounded up', async () => {
    const { context, asked } = contextOf(id => id, 8)
    const { kept } = await preselect(eight.slice(0, 7), 3, options('halving'), context)
    expect(idsOf(kept)).toEqual([0, 1, 3])
    expect(asked.map(({ ids }) => ids.length)).toEqual([7, 4])
  })

  test('with blocks that run out the best so far are kept', async () => {
    const { context, asked } = contextOf(id => id, 8)
    const { kept, eliminated } = await preselect(eight, 1, options('halving', { blocks: 2 }), context)
    expect(asked.map(({ ids }) => ids.length)).toEqual([8, 4])
    expect(idsOf(kept)).toEqual([0])
    expect(eliminated).toHaveLength(7)
  })

  test('a later block may turn the order round: losses are means over all questions', async () => {
    // The prompt 0 is best on the questions of the first block, and by far the worst on the others.
    const first = contextOf(id => id, 8)
    await preselect(eight, 1, options('halving', { blocks: 2 }), first.context)
    const early = new Set(first.asked[0]!.rows)
    const { context } = contextOf((id, row) => (id === 0 && !early.has(row) ? 50 : id), 8)
    const { kept, eliminated } = await preselect(eight, 1, options('halving', { blocks: 2 }), context)
    expect(idsOf(kept)).toEqual([1])
    expect(eliminated.find(({ ids }) => ids[0] === 0)!.loss).toBe(25)
  })
})

describe('blocks of questions', () => {
  test('hold each question once, in the order of the rows, drawn anew for each step', async () => {
    const drawn = new Set<string>()
    for (const step of [0, 1, 2, 3]) {
      const { context, asked } = contextOf(() => 1, 10, step)
      await preselect(eight, 1, options('ucb', { exploration: 1 }), context)
      const blocks = [...new Map(asked.map(({ rows }) => [rows.join(), rows])).values()]
      for (const rows of blocks) expect(rows).toEqual([...rows].sort((a, b) => a - b))
      // Ten questions in four blocks: three at a time, and one at last.
      expect(blocks.every(({ length }) => length === 3 || length === 1)).toBe(true)
      expect(new Set(blocks.flat()).size).toBe(blocks.flat().length)
      drawn.add(blocks[0]!.join())
    }
    expect(drawn.size).toBeGreaterThan(1)
  })

  test('of several sizes weigh as many questions as they have', async () => {
    const first = contextOf(() => 0, 5)
    await preselect(eight, 1, options('halving', { blocks: 2 }), first.context)
    const early = new Set(first.asked[0]!.rows)
    expect(early.size).toBe(3)
    const { context } = contextOf((id, row) => (early.has(row) ? id : id + 1), 5)
    const { eliminated } = await preselect(eight, 1, options('halving', { blocks: 2 }), context)
    const one = eliminated.find(({ ids }) => ids[0] === 1)!
    expect(one.loss).toBeCloseTo(1 + 2 / 5, 12)
    expect(one).toMatchObject({ questions: 5, exact: true, swaps: of(1).swaps })
    expect(one.exactRows).toBeCloseTo(0.1, 12)
    expect(eliminated.find(({ ids }) => ids[0] === 2)!.exact).toBe(false)
  })
})

test('a prompt counts as exact where it is in all blocks', async () => {
  const { context } = contextOf(id => id, 8)
  let block = 0
  const score = (prompts: number[][], rows: { index: number }[]) => {
    const exact = block++ === 0
    return Promise.resolve(
      prompts.map(([id]) => ({ loss: id!, rowLosses: rows.map(() => id!), exact: exact || id === 3, exactRows: 0 })),
    )
  }
  const own = { ...context, objective: { score } } as unknown as SearchContext
  const { eliminated } = await preselect(eight, 2, options('halving'), own)
  const exact = new Map(eliminated.map(({ ids, exact }) => [ids[0], exact]))
  expect([exact.get(2), exact.get(3), exact.get(7)]).toEqual([false, true, true])
})

describe('a bandit', () => {
  test('without exploration asks on about those that are best, for half of what all would take', async () => {
    const { context, asked } = contextOf(id => id, 8)
    const { kept, eliminated } = await preselect(eight, 2, options('ucb'), context)
    // Eight blocks of 32 for a look at all, four times two for the best, until sixteen are spent; two have then been asked all.
    expect(asked.map(({ ids }) => ids)).toEqual([
      [7, 3, 5, 1, 6, 0, 4, 2],
      [0, 1],
      [0, 1],
      [0, 1],
      [2, 3],
    ])
    expect(idsOf(kept)).toEqual([0, 1])
    expect(eliminated.map(({ questions }) => questions)).toEqual([4, 4, 2, 2, 2, 2])
  })

  test('that explores a lot asks about all alike', async () => {
    const { context, asked } = contextOf(id => id, 8)
    await preselect(eight, 2, options('ucb', { exploration: 100 }), context)
    expect(asked.map(({ ids }) => ids)).toEqual([
      [7, 3, 5, 1, 6, 0, 4, 2],
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ])
  })

  test('weighs a loss against how little is known by exploration times sqrt(log n / own)', async () => {
    // After nine pulls: 0 is known by two blocks, 1 by one; they are level where 1 - 0 = e * (sqrt(log 9) - sqrt(log 9 / 2)).
    const level = 1 / (Math.sqrt(Math.log(9)) - Math.sqrt(Math.log(9) / 2))
    for (const [exploration, next] of [
      [level * 0.98, 0],
      [level * 1.02, 1],
    ] as const) {
      const { context, asked } = contextOf(id => id, 8)
      await preselect(eight, 1, options('ucb', { exploration }), context)
      expect([asked[1]!.ids, asked[2]!.ids]).toEqual([[0], [next]])
    }
  })

  test('scores prompts of the same block together, and each on its own next one', async () => {
    // Only one block of two: all have been asked all before half is spent.
    const { context, asked } = contextOf(id => id, 2)
    const { kept } = await preselect(eight, 3, options('ucb', { blocks: 1 }), context)
    expect(asked).toHaveLength(1)
    expect(idsOf(kept)).toEqual([0, 1, 2])
    const wide = contextOf(id => id, 8)
    await preselect(eight, 3, options('ucb', { blocks: 4, exploration: 2.5 }), wide.context)
    const seen = new Map<number, string[]>()
    for (const { ids, rows } of wide.asked) for (const id of ids) seen.set(id, [...(seen.get(id) ?? []), rows.join()])
    // Nobody is asked the same block twice, and all begin with the same ones.
    const orders = [...seen.values()].sort((a, b) => b.length - a.length)
    for (const blocks of orders) {
      expect(new Set(blocks).size).toBe(blocks.length)
      expect(orders[0]!.slice(0, blocks.length)).toEqual(blocks)
    }
  })
})

test('options: four blocks, and an exploration of a half', () => {
  const schema = z.strictObject({ selection: z.enum(selections), ...selectionOptions })
  expect(schema.parse({ selection: 'ucb' })).toEqual({ selection: 'ucb', blocks: 4, exploration: 0.5 })
  expect(selections).toEqual(['all', 'halving', 'ucb'])
  expect(schema.safeParse({ selection: 'all', blocks: 0 }).success).toBe(false)
  expect(schema.safeParse({ selection: 'all', exploration: -1 }).success).toBe(false)
  expect(schema.parse({ selection: 'all', blocks: 1, exploration: 0 })).toMatchObject({ blocks: 1, exploration: 0 })
})
