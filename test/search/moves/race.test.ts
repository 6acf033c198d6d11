import { expect, test } from 'vitest'
import type { SearchContext } from '../../../src/search/moves/method.js'
import { race } from '../../../src/search/moves/race.js'

/** Losses by prompt, and what is asked: the questions of each call, and the prompts. */
function contextOf(losses: Readonly<Record<number, number>>, questions: number, step = 0, seed = 1) {
  const asked: { ids: number[]; rows: number[] }[] = []
  const context = {
    rows: Array.from({ length: questions }, (_, index) => ({ index })),
    seed,
    step,
    objective: {
      score(prompts: number[][], rows: { index: number }[]) {
        asked.push({ ids: prompts.map(([id]) => id!), rows: rows.map(({ index }) => index) })
        return Promise.resolve(prompts.map(([id]) => ({ loss: losses[id!]!, rowLosses: [], exact: false, exactRows: 0 })))
      },
    },
  } as unknown as SearchContext
  return { context, asked }
}

const of = (id: number, gradientScore?: number) => ({
  ids: [id],
  swaps: [],
  ...(gradientScore !== undefined && { gradientScore }),
})
const current = { ...of(0), loss: 0.5, rowLosses: [], exact: false, exactRows: 0 }
const losses = { 0: 0.5, 1: 0.9, 2: 0.5, 3: 0.4, 4: 0.1, 5: 0.3, 6: 0.2 }

test('after each block what is no better than the prompt goes, and the worse half', async () => {
  const { context, asked } = contextOf(losses, 9)
  const { finalists, eliminated } = await race(
    current,
    [1, 2, 3, 4, 5, 6].map(id => of(id, id / 10)),
    3,
    context,
  )
  // Of six three stay, of three two; the third block is for whoever scores the finalists.
  expect(asked.map(({ ids }) => ids)).toEqual([
    [0, 1, 2, 3, 4, 5, 6],
    [0, 4, 6, 5],
  ])
  expect(finalists).toEqual([of(4, 0.4), of(6, 0.6)])
  expect(eliminated.map(({ ids, questions }) => [ids[0], questions])).toEqual([
    [3, 3],
    [2, 3],
    [1, 3],
    [5, 6],
  ])
  // A block's questions are added to those before, in the order of the rows.
  const [first, second] = asked.map(({ rows }) => rows)
  expect(second).toEqual(expect.arrayContaining(first!))
  expect(second).toHaveLength(6)
  for (const rows of [first!, second!]) expect(rows).toEqual([...rows].sort((a, b) => a - b))
})

test('the questions are drawn anew for each step', async () => {
  const drawn = await Promise.all(
    [0, 1, 2, 3].map(async step => {
      const { context, asked } = contextOf(losses, 12, step)
      await race(current, [of(4)], 4, context)
      return asked[0]!.rows.join()
    }),
  )
  expect(new Set(drawn).size).toBeGreaterThan(1)
})

test('what is only as good as the prompt goes; with nobody left nothing more is asked', async () => {
  const { context, asked } = contextOf(losses, 9)
  const { finalists, eliminated } = await race(current, [of(2), of(1)], 3, context)
  expect(finalists).toEqual([])
  expect(eliminated.map(({ ids }) => ids[0])).toEqual([2, 1])
  expect(asked).toHaveLength(1)
})

test('one block is no race; a candidate without a gradient score gets none', async () => {
  const { context, asked } = contextOf(losses, 5)
  expect(await race(current, [of(1), of(2)], 1, context)).toEqual({ finalists: [of(1), of(2)], eliminated: [] })
  expect(asked).toEqual([])
  const { finalists } = await race(current, [of(4)], 2, context)
  expect('gradientScore' in finalists[0]!).toBe(false)
  // Half of five questions, rounded up.
  expect(asked[0]!.rows).toHaveLength(3)
})
