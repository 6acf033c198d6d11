import { describe, expect, test } from 'vitest'
import { randomGenerator } from '../../../src/random.js'
import {
  distinct,
  draw,
  lowest,
  normals,
  pick,
  rowsOf,
  substituted,
  substitutionScores,
} from '../../../src/search/space/candidates.js'

test('scores of substitutions are what the gradient says of a token less what it says of the one that stands there', () => {
  // Two positions of a vocabulary of three; the prompt is [9, 2, 1], of which positions 1 and 2 are free.
  const products = Float32Array.from([1, 2, 4, 8, 16, 32])
  expect([...substitutionScores(products, [9, 2, 1], [1, 2], 3)]).toEqual([-3, -2, 0, -8, 0, 16])
})

describe('the lowest', () => {
  const scores = Float32Array.from([5, 1, 1, -2, 0, 1, Number.NaN])
  const allowed = (...ids: number[]) => Int32Array.from(ids)

  test('are taken among the allowed ids, equal ones by id', () => {
    expect(lowest(scores, allowed(0, 1, 2, 4, 5), 3)).toEqual([4, 1, 2])
    expect(lowest(scores, allowed(5, 2, 1), 2)).toEqual([1, 2])
  })

  test('are all there are, if more are asked for, without the one to be left out', () => {
    expect(lowest(scores, allowed(0, 1, 2, 4, 5), 9, 4)).toEqual([1, 2, 5, 0])
    expect(lowest(scores, allowed(3), 1, 3)).toEqual([])
    expect(lowest(scores, allowed(3, 0), 2)).toEqual([3, 0])
  })
})

test('a substituted prompt says what was put in the place of what', () => {
  const prompt = [4, 5, 6]
  expect(
    substituted(
      prompt,
      [
        { position: 0, to: 1 },
        { position: 2, to: 3 },
      ],
      -0.5,
    ),
  ).toEqual({
    ids: [1, 5, 3],
    swaps: [
      { position: 0, from: 4, to: 1 },
      { position: 2, from: 6, to: 3 },
    ],
    gradientScore: -0.5,
  })
  expect(prompt).toEqual([4, 5, 6])
  expect('gradientScore' in substituted(prompt, [])).toBe(false)
  expect(substituted(prompt, [], 0).gradientScore).toBe(0)
})

test('distinct candidates differ from each other and from the prompt; the first of equals stays', () => {
  const of = (ids: number[], gradientScore: number) => ({ ids, swaps: [], gradientScore })
  const given = [of([1, 2], 1), of([3, 4], 2), of([1, 2], 3), of([12], 4), of([0, 0], 5), of([3, 4], 6)]
  expect(distinct(given, [0, 0]).map(({ gradientScore }) => gradientScore)).toEqual([1, 2, 4])
})

describe('random draws', () => {
  test('pick any item, each about as often', () => {
    const random = randomGenerator(3)
    const counts = [0, 0, 0]
    for (let i = 0; i < 3000; i++) counts[pick([0, 1, 2], random)]!++
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(120)
  })

  test('draw different items, any of them in any order', () => {
    const random = randomGenerator(4)
    const items = [10, 20, 30, 40]
    const seen = new Set<string>()
    for (let i = 0; i < 500; i++) {
      const drawn = draw(items, 2, random)
      expect(new Set(drawn).size).toBe(2)
      seen.add(drawn.join())
    }
    expect(seen.size).toBe(12)
    expect(items).toEqual([10, 20, 30, 40])
    expect(draw(items, 9, random).sort()).toEqual(items)
  })

  test('normal numbers: their mean, deviation, shape and independence', () => {
    const count = 20_000
    const values = normals(count, randomGenerator(6))
    const mean = (of: (x: number, i: number) => number) => values.reduce((sum, x, i) => sum + of(x, i), 0) / count
    expect(values).toHaveLength(count)
    expect(Math.abs(mean(x => x))).toBeLessThan(0.03)
    expect(Math.abs(mean(x => x * x) - 1)).toBeLessThan(0.04)
    expect(Math.abs(mean(x => x ** 3))).toBeLessThan(0.1)
    expect(Math.abs(mean(x => x ** 4) - 3)).toBeLessThan(0.3)
    expect(Math.abs(mean((x, i) => x * (values[i + 1] ?? 0)))).toBeLessThan(0.03)
  })
})

test('a normal number is finite whatever is drawn', () => {
  for (const drawn of [0, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    const random = { next: () => drawn } as unknown as ReturnType<typeof randomGenerator>
    expect(Number.isFinite(normals(1, random)[0])).toBe(true)
  }
})

test('rows of a matrix, in the order that is asked for', () => {
  expect([...rowsOf(Float32Array.from([1, 2, 3, 4, 5, 6]), [2, 0], 2)]).toEqual([5, 6, 1, 2])
})
