import { describe, expect, test } from 'vitest'
import { DriftGuard, type DriftPolicy, rankCorrelation, spearman } from '../../../src/search/moves/drift.js'
import type { ScoredCandidate } from '../../../src/search/moves/method.js'
import { type Candidate, substituted } from '../../../src/search/space/candidates.js'
import type { SearchRow, TokenSpace } from '../../../src/search/space/token-space.js'
import { problem } from '../../support/problem.js'

const row = (before: string, after: string, index = 0) => ({ index, text: { before, after } }) as unknown as SearchRow

/** A guard in whose space no prompt reads back that holds a 9, and none with a 7 where `bad` stands before it. */
function guardOf(policy: DriftPolicy, rows = [row('a', 'b')], drifted?: number) {
  const asked: SearchRow[] = []
  const space = {
    startText: ' the start',
    readsBack(ids: readonly number[], own: SearchRow) {
      asked.push(own)
      return !ids.includes(9) && !(ids.includes(7) && own.text.before.endsWith('bad'))
    },
  } as unknown as TokenSpace
  return { guard: new DriftGuard(space, rows, policy, drifted), asked }
}

const moved = (...ids: number[]): Candidate =>
  substituted(
    [0, 0],
    ids.map((to, position) => ({ position, to })),
  )
const same: Candidate = { ids: [9, 9], swaps: [] }

describe('where a prompt is read back', () => {
  test('in two rows whose texts differ about it', () => {
    const rows = [row('x 12345678', 'y'), row('z 12345678', 'y', 1), row('..bad', 'y', 2), row('third', 'y', 3)]
    const { guard, asked } = guardOf('drop', rows)
    expect(guard.readsBack([1])).toBe(true)
    // The first two differ only further away than eight characters; of those the last is asked.
    expect(asked.map(({ index }) => index)).toEqual([1, 2])
    expect(guard.readsBack([7])).toBe(false)
    expect(guard.drifted).toBe(0)
  })

  test('in what follows it too, eight characters far', () => {
    const rows = [row('a', '12345678 x'), row('a', '12345678 y', 1), row('a', '1234567_', 2)]
    const { guard, asked } = guardOf('drop', rows)
    guard.readsBack([1])
    expect(asked.map(({ index }) => index)).toEqual([1, 2])
  })

  test('and counted, if that is asked', () => {
    const { guard } = guardOf('drop', undefined, 3)
    expect([guard.counted([1]), guard.counted([9]), guard.counted([1, 9])]).toEqual([true, false, false])
    expect(guard.drifted).toBe(5)
  })
})

describe('candidates', () => {
  test('drop: those that drift are not scored, whatever the prompt itself does', () => {
    const { guard } = guardOf('drop')
    expect(guard.admitted([same, moved(1, 2), moved(9, 2)])).toEqual({ candidates: [same, moved(1, 2)], penalties: [0, 0] })
    expect(guard.drifted).toBe(1)
  })

  test('allow: they count like every other; penalty: they are dearer', () => {
    const all = [moved(1, 2), moved(9, 2), same]
    const { guard } = guardOf('allow')
    expect(guard.admitted(all)).toEqual({ candidates: all, penalties: [0, 0, 0] })
    expect(guard.drifted).toBe(1)
    expect(guardOf({ penalty: 2 }).guard.admitted(all)).toEqual({ candidates: all, penalties: [0, 2, 0] })
  })

  const barren = (guard: DriftGuard, steps: number) => {
    for (let i = 0; i < steps; i++) guard.admitted([same, moved(9, 9)])
  }

  test('fifty steps in a row without one that reads back end the search', () => {
    const { guard } = guardOf('drop')
    barren(guard, 49)
    const error = problem(() => barren(guard, 1))
    expect(error).toMatchObject({ code: 'all-candidates-drift', exitCode: 1 })
    expect(error.found).toContain('50 prompts around " the start"')
    expect(error.hint).toContain('search.drift')
  })

  test('one that reads back begins the count anew; steps without a move do not count', () => {
    const { guard } = guardOf('drop')
    barren(guard, 49)
    guard.admitted([moved(9, 9), moved(1, 1), moved(9, 1)])
    barren(guard, 49)
    for (let i = 0; i < 60; i++) guard.admitted([same])
    guard.admitted([])
    expect(problem(() => barren(guard, 1)).code).toBe('all-candidates-drift')
  })

  test('only dropping ends a search', () => {
    for (const policy of ['allow', { penalty: 1 }] as const) {
      const { guard } = guardOf(policy)
      barren(guard, 60)
      expect(guard.drifted).toBe(60)
    }
  })
})

describe('changes that are taken over', () => {
  const swaps = [1, 9, 2].map((to, position) => ({ position, to }))

  test('drop: as many as read back together, in their order', () => {
    const { guard } = guardOf('drop')
    expect(guard.settled([0, 0, 0], swaps)).toEqual(substituted([0, 0, 0], [swaps[0]!, swaps[2]!]))
    expect(guard.drifted).toBe(1)
    expect(guard.settled([0, 0], [swaps[0]!]).ids).toEqual([1, 0])
    expect(guard.drifted).toBe(1)
  })

  test('otherwise all', () => {
    const { guard, asked } = guardOf('allow')
    expect(guard.settled([0, 0, 0], swaps).ids).toEqual([1, 9, 2])
    expect(asked).toEqual([])
    expect(guard.drifted).toBe(0)
  })
})

describe('the correlation of ranks', () => {
  test('takes no account of how far values are apart', () => {
    expect(spearman([1, 2, 3, 4], [10, 11, 500, 501])).toBeCloseTo(1, 12)
    expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12)
    expect(spearman([1, 2, 3], [10, 20, 15])).toBeCloseTo(0.5, 12)
    expect(spearman([3, 1, 2], [15, 10, 20])).toBeCloseTo(0.5, 12)
  })

  test('gives ties their mean rank, and says nothing of equal values', () => {
    // scipy.stats.spearmanr([1, 2, 2, 3], [1, 3, 2, 4])
    expect(spearman([1, 2, 2, 3], [1, 3, 2, 4])).toBeCloseTo(0.9486832980505138, 12)
    expect(spearman([1, 1, 1], [10, 20, 15])).toBeNull()
    expect(spearman([10, 20, 15], [2, 2, 2])).toBeNull()
  })

  const of = (gradientScore: number | undefined, loss: number): ScoredCandidate => ({
    ...{ ids: [], swaps: [], loss, rowLosses: [], exact: false, exactRows: 0 },
    ...(gradientScore !== undefined && { gradientScore }),
  })

  test('of gradient scores and losses, where there are three of both', () => {
    expect(rankCorrelation([of(1, 2), of(2, 4), of(undefined, 0), of(3, 9)])).toBeCloseTo(1, 12)
    expect(rankCorrelation([of(1, 9), of(2, 4), of(3, 2)])).toBeCloseTo(-1, 12)
    expect(rankCorrelation([of(1, 2), of(2, 4), of(undefined, 9)])).toBeNull()
  })
})
