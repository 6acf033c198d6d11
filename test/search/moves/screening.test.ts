import { expect, test } from 'vitest'
import type { SearchContext } from '../../../src/search/moves/method.js'
import { screened } from '../../../src/search/moves/screening.js'
import type { Candidate } from '../../../src/search/space/candidates.js'

const candidate = (id: number): Candidate => ({ ids: [id], swaps: [] })
const given = [4, 2, 9, 1, 7, 3].map(candidate)

/** Losses are the ids; guesses are off by what `guess` says, and ids above 8 do not read back. */
function contextOf(guess: ((id: number) => number) | undefined) {
  const scored: number[][] = []
  let guesses = 0
  const context = {
    readsBack: ([id]: readonly number[]) => id! <= 8,
    guess: (candidates: readonly Candidate[]) => {
      guesses++
      return Promise.resolve(guess && candidates.map(({ ids: [id] }) => guess(id!)))
    },
    score: (candidates: readonly Candidate[]) => {
      scored.push(candidates.map(({ ids: [id] }) => id!))
      return Promise.resolve(candidates.map(one => ({ ...one, loss: one.ids[0]! })).sort((a, b) => a.loss - b.loss))
    },
  } as unknown as SearchContext
  return { context, scored, guesses: () => guesses }
}

test('scores exactly what looks best, and says which of it is', async () => {
  const { context, scored } = contextOf(id => (id === 1 ? 2.5 : id))
  const found = await screened(context, given, 2)
  expect(scored).toEqual([[2, 1, 3]])
  expect(found.map(({ ids: [id] }) => id)).toEqual([1, 2, 3])
})

test('of equal guesses the earlier go on', async () => {
  const { context, scored } = contextOf(() => 0)
  await screened(context, given, 2.5)
  expect(scored).toEqual([[4, 2]])
})

test('scores all that read back where nothing is to be gained', async () => {
  for (const [guess, reduction, asked] of [
    [undefined, 2, 1],
    [(id: number) => -id, 1, 0],
  ] as const) {
    const { context, scored, guesses } = contextOf(guess)
    await screened(context, given, reduction)
    expect(scored).toEqual([[4, 2, 1, 7, 3]])
    expect(guesses()).toBe(asked)
  }
})

test('leaves it to the scores to say that nothing reads back', async () => {
  const { context, scored } = contextOf(id => id)
  await screened(context, [candidate(9)], 2)
  expect(scored).toEqual([[9]])
})
