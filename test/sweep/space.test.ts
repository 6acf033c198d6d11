import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { promoted, type Runner, stageOf } from '../../src/sweep/halving.js'
import { importanceOf } from '../../src/sweep/importance.js'
import { gridOf } from '../../src/sweep/samplers/grid.js'
import { samplers } from '../../src/sweep/samplers/index.js'
import type { Seen } from '../../src/sweep/samplers/sampler.js'
import { parseConstraint } from '../../src/sweep/space/constraints.js'
import { bestFirst, frontOf } from '../../src/sweep/space/objectives.js'
import { type Parameter, parseSpace, type Values } from '../../src/sweep/space/space.js'
import { configJsonSchema } from '../../src/train/config.js'
import { caught } from './support/caught.js'

const space = (over: Record<string, unknown>): Parameter[] => parseSpace(over as never, configJsonSchema(), 'sweep')
const options = { fixed: () => undefined, allowed: () => true, tried: () => false, seed: 3 }

test('ranges, distributions and lists are drawn as they say', () => {
  const over = space({
    'train.learningRate': { min: 0.001, max: 0.1, log: true },
    'train.batchSize': { min: 2, max: 5, log: false },
    'train.warmup': { mean: 0.1, deviation: 0.05, min: 0, max: 0.5, log: false },
    'train.optimizer': { values: ['adamw', 'adafactor'], weights: [3, 1] },
    'train.beta2': { values: [0.9, 0.99], when: { 'train.optimizer': 'adamw' } },
  })
  const draws = Array.from({ length: 400 }, (_, trial) => samplers.random!.choose({ ...options, space: over, seen: [], trial })!)
  const column = (name: string) => draws.map(values => values[name] as number)
  const rates = column('train.learningRate')
  expect(Math.min(...rates)).toBeGreaterThanOrEqual(0.001)
  expect(Math.max(...rates)).toBeLessThanOrEqual(0.1)
  // On a logarithmic scale half of the draws lie below the geometric middle.
  expect(rates.filter(rate => rate < 0.01).length).toBeGreaterThan(160)
  expect(rates.filter(rate => rate < 0.01).length).toBeLessThan(240)
  const sizes = [2, 3, 4, 5].map(size => column('train.batchSize').filter(drawn => drawn === size).length)
  expect(sizes.reduce((a, b) => a + b)).toBe(400)
  for (const count of sizes) expect(count).toBeGreaterThan(65)
  const adamw = draws.filter(values => values['train.optimizer'] === 'adamw')
  expect(adamw.length).toBeGreaterThan(260)
  expect(adamw.length).toBeLessThan(340)
  for (const values of draws) expect('train.beta2' in values).toBe(values['train.optimizer'] === 'adamw')
  expect(draws[7]).toEqual(samplers.random!.choose({ ...options, space: over, seen: [], trial: 7 }))
})

test('a grid has every combination once, conditions and constraints kept', () => {
  const over = space({
    'train.optimizer': ['adamw', 'adafactor'],
    'train.batchSize': { min: 4, max: 16, step: 4, log: false },
    'train.beta2': { values: [0.9, 0.99], when: { 'train.optimizer': 'adamw' } },
    'train.learningRate': { min: 0.001, max: 0.1, points: 3, log: true },
  })
  const points = gridOf({ ...options, space: over })
  expect(points).toHaveLength(4 * 3 * (2 + 1))
  expect(new Set(points.map(point => JSON.stringify(point))).size).toBe(points.length)
  expect([...new Set(points.map(point => point['train.learningRate']))].sort()).toEqual([0.001, 0.01, 0.1])
  const few = parseConstraint("train.batchSize <= 8 or train.optimizer == 'adafactor'")
  const kept = gridOf({ ...options, space: over, allowed: values => few.holds(name => values[name]) })
  expect(kept).toHaveLength(2 * 3 * 2 + 4 * 3)
})

test.each([
  [{ 'train.learnigRate': [1] }, 'unknown-option', 'did you mean train.learningRate?'],
  [{ 'train.learningRate': { min: 0.1, max: 0.01, log: false } }, 'invalid-config', 'min 0.1, max 0.01'],
  [{ 'train.learningRate': { min: 0, max: 0.1, log: true } }, 'invalid-config', 'min above 0'],
  [{ 'train.batchSize': { min: 1.5, max: 4, log: false } }, 'invalid-config', 'whole numbers'],
  [{ 'train.optimizer': { min: 1, max: 4, log: false } }, 'invalid-config', 'a list of values'],
  [{ 'train.optimizer': ['adamw', 'adamw'] }, 'invalid-config', 'values that differ'],
  [{ method: [{ type: 'dept' }], 'method.type': ['dept'] }, 'invalid-config', 'vary one of the two'],
  [{ 'train.beta2': { values: [0.9], when: { 'train.optimiser': 'adamw' } } }, 'unknown-option', 'train.optimizer'],
  [
    { 'train.optimizer': ['adamw'], 'train.beta2': { values: [0.9], when: { 'train.optimizer': 'adafactor' } } },
    'invalid-config',
    'its condition cannot hold',
  ],
])('%j is refused', (over, code, text) => {
  const error = caught(() => space(over))
  expect(error.code).toBe(code)
  expect(error.format()).toContain(text)
})

test('constraints read as people write them, and refuse what they cannot read', () => {
  const values: Values = { a: 4, 'b.c': 8, kind: 'x' }
  const holds = (text: string) => parseConstraint(text).holds(name => values[name])
  expect(holds('a * b.c <= 32')).toBe(true)
  expect(holds('a + b.c * 2 == 20 and not (a > 5)')).toBe(true)
  expect(holds('a - b.c / 2 - -1 == 1')).toBe(true)
  expect(holds('kind == "y" or a >= 5')).toBe(false)
  // An option that a trial does not have decides nothing.
  expect(holds('gone < 3')).toBe(true)
  expect(holds('gone < 3 and a > 5')).toBe(false)
  for (const text of [
    'a <',
    '(a > 1',
    'a > 1 b',
    '1 < 2',
    'process.exit()',
    'a ; b',
    `${'('.repeat(60)}a > 1`,
    `a > ${'1 + '.repeat(400)}1`,
  ])
    expect(caught(() => parseConstraint(text)).code).toBe('invalid-constraint')
})

test('of two objectives those come first that none beats', () => {
  const trials = [
    [1, 5],
    [2, 2],
    [5, 1],
    [3, 3],
    [6, 6],
  ].map(losses => ({ losses, rung: 0 }))
  expect(frontOf(trials).map(({ losses }) => losses)).toEqual([
    [1, 5],
    [2, 2],
    [5, 1],
  ])
  expect(
    bestFirst(trials)
      .slice(-2)
      .map(({ losses }) => losses),
  ).toEqual([
    [3, 3],
    [6, 6],
  ])
})

test('a halving takes a third of the trials a rung further, whichever comes first', () => {
  const stop = { type: 'halving', min: 10, factor: 3 } as const
  expect(stageOf(stop, 0, 100).rungs).toEqual([10, 30, 90])
  expect(stageOf({ ...stop, type: 'hyperband' }, 0, 100)).toEqual({ bracket: 0, rungs: [10, 30, 90] })
  const brackets = Array.from({ length: 49 }, (_, trial) => stageOf({ ...stop, type: 'hyperband' }, trial, 100).bracket)
  expect(brackets.filter(bracket => bracket === 0)).toHaveLength(27)
  expect(new Set(brackets)).toEqual(new Set([0, 1, 2, 3]))

  // All trials at the first rung, then worked off one after the other: what is spent is what the definition says.
  const losses = [5, 3, 8, 1, 9, 2, 7, 6, 4]
  const runners = losses.map((loss, number): Runner => ({ number, bracket: 0, state: 'stopped', rung: 1, losses: [loss] }))
  const order: number[] = []
  for (;;) {
    const next = promoted(runners, 3)
    if (next === undefined) break
    order.push(next.number)
    const further = [...next.losses, next.losses.at(-1)!]
    runners[next.number] = next.rung < 2 ? { ...next, rung: 2, losses: further } : { ...next, rung: 3, state: 'finished' }
  }
  expect(order).toEqual([3, 5, 1, 3])
  expect(runners.filter(({ state }) => state === 'finished').map(({ number }) => number)).toEqual([3])
})

test('importance finds the option that decides', () => {
  const over = space({ 'train.learningRate': { min: 0, max: 1, log: false }, 'train.batchSize': [1, 2, 4] })
  const trials = Array.from({ length: 60 }, (_, trial) => {
    const values = samplers.random!.choose({ ...options, space: over, seen: [], trial })!
    return { values, loss: (values['train.learningRate'] as number) ** 2 }
  })
  const [first, second] = importanceOf(over, trials)
  expect(first).toMatchObject({ name: 'train.learningRate', trials: 60 })
  expect(first!.share).toBeGreaterThan(0.8)
  expect(second!.share).toBeLessThan(0.1)
})

interface Surface {
  readonly name: string
  readonly options: Readonly<Record<string, readonly (number | string)[]>>
  /** In the order of the options, the last fastest: minus the log-likelihood on dev. */
  readonly losses: readonly number[]
}

const surfaces = JSON.parse(readFileSync('test/fixtures/sweep/surfaces.json', 'utf8')) as Surface[]

test('on surfaces that real runs have made, 30 trials of tpe come nearer to the best than 30 random ones', () => {
  expect(surfaces).toHaveLength(5)
  const regrets = surfaces.map(surface => {
    const over = space(surface.options)
    const lossAt = (values: Values) => {
      let place = 0
      for (const [name, choices] of Object.entries(surface.options))
        place = place * choices.length + choices.indexOf(values[name] as never)
      return surface.losses[place]!
    }
    const best = Math.min(...surface.losses)
    const mean = surface.losses.reduce((a, b) => a + b) / surface.losses.length
    const regret = (strategy: 'random' | 'tpe', seed: number) => {
      const seen: Seen[] = []
      for (let trial = 0; trial < 30; trial++) {
        const known = new Set(seen.map(({ values }) => JSON.stringify(values)))
        const tried = (values: Values) => known.has(JSON.stringify(values))
        const values = samplers[strategy]!.choose({ ...options, space: over, seen, trial, seed, tried })!
        seen.push({ values, losses: [lossAt(values)], rung: 0 })
      }
      return (Math.min(...seen.map(({ losses }) => losses![0]!)) - best) / (mean - best)
    }
    const seeds = Array.from({ length: 8 }, (_, i) => 100 + i)
    const average = (strategy: 'random' | 'tpe') => seeds.reduce((sum, seed) => sum + regret(strategy, seed), 0) / seeds.length
    return { name: surface.name, random: average('random'), tpe: average('tpe') }
  })
  const total = (strategy: 'random' | 'tpe') => regrets.reduce((sum, one) => sum + one[strategy], 0)
  expect(total('tpe'), JSON.stringify(regrets)).toBeLessThan(total('random') / 2)
})
