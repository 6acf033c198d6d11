import { expect, test } from 'vitest'
import { type PositionPolicy, positionAt, positionOption, positionPolicies } from '../../../src/search/moves/positions.js'
import { contextOf } from '../support/context.js'

const free = [1, 2, 4, 7]
const start = [0, 0, 0, 0, 0, 0, 0, 0]
const at = (policy: PositionPolicy, step: number, seed = 1) =>
  positionAt(policy, contextOf({ costs: start.map(() => [0]), start, free, step, seed }).context)
const first = (policy: PositionPolicy, count: number) => Array.from({ length: count }, (_, step) => at(policy, step))

test('left to right: one free position after the other', () => {
  expect(first('left-to-right', 9)).toEqual([...free, ...free, 1])
})

test('permuted: all of them in each pass, each pass in an order of its own', () => {
  const steps = first('permuted', 40)
  const passes = Array.from({ length: 10 }, (_, i) => steps.slice(4 * i, 4 * i + 4))
  for (const pass of passes) expect([...pass].sort()).toEqual(free)
  expect(new Set(passes.map(String)).size).toBeGreaterThan(3)
})

test('random draws a free position, the same for the same seed and step', () => {
  const steps = first('random', 60)
  expect([...new Set(steps)].sort()).toEqual(free)
  expect(first('random', 60)).toEqual(steps)
  // A pass is no permutation.
  expect(new Set(steps.slice(0, 4)).size + new Set(steps.slice(4, 8)).size).toBeLessThan(8)
})

test('the option is one of three, by default random', () => {
  expect(positionOption.parse(undefined)).toBe('random')
  expect(positionPolicies.map(one => positionOption.parse(one))).toEqual(['random', 'permuted', 'left-to-right'])
  expect(positionOption.safeParse('').success).toBe(false)
})
