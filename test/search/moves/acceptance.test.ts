import { expect, test } from 'vitest'
import { randomGenerator } from '../../../src/random.js'
import { type Acceptance, acceptanceOption, acceptances, accepts, moveAmong } from '../../../src/search/moves/acceptance.js'
import { substituted } from '../../../src/search/space/candidates.js'
import { contextOf } from '../support/context.js'

/** How often a search moves from a loss to another. */
function rate(policy: Acceptance, current: number, candidate: number, { step = 0, steps = 2 } = {}): number {
  const random = randomGenerator(5)
  const count = 4000
  let taken = 0
  for (let i = 0; i < count; i++) if (accepts(policy, current, candidate, { step, steps, random })) taken++
  return taken / count
}

test('better: only what is better; always: whatever comes', () => {
  expect([rate('better', 1, 0.9), rate('better', 1, 1), rate('better', 1, 1.1)]).toEqual([1, 0, 0])
  expect([rate('always', 1, 0.9), rate('always', 1, 1), rate('always', 1, 9)]).toEqual([1, 1, 1])
})

test('annealed: what is worse by d at the temperature T with the probability exp(-d / T), and T falls to 0', () => {
  expect(rate('annealed', 2, 1.5)).toBe(1)
  // The temperature is 1/2 after the first of two steps, and 3/4 after the first of four.
  expect(rate('annealed', 2, 2.5)).toBeCloseTo(Math.exp(-1), 1)
  expect(Math.abs(rate('annealed', 2, 2.5) - Math.exp(-1))).toBeLessThan(0.03)
  expect(Math.abs(rate('annealed', 2, 2.25, { steps: 4 }) - Math.exp(-1 / 3))).toBeLessThan(0.03)
  expect(Math.abs(rate('annealed', 2, 2.25, { step: 2, steps: 4 }) - Math.exp(-1))).toBeLessThan(0.03)
  expect(rate('annealed', 2, 2.001, { step: 3, steps: 4 })).toBe(0)
  expect(rate('annealed', 2, 2, { step: 3, steps: 4 })).toBe(1)
})

test('the option is one of three, by default better', () => {
  expect(acceptanceOption.parse(undefined)).toBe('better')
  expect(acceptances.map(one => acceptanceOption.parse(one))).toEqual(['better', 'always', 'annealed'])
  expect(acceptanceOption.safeParse('').success).toBe(false)
})

const costs = [[0.5, 0.2, 0.9, 0.5]]
const to = (id: number) => substituted([0], [{ position: 0, to: id }], id / 10)

test('a search moves to the best of a step, which is scored beside the prompt itself', async () => {
  const { context, scored } = contextOf({ costs, start: [0] })
  const outcome = await moveAmong(context, [0], [to(2), to(1)], 'better')
  expect(scored).toEqual([[[0], [2], [1]]])
  expect(outcome).toMatchObject({ state: { ids: [1] }, prompt: [1], objective: 0.2, accepted: { ids: [1], gradientScore: 0.1 } })
  expect(outcome.candidates.map(({ ids }) => ids)).toEqual([[1], [2]])
})

test.each([
  ['better', [to(2)], 0, 0.5],
  ['better', [to(3)], 0, 0.5],
  ['always', [to(2)], 2, 0.9],
  ['always', [], 0, 0.5],
] as const)('%s over %j ends at %i', async (policy, candidates, id, loss) => {
  const { context } = contextOf({ costs, start: [0] })
  const outcome = await moveAmong(context, [0], candidates, policy)
  expect(outcome).toMatchObject({ state: { ids: [id] }, prompt: [id], objective: loss })
  expect('accepted' in outcome).toBe(id !== 0)
  expect(outcome.candidates).toHaveLength(candidates.length)
})

test('annealed: how far a search has come decides', async () => {
  const worse = [[0.5, 0.5 + 1e-4]]
  const at = async (step: number) => {
    const { context } = contextOf({ costs: worse, start: [0], step, steps: 1000 })
    return (await moveAmong(context, [0], [to(1)], 'annealed')).prompt
  }
  expect([await at(0), await at(999)]).toEqual([[1], [0]])
})
