import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { search } from '../../src/api/search.js'
import { multipliesBytes } from '../../src/program/byte-products.js'
import type { SearchContext } from '../../src/search/moves/method.js'
import { screened } from '../../src/search/moves/screening.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import type { Candidate } from '../../src/search/space/candidates.js'
import { ownCache } from '../support/cache.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch } from './toy.js'

ownCache()

vi.mock('../../src/program/byte-products.js', async original => {
  const actual = await original<typeof import('../../src/program/byte-products.js')>()
  return { multipliesBytes: vi.fn(actual.multipliesBytes) }
})

const candidate = (id: number): Candidate => ({ ids: [id], swaps: [] })
const given = [4, 2, 9, 1, 7, 3].map(candidate)

/** Losses are the ids; guesses are off by what `guess` says, and ids above 8 do not read back. */
function contextOf(guess: ((id: number) => number) | undefined) {
  const scored: number[][] = []
  const context = {
    readsBack: ([id]: readonly number[]) => id! <= 8,
    guess: async (candidates: readonly Candidate[]) => guess && candidates.map(({ ids: [id] }) => guess(id!)),
    score: async (candidates: readonly Candidate[]) => {
      scored.push(candidates.map(({ ids: [id] }) => id!))
      return candidates.map(one => ({ ...one, loss: one.ids[0]! })).sort((a, b) => a.loss - b.loss)
    },
  } as unknown as SearchContext
  return { context, scored }
}

describe('screening', () => {
  test('scores exactly what looks best, and says which of it is', async () => {
    const { context, scored } = contextOf(id => (id === 1 ? 2.5 : id))
    const found = await screened(context, given, 2)
    expect(scored).toEqual([[2, 1, 3]])
    expect(found.map(({ ids: [id] }) => id)).toEqual([1, 2, 3])
  })

  test('scores all that read back where nothing is to be gained', async () => {
    for (const [guess, reduction] of [
      [undefined, 2],
      [(id: number) => id, 1],
    ] as const) {
      const { context, scored } = contextOf(guess)
      await screened(context, given, reduction)
      expect(scored).toEqual([[4, 2, 1, 7, 3]])
    }
  })

  test('leaves it to the scores to say that nothing reads back', async () => {
    const { context, scored } = contextOf(id => id)
    await screened(context, [candidate(9)], 2)
    expect(scored).toEqual([[9]])
  })
})

describe.runIf(await multipliesBytes())('in a search', () => {
  let folder: string
  let remove: () => void
  beforeEach(() => ({ folder, remove } = temporaryFolder()))
  afterEach(() => remove())

  const run = async (out: string, screening: number, exact: boolean) => {
    vi.mocked(multipliesBytes).mockResolvedValue(exact)
    const steps: SearchStepEvent[] = []
    const onEvent = (event: SearchEvent) => {
      if (event.event === 'step') steps.push(event)
    }
    const options = { type: 'gcg', vocabulary: 'ascii', searchWidth: 40, topk: 20, steps: 4, screening }
    await search(toySearch(folder, { out: join(folder, out), search: options }), { onEvent })
    return steps
  }

  test('goes nearly the way of the whole search by far fewer exact scores; and all of it elsewhere', async () => {
    const whole = await run('whole', 1, true)
    const screened = await run('screened', 4, true)
    for (const [i, { candidates }] of screened.entries()) {
      expect(candidates).toBeLessThanOrEqual(10)
      expect(whole[i]!.candidates).toBeGreaterThan(20)
    }
    expect(screened[0]!.objective).toBeLessThan(whole[0]!.objective * 1.05)
    const elsewhere = await run('elsewhere', 4, false)
    expect(elsewhere.map(({ ids }) => ids)).toEqual(whole.map(({ ids }) => ids))
  })
})
