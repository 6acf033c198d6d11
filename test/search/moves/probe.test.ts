import { expect, test } from 'vitest'
import { probed, probeOption } from '../../../src/search/moves/probe.js'
import { type Candidate, substituted } from '../../../src/search/space/candidates.js'
import { contextOf } from '../support/context.js'

const count = 24
// The cost of a token is its id: the more, the worse.
const costs = [Array.from({ length: 40 }, (_, id) => id)]
const candidates = Array.from({ length: count }, (_, i): Candidate => substituted([39], [{ position: 0, to: (i * 7) % count }]))

function run(
  guess: (id: number) => number,
  options: { samplingFactor: number; reduction: number },
  given: readonly Candidate[] = candidates,
) {
  let computedTokens = 100
  const asked: number[][] = []
  const draft = {
    get computedTokens() {
      return computedTokens
    },
    score(prompts: readonly (readonly number[])[]) {
      computedTokens += prompts.length
      asked.push(prompts.map(([id]) => id!))
      return Promise.resolve(prompts.map(([id]) => guess(id!)))
    },
  }
  const { context, scored } = contextOf({ costs, start: [39], readsBack: ([id]) => id! < 30 }, { draft })
  return probed(context, given, { draft: 'x', ...options }).then(outcome => ({
    ...outcome,
    asked,
    calls: scored.map(ids => ids.map(([id]) => id!)),
  }))
}

test('a draft that agrees: a random few, and its best one', async () => {
  const { scored, figures, asked, calls } = await run(id => id * 3, { samplingFactor: 4, reduction: 2 })
  expect(asked).toEqual([candidates.map(({ ids: [id] }) => id)])
  expect(figures).toEqual({ agreement: 1, filtered: 1, draftTokens: count })
  expect(calls[0]).toHaveLength(6)
  expect(calls[1]).toEqual(calls[0]!.includes(0) ? [] : [0])
  expect(scored[0]!.ids).toEqual([0])
  const losses = scored.map(({ loss }) => loss)
  expect(losses).toEqual([...losses].sort((a, b) => a - b))
})

test('a draft that says the contrary: as many of its best as the reduction leaves, none of them twice', async () => {
  const { scored, figures, calls } = await run(id => -id, { samplingFactor: 4, reduction: 2 })
  expect(figures).toEqual({ agreement: 0, filtered: 12, draftTokens: count })
  const few = calls[0]!
  const best = Array.from({ length: 12 }, (_, i) => count - 1 - i).filter(id => !few.includes(id))
  expect(calls[1]).toEqual(best)
  expect(scored).toHaveLength(6 + best.length)
  const losses = scored.map(({ loss }) => loss)
  expect(losses).toEqual([...losses].sort((a, b) => a - b))
})

test('a draft that tells nothing apart counts as half an agreement, and its first go on', async () => {
  const { figures, calls } = await run(() => 1, { samplingFactor: 100, reduction: 3 })
  expect(figures).toEqual({ agreement: 0.5, filtered: 4, draftTokens: count })
  // Two are the least that say anything.
  expect(calls[0]).toHaveLength(2)
  const first = candidates.slice(0, 4).map(({ ids: [id] }) => id!)
  expect(calls[1]).toEqual(first.filter(id => !calls[0]!.includes(id)))
})

test('never more than there are, and those that do not read back are left out', async () => {
  const few = [5, 35, 3, 4].map(to => substituted([39], [{ position: 0, to }]))
  const { figures, asked, calls } = await run(id => -id, { samplingFactor: 1, reduction: 0.1 }, few)
  expect(asked).toEqual([[5, 3, 4]])
  expect(figures.filtered).toBe(3)
  expect([...calls[0]!].sort()).toEqual([3, 4, 5])
  expect(calls[1]).toEqual([])
})

test('with nothing that reads back the draft is not asked', async () => {
  const { scored, figures, asked, calls } = await run(id => id, { samplingFactor: 2, reduction: 2 }, [
    substituted([39], [{ position: 0, to: 35 }]),
  ])
  expect([scored, figures, asked, calls]).toEqual([[], {}, [], [[]]])
})

test('options: one of 16 tells, and an eighth goes on', () => {
  expect(probeOption.parse({ draft: 'm' })).toEqual({ draft: 'm', samplingFactor: 16, reduction: 8 })
  for (const wrong of [
    { draft: '' },
    { draft: 'm', samplingFactor: 0.5 },
    { draft: 'm', reduction: 0 },
    {},
    { draft: 'm', x: 1 },
  ])
    expect(probeOption.safeParse(wrong).success).toBe(false)
  expect(probeOption.parse({ draft: 'm', samplingFactor: 1, reduction: 0.5 }).samplingFactor).toBe(1)
})
