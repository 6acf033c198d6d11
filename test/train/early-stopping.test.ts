import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEarlyStopping, metricMode } from '../../src/train/early-stopping.js'

describe('early stopping', () => {
  test('keeps the first of equal bests and stops when the patience is used up', () => {
    const stopping = createEarlyStopping({ metric: 'accuracy', patience: 2 })
    expect(stopping.update(10, 0.7)).toEqual({ improved: true, stop: false })
    expect(stopping.update(20, 0.7)).toEqual({ improved: false, stop: false })
    expect(stopping.update(30, 0.6)).toEqual({ improved: false, stop: true })
    expect(stopping.state).toEqual({ best: 0.7, bestStep: 10, reference: 0.7, waited: 2 })
  })

  test('less is better for a loss', () => {
    expect(['loss', 'perplexity', 'calibrationError'].map(metricMode)).toEqual(['min', 'min', 'min'])
    expect(['accuracy', 'macroF1', 'logLikelihood'].map(metricMode)).toEqual(['max', 'max', 'max'])
    const stopping = createEarlyStopping({ metric: 'loss', patience: 1 })
    expect(stopping.update(1, 2)).toEqual({ improved: true, stop: false })
    expect(stopping.update(2, 1)).toEqual({ improved: true, stop: false })
    expect(stopping.update(3, 1.5)).toEqual({ improved: false, stop: true })
  })

  test('gains below minDelta are the best, but use up the patience until they add up', () => {
    const stopping = createEarlyStopping({ metric: 'accuracy', patience: 3, minDelta: 0.1 })
    const results = [0.5, 0.56, 0.59, 0.62].map((value, i) => stopping.update(i, value))
    expect(results.every(result => result.improved && !result.stop)).toBe(true)
    expect(stopping.state).toEqual({ best: 0.62, bestStep: 3, reference: 0.62, waited: 0 })
  })

  test('without patience it never stops; NaN never improves', () => {
    const stopping = createEarlyStopping({ metric: 'accuracy' })
    expect(stopping.update(1, Number.NaN)).toEqual({ improved: false, stop: false })
    expect(stopping.state.bestStep).toBeNull()
    for (let step = 2; step < 100; step++) expect(stopping.update(step, -step).stop).toBe(false)
    expect(stopping.state).toMatchObject({ best: -2, bestStep: 2 })
  })

  test('goes on from its state, through JSON, as if never stopped', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 }),
        fc.nat(20),
        fc.constantFrom('loss', 'accuracy'),
        (values, cut, metric) => {
          const options = { metric, patience: 3, minDelta: 0.05 }
          const straight = createEarlyStopping(options)
          let resumed = createEarlyStopping(options)
          values.forEach((value, step) => {
            if (step === cut) resumed = createEarlyStopping(options, JSON.parse(JSON.stringify(resumed.state)))
            expect(resumed.update(step, value)).toEqual(straight.update(step, value))
          })
          const best = metric === 'loss' ? Math.min(...values) : Math.max(...values)
          expect(resumed.state).toMatchObject({ best, bestStep: values.indexOf(best) })
        },
      ),
    )
  })
})
