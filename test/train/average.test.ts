import { expect, test } from 'vitest'
import { createAverage } from '../../src/train/average.js'
import { random, relativeError } from '../support/numbers.js'

const values = Array.from({ length: 20 }, (_, step) => new Map([['a', random(step + 1, [5]).data]]))

test('is the mean under its weights', () => {
  const [mean, deviation] = [0.6, 0.2]
  const average = createAverage(values[0]!, { mean, deviation }, 20)
  values.forEach((parameters, i) => {
    average.add(i + 1, parameters)
  })
  const weights = values.map((_, i) => Math.exp(-0.5 * (((i + 1) / 20 - mean) / deviation) ** 2))
  const total = weights.reduce((a, b) => a + b, 0)
  const wanted = Array.from({ length: 5 }, (_, j) =>
    values.reduce((sum, one, i) => sum + (weights[i]! / total) * one.get('a')![j]!, 0),
  )
  expect(relativeError(average.parameters.get('a')!, wanted)).toBeLessThan(1e-6)
})

test('stands where its weights are smaller than any number', () => {
  const average = createAverage(values[0]!, { mean: 1, deviation: 0.001 }, 20)
  for (const [i, parameters] of values.slice(0, 19).entries()) {
    average.add(i + 1, parameters)
    expect(average.parameters.get('a')).toEqual(parameters.get('a'))
  }
})

test('goes on from its state, and begins anew for another number of steps', () => {
  const made = (steps: number) => createAverage(values[0]!, { mean: 0.5, deviation: 0.3 }, steps)
  const [whole, half, other] = [made(20), made(20), made(30)]
  for (const [i, parameters] of values.entries()) {
    whole.add(i + 1, parameters)
    if (i < 10) half.add(i + 1, parameters)
  }
  const tensors = [{ name: 'a', shape: [5], data: half.parameters.get('a')!.slice() }]
  const state = JSON.parse(JSON.stringify(half.state()))
  const restored = made(20)
  restored.restore(state, tensors)
  for (const [i, parameters] of values.entries()) if (i >= 10) restored.add(i + 1, parameters)
  expect(restored.parameters).toEqual(whole.parameters)
  other.restore(state, tensors)
  other.add(11, values[10]!)
  expect(other.parameters.get('a')).toEqual(values[10]!.get('a'))
})

test('is of its own: what it began with stays as it was, and so does the prompt that is trained', () => {
  const start = new Map([['a', Float32Array.of(1, 2)]])
  const average = createAverage(start, { mean: 0.5, deviation: 0.3 }, 4)
  expect(average.parameters).toEqual(start)
  average.add(1, new Map([['a', Float32Array.of(3, 4)]]))
  expect([...average.parameters.get('a')!]).toEqual([3, 4])
  expect([...start.get('a')!]).toEqual([1, 2])
  expect(average.state()).toEqual({ logWeight: expect.closeTo(-0.5 * (0.25 / 0.3) ** 2, 12), steps: 4 })
  // What was made for other steps is left alone altogether.
  average.restore({ logWeight: 0, steps: 5 }, [{ name: 'a', shape: [2], data: Float32Array.of(9, 9) }])
  expect([...average.parameters.get('a')!]).toEqual([3, 4])
  expect(average.state().logWeight).toBeLessThan(0)
})
