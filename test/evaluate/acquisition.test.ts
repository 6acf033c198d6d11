import { expect, test } from 'vitest'
import { centred, highest, spread, unsureness } from '../../src/evaluate/acquisition.js'

const one = (...rows: number[][]) => rows.map(shares => [shares])

test('an even row is taken before one that is sure, by every rule', () => {
  const rows = one([0.9, 0.1], [0.5, 0.5], [0.6, 0.4])
  for (const by of ['margin', 'entropy'] as const) expect(highest(unsureness(by, rows, { seed: 1 }), 2)).toEqual([1, 2])
  expect(unsureness('margin', rows, { seed: 1 })[0]).toBeCloseTo(0.2, 12)
  expect(unsureness('entropy', rows, { seed: 1 })[1]).toBeCloseTo(Math.LN2, 12)
  // Three classes: margin and entropy differ on what lies behind the two likeliest.
  const three = one([0.5, 0.5, 0], [0.4, 0.3, 0.3])
  expect(highest(unsureness('margin', three, { seed: 1 }), 1)).toEqual([0])
  expect(highest(unsureness('entropy', three, { seed: 1 }), 1)).toEqual([1])
})

test('members that are alike are as one; disagreement is of those that differ', () => {
  const shares = [0.7, 0.2, 0.1]
  for (const by of ['margin', 'entropy'] as const)
    expect(unsureness(by, [[shares, shares]], { seed: 1 })[0]).toBeCloseTo(unsureness(by, [[shares]], { seed: 1 })[0]!, 12)
  const [alike, opposed] = unsureness('disagreement', [[[0.5, 0.5], [0.5, 0.5]], [[1, 0], [0, 1]]], { seed: 1 }) // biome-ignore format: rows
  expect([alike, opposed]).toEqual([0, Math.LN2])
})

test('random hangs on the seed alone', () => {
  const rows = one([0.9, 0.1], [0.5, 0.5], [0.6, 0.4])
  expect(unsureness('random', rows, { seed: 1 })).toEqual(unsureness('random', one([0, 1], [1, 0], [1, 0]), { seed: 1 }))
  expect(unsureness('random', rows, { seed: 1 })).not.toEqual(unsureness('random', rows, { seed: 2 }))
})

test('rows are far from each other, none twice, and equal ones come last', () => {
  const points = [[0, 0], [0, 0], [9, 9], [0, 0], [9, 9]] // biome-ignore format: points
  for (let seed = 0; seed < 20; seed++) {
    const chosen = spread(points, 5, { seed })
    expect(chosen[0]).toBe(0)
    expect([2, 4]).toContain(chosen[1])
    expect([...chosen].sort()).toEqual([0, 1, 2, 3, 4])
  }
  expect(spread(points, 9, { seed: 1 })).toHaveLength(5)
})

test('what all embeddings have in common is taken out of them', () => {
  const [a, b] = centred([Float32Array.of(100, 3), Float32Array.of(100, 1)]) as [Float64Array, Float64Array]
  expect([[...a], [...b]]).toEqual([[0, 1], [0, -1]]) // biome-ignore format: rows
  expect([...centred([Float32Array.of(5, 6)])[0]!]).toEqual([0, 0])
})
