import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bootstrap, wilsonInterval } from '../../src/evaluate/intervals.js'

describe('wilsonInterval', () => {
  // The roots of (p - k/n)^2 = z^2 p (1 - p) / n, solved in decimal arithmetic.
  test.each([
    [0, 10, 0, 0.277532799863],
    [1, 10, 0.017876213095, 0.404150026795],
    [5, 10, 0.236593090513, 0.763406909487],
    [81, 263, 0.255288519878, 0.366209576983],
    [777, 872, 0.868634340531, 0.910045400114],
    [10, 10, 0.722467200137, 1],
  ])('%d of %d', (successes, count, low, high) => {
    const interval = wilsonInterval(successes, count)
    expect(interval.low).toBeCloseTo(low, 11)
    expect(interval.high).toBeCloseTo(high, 11)
  })

  test('contains the proportion, lies in [0, 1], mirrors, and narrows with more rows', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }), (count, share) => {
        const successes = Math.round(share * count)
        const { low, high } = wilsonInterval(successes, count)
        expect(low).toBeGreaterThanOrEqual(0)
        expect(high).toBeLessThanOrEqual(1)
        expect(low).toBeLessThanOrEqual(successes / count)
        expect(high).toBeGreaterThanOrEqual(successes / count)
        const mirrored = wilsonInterval(count - successes, count)
        expect(mirrored.low).toBeCloseTo(1 - high, 12)
        const more = wilsonInterval(successes * 4, count * 4)
        expect(more.high - more.low).toBeLessThan(high - low)
      }),
    )
  })

  test('refuses what is no proportion', () => {
    expect(() => wilsonInterval(0, 0)).toThrow(RangeError)
    expect(() => wilsonInterval(3, 2)).toThrow(RangeError)
  })
})

describe('bootstrap', () => {
  const meanOf = (values: number[]) => (rows: Int32Array) => rows.reduce((sum, row) => sum + values[row]!, 0) / rows.length

  test('of a mean comes close to the normal interval', () => {
    const values = Array.from({ length: 900 }, (_, i) => Math.sin(i * 12.9898) * 3 + 1)
    const { mean } = bootstrap(900, { mean: meanOf(values) }, { seed: 7 })
    const average = meanOf(values)(Int32Array.from(values.keys()))
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - average) ** 2, 0) / 900 / 900)
    expect(mean.value).toBe(average)
    expect(mean.low).toBeCloseTo(average - 1.96 * deviation, 1)
    expect(mean.high).toBeCloseTo(average + 1.96 * deviation, 1)
    expect((mean.high - mean.low) / (2 * 1.96 * deviation)).toBeGreaterThan(0.9)
    expect((mean.high - mean.low) / (2 * 1.96 * deviation)).toBeLessThan(1.1)
  })

  test('covers the true mean about 95 times in a hundred', () => {
    let covered = 0
    for (let trial = 0; trial < 200; trial++) {
      let state = trial * 7919 + 1
      const random = () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        return state / 2 ** 32
      }
      for (let i = 0; i < 10; i++) random()
      const values = Array.from({ length: 60 }, random)
      const { mean } = bootstrap(60, { mean: meanOf(values) }, { seed: trial, resamples: 400 })
      if (mean.low <= 0.5 && mean.high >= 0.5) covered++
    }
    expect(covered).toBeGreaterThan(200 * 0.88)
    expect(covered).toBeLessThan(200)
  })

  test('contains the value, is the same for a seed, and has no width for equal rows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 40 }),
        fc.integer(),
        (values, seed) => {
          const statistics = {
            mean: meanOf(values),
            highest: (rows: Int32Array) => Math.max(...Array.from(rows, row => values[row]!)),
          }
          const result = bootstrap(values.length, statistics, { seed, resamples: 50 })
          for (const { value, low, high } of Object.values(result)) {
            expect(low).toBeLessThanOrEqual(value)
            expect(high).toBeGreaterThanOrEqual(value)
          }
          expect(bootstrap(values.length, statistics, { seed, resamples: 50 })).toEqual(result)
          const constant = bootstrap(values.length, { mean: meanOf(values.map(() => 2)) }, { seed, resamples: 50 })
          expect(constant.mean).toEqual({ value: 2, low: 2, high: 2 })
        },
      ),
      { numRuns: 50 },
    )
  })

  test('seeds differ', () => {
    const statistics = { mean: meanOf(Array.from({ length: 50 }, (_, i) => i)) }
    expect(bootstrap(50, statistics, { seed: 1 })).not.toEqual(bootstrap(50, statistics, { seed: 2 }))
  })
})
