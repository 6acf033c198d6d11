import { expect, test } from 'vitest'
import { beginning, outcomeOf, ranked } from '../../../src/search/moves/beam.js'
import type { ScoredCandidate } from '../../../src/search/moves/method.js'
import { contextOf } from '../support/context.js'

const costs = [[0.5, 0.2, 0.9, 0.5, 0.7]]
const fresh = (id: number) => ({ ids: [id], swaps: [{ position: 0, from: 0, to: id }] })
const kept = (id: number, loss: number | null) => ({ ids: [id], loss })

test('a beam begins with the first prompt, whose loss nobody knows', () => {
  expect(beginning(contextOf({ costs, start: [3] }).context)).toEqual([{ ids: [3], loss: null }])
})

test('prompts that are kept are scored where their losses are unknown, and all are ranked', async () => {
  const { context, scored } = contextOf({ costs, start: [0] })
  const { beam, scored: reported } = await ranked([kept(4, 0.1), kept(2, null)], [fresh(1), fresh(0)], context)
  expect(scored).toEqual([[[2], [1], [0]]])
  // The loss that was known stays, though it would be another now.
  expect(beam).toEqual([kept(4, 0.1), kept(1, 0.2), kept(0, 0.5), kept(2, 0.9)])
  expect(reported.map(({ ids }) => ids)).toEqual([[1], [0]])
})

test('over batches of questions all are scored anew', async () => {
  const { context, scored } = contextOf({ costs, start: [0], isBatched: true })
  const { beam } = await ranked([kept(4, 0.1), kept(2, null)], [fresh(1)], context)
  expect(scored).toEqual([[[4], [2], [1]]])
  expect(beam).toEqual([kept(1, 0.2), kept(4, 0.7), kept(2, 0.9)])
})

test('kept ones come before new ones of the same loss, and what does not read back is left out', async () => {
  const { context } = contextOf({ costs, start: [0], readsBack: ([id]) => id !== 2 })
  const { beam } = await ranked([kept(3, 0.5)], [fresh(0), fresh(2)], context)
  expect(beam).toEqual([kept(3, 0.5), kept(0, 0.5)])
})

test('longer prompts are told apart by all of their tokens', async () => {
  const two = [
    [0, 0.3, 0.6],
    [0, 0.1, 0.2],
  ]
  const { context } = contextOf({ costs: two, start: [0, 0] })
  const pair = (ids: number[]) => ({ ids, swaps: [{ position: 0, from: 0, to: ids[0]! }] })
  const { beam } = await ranked([], [pair([1, 2]), pair([2, 1])], context)
  expect(beam.map(({ ids, loss }) => [ids, Number(loss.toFixed(6))])).toEqual([
    [[1, 2], 0.5],
    [[2, 1], 0.7],
  ])
})

test('a step says which of what was scored it came to, if any', () => {
  const scored = [1, 12].map((id): ScoredCandidate => ({ ...fresh(id), loss: id, rowLosses: [id], exact: false, exactRows: 0 }))
  const outcome = outcomeOf({ beam: 7 }, { ids: [12], loss: 12 }, scored, [], { asks: 3 })
  expect(outcome).toEqual({
    ...{ state: { beam: 7 }, prompt: [12], objective: 12, candidates: scored, eliminated: [], figures: { asks: 3 }, done: false },
    accepted: scored[1],
  })
  const stayed = outcomeOf({}, { ids: [1, 2], loss: 0 }, scored, [], {}, true)
  expect(stayed.done).toBe(true)
  expect('accepted' in stayed).toBe(false)
})
