import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clipByGlobalNorm, createOptimizer, type OptimizerOptions } from '../../src/train/steps/optimizers.js'

type Arrays = Record<string, number[]>
const fixture = JSON.parse(readFileSync(new URL('../fixtures/train/optimizers.json', import.meta.url), 'utf8')) as {
  shapes: Arrays
  start: Arrays
  gradients: Arrays[]
  cases: {
    name: string
    options: OptimizerOptions
    rates: number[]
    factors: Record<string, number>
    maxNorm: number | null
    norms: number[]
    after: Record<string, Arrays>
  }[]
}
const toMap = (arrays: Arrays) => new Map(Object.entries(arrays).map(([name, values]) => [name, Float32Array.from(values)]))
const parametersOf = (factors: Record<string, number> = {}) =>
  Object.entries(fixture.shapes).map(([name, shape]) => ({ name, shape, learningRateFactor: factors[name] }))

describe('against torch, 30 steps', () => {
  test.each(fixture.cases)('$name', ({ options, rates, factors, maxNorm, norms, after }) => {
    const optimizer = createOptimizer(options, parametersOf(factors))
    const values = toMap(fixture.start)
    rates.forEach((rate, step) => {
      const gradients = toMap(fixture.gradients[step]!)
      if (maxNorm !== null) {
        const norm = clipByGlobalNorm(gradients, maxNorm)
        expect(Math.abs(norm / norms[step]! - 1)).toBeLessThan(1e-6)
      }
      optimizer.step(values, gradients, rate)
      for (const [name, expected] of Object.entries(after[step + 1] ?? {})) {
        const scale = Math.hypot(...expected) / Math.sqrt(expected.length)
        expected.forEach((value, i) => {
          expect(Math.abs(values.get(name)![i]! - value) / Math.max(Math.abs(value), scale)).toBeLessThan(1e-6)
        })
      }
    })
    expect(optimizer.stepCount).toBe(30)
  })
})

test('plain gradient descent does at once what the gradient says, and remembers nothing', () => {
  const optimizer = createOptimizer({ type: 'sgd', weightDecay: 0.5 }, [{ name: 'a', shape: [2], learningRateFactor: 2 }])
  const values = toMap({ a: [1, -2] })
  optimizer.step(values, toMap({ a: [3, 4] }), 0.1)
  // 1 - 0.2 * 0.5 of the value, less 0.2 of the gradient.
  for (const [i, x] of [0.3, -2.6].entries()) expect(values.get('a')![i]).toBeCloseTo(x, 6)
  expect(optimizer.state()).toEqual([])
  expect(optimizer.stepCount).toBe(1)
})

describe('state', () => {
  test.each(fixture.cases)('restored, it goes on to the same bits: $name', ({ options, rates, factors }) => {
    const straight = createOptimizer(options, parametersOf(factors))
    const straightValues = toMap(fixture.start)
    let resumed = createOptimizer(options, parametersOf(factors))
    let resumedValues = toMap(fixture.start)
    rates.forEach((rate, step) => {
      straight.step(straightValues, toMap(fixture.gradients[step]!), rate)
      resumed.step(resumedValues, toMap(fixture.gradients[step]!), rate)
      const saved = resumed.state()
      const before = saved.map(tensor => tensor.data.slice())
      const next = createOptimizer(options, parametersOf(factors))
      next.restore(saved, resumed.stepCount)
      // What was saved is a copy: going on does not change it.
      resumed.step(resumedValues, toMap(fixture.gradients[0]!), 1)
      expect(saved.map(tensor => tensor.data)).toEqual(before)
      resumed = next
      resumedValues = new Map([...straightValues].map(([name, array]) => [name, array.slice()]))
    })
    expect(resumed.state()).toEqual(straight.state())
    straight.step(straightValues, toMap(fixture.gradients[0]!), 0.1)
    resumed.step(resumedValues, toMap(fixture.gradients[0]!), 0.1)
    expect(resumedValues).toEqual(straightValues)
  })

  test('of another optimiser or another shape is refused', () => {
    const adamw = createOptimizer({ type: 'adamw' }, parametersOf())
    expect(() => createOptimizer({ type: 'adafactor' }, parametersOf()).restore(adamw.state(), 3)).toThrow(
      'no prompt.secondMomentRows',
    )
    expect(() => adamw.restore([], 3)).toThrow('no prompt.firstMoment')
    const reshaped = createOptimizer({ type: 'adamw' }, [{ name: 'prompt', shape: [6, 4] }])
    expect(() => reshaped.restore(adamw.state(), 3)).toThrow('is [4,6], not [6,4]')
    const fewer = createOptimizer({ type: 'adamw' }, parametersOf().slice(0, 1))
    expect(() => fewer.restore(adamw.state(), 3)).toThrow('has no bias.firstMoment')
  })
})

test('a step with a missing gradient changes nothing', () => {
  const optimizer = createOptimizer({ type: 'adamw' }, parametersOf())
  const values = toMap(fixture.start)
  expect(() => optimizer.step(values, new Map([['prompt', new Float32Array(24)]]), 1)).toThrow('gradients of bias')
  expect(values).toEqual(toMap(fixture.start))
  expect(optimizer.stepCount).toBe(0)
})

describe('clipByGlobalNorm', () => {
  test('never exceeds the norm, keeps the direction, and leaves small gradients alone', () => {
    const arrays = fc.array(fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 8 }), {
      minLength: 1,
      maxLength: 4,
    })
    fc.assert(
      fc.property(arrays, fc.double({ min: 1e-3, max: 1e3, noNaN: true }), (values, maxNorm) => {
        const before = new Map(values.map((array, i) => [String(i), Float32Array.from(array)]))
        const after = new Map([...before].map(([name, array]) => [name, array.slice()]))
        const norm = clipByGlobalNorm(after, maxNorm)
        const left = Math.hypot(...[...after.values()].flatMap(array => [...array]))
        expect(left).toBeLessThanOrEqual(maxNorm * (1 + 1e-6))
        if (norm < maxNorm - 1e-5) expect(after).toEqual(before)
        const scale = norm === 0 ? 1 : left / norm
        for (const [name, array] of after) {
          array.forEach((value, i) => {
            expect(Math.abs(value - before.get(name)![i]! * scale)).toBeLessThanOrEqual(1e-5 * (Math.abs(value) + 1e-3))
          })
        }
      }),
    )
  })

  test('says that a gradient is not finite', () => {
    expect(clipByGlobalNorm(new Map([['prompt', Float32Array.of(1, Number.NaN)]]), 1)).toBeNaN()
    expect(clipByGlobalNorm(new Map([['prompt', Float32Array.of(1, Number.POSITIVE_INFINITY)]]), 1)).toBe(
      Number.POSITIVE_INFINITY,
    )
  })
})

describe('Adafactor over more than two dimensions', () => {
  const options = { type: 'adafactor', decayRate: -0.6, clipThreshold: 1e9, weightDecay: 0 } as const
  const gradient = Float32Array.from({ length: 12 }, (_, i) => ((i * 7) % 5) - 2.5)

  test('treats each matrix of the last two as one of its own', () => {
    const whole = createOptimizer(options, [{ name: 'a', shape: [2, 2, 3] }])
    const values = new Map([['a', new Float32Array(12)]])
    const parts = [0, 1].map(() => createOptimizer(options, [{ name: 'a', shape: [2, 3] }]))
    const partValues = parts.map(() => new Map([['a', new Float32Array(6)]]))
    for (let step = 0; step < 3; step++) {
      const scaled = gradient.map((x, i) => x * (1 + ((step + i) % 3)))
      whole.step(values, new Map([['a', scaled]]), 0.1)
      for (const [i, part] of parts.entries()) part.step(partValues[i]!, new Map([['a', scaled.slice(6 * i, 6 * i + 6)]]), 0.1)
    }
    expect([...values.get('a')!]).toEqual(partValues.flatMap(part => [...part.get('a')!]))
    const shapes = whole.state().map(({ name, shape }) => [name, shape])
    expect(shapes).toEqual([
      ['a.secondMomentRows', [2, 2]],
      ['a.secondMomentColumns', [2, 3]],
    ])
  })

  test('its moments are means of squares, of rows and of columns', () => {
    const optimizer = createOptimizer(options, [{ name: 'a', shape: [2, 3] }])
    optimizer.step(new Map([['a', new Float32Array(6)]]), new Map([['a', Float32Array.of(1, 2, 3, 4, 5, 6)]]), 0.1)
    const [rows, columns] = optimizer.state().map(({ data }) => [...data].map(x => Math.round(x * 1e4) / 1e4))
    expect(rows).toEqual([4.6667, 25.6667])
    expect(columns).toEqual([8.5, 14.5, 22.5])
  })
})

test('a first moment that was not asked for is not kept', () => {
  const momentsOf = (options: OptimizerOptions) =>
    createOptimizer(options, [{ name: 'a', shape: [2] }])
      .state()
      .map(({ name }) => name)
  expect(momentsOf({ type: 'adafactor' })).toEqual(['a.secondMoment'])
  expect(momentsOf({ type: 'adafactor', beta1: 0.9 })).toEqual(['a.firstMoment', 'a.secondMoment'])
})

test('a state whose numbers are not as many as its shape says is refused', () => {
  const optimizer = createOptimizer({ type: 'adamw' }, [{ name: 'a', shape: [2] }])
  const short = optimizer.state().map(tensor => ({ ...tensor, data: new Float32Array(1) }))
  expect(() => optimizer.restore(short, 1)).toThrow(RangeError)
})

test('missing values are named as such', () => {
  const optimizer = createOptimizer({ type: 'adamw' }, [{ name: 'a', shape: [2] }])
  expect(() => optimizer.step(new Map(), new Map(), 1)).toThrow('values of a have no numbers')
})
