import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Config } from '../../src/train/config.js'
import { type Schedule, scheduleFactor, totalSteps } from '../../src/train/schedule.js'

const factors = (schedule: Schedule) => Array.from({ length: schedule.steps }, (_, step) => scheduleFactor(schedule, step))

describe('scheduleFactor', () => {
  test('linear: up over the warm-up, then towards 0', () => {
    expect(factors({ schedule: 'linear', warmup: 0.4, steps: 5 })).toEqual([0.5, 1, 1, 2 / 3, 1 / 3])
    expect(factors({ schedule: 'linear', warmup: 2, steps: 5 })).toEqual([0.5, 1, 1, 2 / 3, 1 / 3])
    // 5 % of 50 is 2.5: two steps.
    expect(factors({ schedule: 'linear', warmup: 0.05, steps: 50 }).slice(0, 4)).toEqual([0.5, 1, 1, 47 / 48])
  })

  test('cosine: half a wave after the warm-up', () => {
    const [first, second, third, fourth, fifth] = factors({ schedule: 'cosine', warmup: 1, steps: 5 })
    expect([first, second]).toEqual([1, 1])
    expect(third).toBeCloseTo(0.5 * (1 + Math.SQRT1_2), 12)
    expect(fourth).toBeCloseTo(0.5, 12)
    expect(fifth).toBeCloseTo(0.5 * (1 - Math.SQRT1_2), 12)
  })

  test('constant: warms up only when asked to', () => {
    expect(factors({ schedule: 'constant', warmup: 0, steps: 3 })).toEqual([1, 1, 1])
    expect(factors({ schedule: 'constant', warmup: 2, steps: 4 })).toEqual([0.5, 1, 1, 1])
  })

  test('stays between 0 and 1, never rises after the warm-up, and is 0 beyond the end', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('linear' as const, 'cosine' as const),
        fc.oneof(fc.double({ min: 0, max: 0.9, noNaN: true }), fc.integer({ min: 1, max: 300 })),
        fc.integer({ min: 1, max: 300 }),
        (schedule, warmup, steps) => {
          const all = factors({ schedule, warmup, steps })
          const peak = all.indexOf(Math.max(...all))
          all.forEach((factor, step) => {
            expect(factor).toBeGreaterThan(0)
            expect(factor).toBeLessThanOrEqual(1)
            if (step > peak) expect(factor).toBeLessThanOrEqual(all[step - 1]!)
          })
          if (warmup < steps) expect(scheduleFactor({ schedule, warmup, steps }, steps)).toBe(0)
        },
      ),
    )
  })
})

test('a constant rate without a warm-up is the whole rate from the first step, however long the run', () => {
  expect(scheduleFactor({ schedule: 'constant', warmup: 0, steps: 100 }, 0)).toBe(1)
  expect(scheduleFactor({ schedule: 'constant', warmup: 0.1, steps: 100 }, 0)).toBe(0.1)
  expect(scheduleFactor({ schedule: 'constant', warmup: 0.1, steps: 100 }, 500)).toBe(1)
})

test('without a warm-up a line and a cosine fall from the second step on', () => {
  expect(factors({ schedule: 'linear', warmup: 0, steps: 5 })).toEqual([1, 1, 0.75, 0.5, 0.25])
  expect(scheduleFactor({ schedule: 'cosine', warmup: 0, steps: 5 }, 3)).toBeCloseTo(0.5, 12)
})

test('far beyond the end the rate stays 0', () => {
  for (const schedule of ['linear', 'cosine'] as const) {
    expect(scheduleFactor({ schedule, warmup: 0.1, steps: 10 }, 10)).toBe(0)
    expect(scheduleFactor({ schedule, warmup: 0.1, steps: 10 }, 15)).toBe(0)
  }
})

test('steps of a run: as many as are asked for, or as its epochs have', () => {
  const of = (train: Partial<Config['train']>, rows: number) => totalSteps(train as Config['train'], rows)
  expect(of({ steps: 7, epochs: 3, batchSize: 4, accumulate: 1 }, 40)).toBe(7)
  expect(of({ batchSize: 4, accumulate: 1 }, 40)).toBe(10)
  // 43 rows are ten batches; three epochs of them are 30, of which four make a step.
  expect(of({ epochs: 3, batchSize: 4, accumulate: 4 }, 43)).toBe(8)
  expect(of({ epochs: 1, batchSize: 8, accumulate: 4 }, 3)).toBe(1)
  expect(of({ epochs: 0, batchSize: 8, accumulate: 4 }, 30)).toBe(1)
})
