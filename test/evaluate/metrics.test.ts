import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { calibrationBin, classificationMetrics, type ScoredRow } from '../../src/evaluate/metrics.js'

const labels = ['negative', 'neutral', 'positive']
const log = Math.log

describe('classificationMetrics', () => {
  test('a case worked out by hand', () => {
    const rows: ScoredRow[] = [
      { target: 0, logLikelihoods: [log(0.42), log(0.05), log(0.03)] }, // right, confidence 0.84
      { target: 0, logLikelihoods: [log(0.1), log(0.12), log(0.28)] }, // 2, confidence 0.56
      { target: 1, logLikelihoods: [log(0.2), log(0.65), log(0.15)] }, // right, 0.65
      { target: 2, logLikelihoods: [log(0.02), log(0.02), log(0.96)] }, // right, 0.96
      { target: 2, logLikelihoods: [log(0.02), log(0.96), log(0.02)] }, // 1, 0.96
    ]
    const { metrics, confusion, predictions, rows: count } = classificationMetrics(rows, labels, { seed: 1 })
    expect(predictions).toEqual([0, 2, 1, 2, 1])
    expect(confusion).toEqual([
      [1, 0, 1],
      [0, 1, 0],
      [0, 1, 1],
    ])
    expect(count).toBe(5)
    expect(metrics.accuracy.value).toBe(0.6)
    // F1: 2/3, 2/3, 1/2
    expect(metrics.macroF1.value).toBeCloseTo((2 / 3 + 2 / 3 + 1 / 2) / 3, 12)
    expect(metrics.logLikelihood.value).toBeCloseTo((log(0.42) + log(0.1) + log(0.65) + log(0.96) + log(0.02)) / 5, 12)
    // Bins 0.8, 0.5, 0.6 hold a row each, bin 0.9 two: |1-0.84| + |0-0.56| + |1-0.65| + |1-1.92| over 5.
    expect(metrics.calibrationError.value).toBeCloseTo((0.16 + 0.56 + 0.35 + 0.92) / 5, 12)
  })

  test('a label that does not occur does not lower macro-F1; equal likelihoods go to the first label', () => {
    const sure = (target: number, prediction: number): ScoredRow => ({
      target,
      logLikelihoods: labels.map((_, label) => (label === prediction ? 0 : -50)),
    })
    const perfect = classificationMetrics([sure(0, 0), sure(2, 2)], labels, { seed: 1 })
    expect(perfect.metrics.macroF1).toEqual({ value: 1, low: 1, high: 1 })
    expect(perfect.metrics.accuracy.value).toBe(1)
    expect(perfect.metrics.calibrationError.value).toBeCloseTo(0, 12)
    expect(classificationMetrics([{ target: 1, logLikelihoods: [-1, -1, -1] }], labels, { seed: 1 }).predictions).toEqual([0])
  })

  const row = fc.record({
    target: fc.nat(2),
    logLikelihoods: fc.array(fc.double({ min: -60, max: 0, noNaN: true }), { minLength: 3, maxLength: 3 }),
  })

  test('intervals contain their values and lie where the figure can', () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 30 }), fc.integer(), (rows, seed) => {
        const { metrics, confusion } = classificationMetrics(rows, labels, { seed })
        for (const [name, { value, low, high }] of Object.entries(metrics)) {
          expect(low).toBeLessThanOrEqual(value)
          expect(high).toBeGreaterThanOrEqual(value)
          expect(high).toBeLessThanOrEqual(name === 'logLikelihood' ? 0 : 1)
          if (name !== 'logLikelihood') expect(low).toBeGreaterThanOrEqual(0)
        }
        expect(confusion.flat().reduce((sum, n) => sum + n, 0)).toBe(rows.length)
        expect(confusion.reduce((sum, line, label) => sum + line[label]!, 0) / rows.length).toBeCloseTo(
          metrics.accuracy.value,
          12,
        )
      }),
      { numRuns: 30 },
    )
  })

  test('neither the order of the rows nor that of the labels matters', () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 30 }), rows => {
        const { metrics } = classificationMetrics(rows, labels, { seed: 1 })
        const backwards = classificationMetrics([...rows].reverse(), labels, { seed: 1 }).metrics
        const relabelled = classificationMetrics(
          rows.map(({ target, logLikelihoods }) => ({ target: 2 - target, logLikelihoods: [...logLikelihoods].reverse() })),
          [...labels].reverse(),
          { seed: 1 },
        ).metrics
        for (const name of Object.keys(metrics) as (keyof typeof metrics)[]) {
          expect(backwards[name].value).toBeCloseTo(metrics[name].value, 10)
          // Ties go to the first label, so relabelling is only neutral without them.
          if (rows.every(r => new Set(r.logLikelihoods).size === 3)) {
            expect(relabelled[name].value).toBeCloseTo(metrics[name].value, 10)
          }
        }
      }),
      { numRuns: 30 },
    )
  })

  test('refuses no rows, numbers that are not finite, and rows of other labels', () => {
    const run = (rows: ScoredRow[]) => () => classificationMetrics(rows, labels, { seed: 1 })
    expect(run([])).toThrow(expect.objectContaining({ code: 'no-rows' }))
    expect(run([{ target: 0, logLikelihoods: [-1, Number.NaN, -1] }])).toThrow(
      expect.objectContaining({ code: 'not-finite', message: expect.stringContaining('"neutral" in row 1'), exitCode: 1 }),
    )
    expect(run([{ target: 3, logLikelihoods: [-1, -1, -1] }])).toThrow(RangeError)
    expect(run([{ target: 0, logLikelihoods: [-1, -1] }])).toThrow(RangeError)
  })

  // Not where the code is watched for each of its mutants, which takes longer than it does.
  test.skipIf(process.env.GRADPROMPT_MUTATION_TESTS !== undefined)('a thousand resamples of 2,000 rows take a moment', () => {
    const rows = Array.from({ length: 2000 }, (_, i) => ({
      target: i % 3,
      logLikelihoods: [Math.sin(i) - 2, -2, Math.cos(i) - 2],
    }))
    const start = performance.now()
    classificationMetrics(rows, labels, { seed: 1 })
    expect(performance.now() - start).toBeLessThan(2000)
  })
})

test('what is certain falls into the last bin', () => {
  expect([0, 0.0999, 0.1, 0.95, 1].map(calibrationBin)).toEqual([0, 0, 1, 9, 9])
})
