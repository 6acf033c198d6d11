import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Dimensions, SizeExpression, SizeSolver, sameSize } from '../../src/program/sizes.js'
import { probeSizes } from '../../src/program/solve/probes.js'
import { problem } from '../support/problem.js'

const NAMES = ['B', 'P', 'T']

/** Ranges wide enough that sizes can be told from each other. */
const dimensions = fc
  .record({
    count: fc.integer({ min: 1, max: 3 }),
    ranges: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 60, max: 5000 })), {
      minLength: 3,
      maxLength: 3,
    }),
  })
  .map(({ count, ranges }): Dimensions => Object.fromEntries(NAMES.slice(0, count).map((name, i) => [name, ranges[i]!])))

const coefficient = fc.integer({ min: -9, max: 9 }).filter(c => c !== 0)

/** What shape arithmetic brings: one or two products of dimensions, or a sum of three dimensions, and a constant. */
const polynomial = (names: readonly string[]) => {
  const monomial = (degree: number) =>
    fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: degree }).map(factors => factors.sort())
  const terms = (degree: number, count: number) =>
    fc.uniqueArray(monomial(degree), { minLength: 1, maxLength: count, selector: factors => factors.join() })
  return fc
    .tuple(
      fc.oneof(terms(3, 2), terms(1, 3)),
      fc.array(coefficient, { minLength: 3, maxLength: 3 }),
      fc.integer({ min: -20, max: 20 }),
    )
    .map(([factors, coefficients, constant]) => {
      const whole = factors.map((factors, i) => ({ coefficient: coefficients[i]!, factors }))
      return new SizeExpression(constant === 0 ? whole : [...whole, { coefficient: constant, factors: [] }])
    })
}

const problemSet = dimensions.chain(dims => fc.record({ dims: fc.constant(dims), expression: polynomial(Object.keys(dims)) }))

function solver(dims: Dimensions) {
  const { base, held } = probeSizes(dims)
  const probes = [...base, ...held]
  return { probes, solver: new SizeSolver(dims, probes) }
}

/** Sizes that no probe has. */
const elsewhere = (dims: Dimensions) =>
  [0.1, 0.3, 0.55, 0.9].map((share, i) =>
    Object.fromEntries(
      Object.entries(dims).map(([name, [low, high]], j) => [name, Math.floor(low + (high - low) * ((share + 0.17 * i * j) % 1))]),
    ),
  )

/** Every combination of sizes in small ranges. */
function everywhere(dims: Dimensions): Record<string, number>[] {
  return Object.entries(dims).reduce<Record<string, number>[]>(
    (all, [name, [low, high]]) =>
      all.flatMap(values => Array.from({ length: high - low + 1 }, (_, i) => ({ ...values, [name]: low + i }))),
    [{}],
  )
}

describe('sizes are solved from probes', () => {
  test('a polynomial is found, and equals itself everywhere', () => {
    fc.assert(
      fc.property(problemSet, ({ dims, expression }) => {
        const { probes, solver: sizes } = solver(dims)
        const found = sizes.solve(probes.map(probe => expression.evaluate(probe)))
        expect(found).toBeDefined()
        for (const values of elsewhere(dims)) {
          expect(typeof found === 'number' ? found : found!.evaluate(values)).toBe(expression.evaluate(values))
        }
      }),
      { numRuns: 300, seed: 1 },
    )
  })

  test('a number that is off at one probe is not', () => {
    fc.assert(
      fc.property(problemSet, fc.nat(20), fc.constantFrom(-1, 1, 2), ({ dims, expression }, at, change) => {
        const { probes, solver: sizes } = solver(dims)
        const values = probes.map(probe => expression.evaluate(probe))
        values[at % values.length]! += change
        expect(sizes.solve(values)).toBeUndefined()
      }),
      { numRuns: 300, seed: 2 },
    )
  })

  test('what is no polynomial is not', () => {
    const dims = { B: [1, 64], T: [1, 512] } as const
    const { probes, solver: sizes } = solver(dims)
    for (const f of [
      Math.log,
      Math.sqrt,
      (x: number) => Math.floor(x / 2),
      (x: number) => Math.min(x, 100),
      (x: number) => x % 7,
    ]) {
      expect(sizes.solve(probes.map(({ T }) => f(T!)))).toBeUndefined()
      expect(sizes.solveInverse(probes.map(({ T }) => 1 / (f(T!) + 0.01)))).toBeUndefined()
    }
    expect(sizes.solve(probes.map(() => Number.NaN))).toBeUndefined()
  })

  test('the inverse of a size, as float32 holds it', () => {
    fc.assert(
      fc.property(dimensions, fc.nat(2), fc.nat(2), fc.constantFrom(1, -1, 0.5, 2, 8), (dims, i, j, numerator) => {
        const names = Object.keys(dims)
        const [a, b] = [names[i % names.length]!, names[j % names.length]!]
        const size = (values: Record<string, number>) => values[a]! * (a === b ? 1 : values[b]!)
        const { probes, solver: sizes } = solver(dims)
        const found = sizes.solveInverse(probes.map(probe => Math.fround(numerator / size(probe))))!
        for (const values of elsewhere(dims)) {
          expect((found.numerator / found.denominator.evaluate(values)) * size(values)).toBeCloseTo(numerator, 6)
        }
      }),
      { numRuns: 100, seed: 3 },
    )
  })

  test('the inverse of a sum', () => {
    const { probes, solver: sizes } = solver({ P: [1, 200], S: [1, 4000] })
    const found = sizes.solveInverse(probes.map(({ P, S }) => Math.fround(1 / (P! + S! - 1))))!
    expect(found.numerator / found.denominator.evaluate({ P: 10, S: 391 })).toBeCloseTo(1 / 400, 12)
  })

  test.each([
    [1, 64],
    [1, 3],
    [7, 8],
    [11, 29],
    [37, 62],
    [1000, 2000],
    [1 << 16, 1 << 17],
  ])('eight dimensions from %i to %i stay apart', (low, high) => {
    const names = [...'ABCDEFGH']
    const { probes, solver: sizes } = solver(Object.fromEntries(names.map(name => [name, [low, high]])))
    for (const name of names) expect(String(sizes.solve(probes.map(probe => probe[name]!)))).toBe(name)
  })

  test('in a small range, what is solved holds at every size', () => {
    const small = fc
      .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 6 }))
      .map(([low, more]) => [low, low + more] as const)
    const sets = fc
      .array(small, { minLength: 1, maxLength: 2 })
      .map(ranges => Object.fromEntries(ranges.map((range, i) => [NAMES[i]!, range])))
      .chain(dims => fc.record({ dims: fc.constant(dims as Dimensions), expression: polynomial(Object.keys(dims)) }))
    fc.assert(
      fc.property(sets, ({ dims, expression }) => {
        const { probes, solver: sizes } = solver(dims)
        const found = sizes.solve(probes.map(probe => expression.evaluate(probe)))
        if (found === undefined) return
        for (const values of everywhere(dims)) {
          expect(typeof found === 'number' ? found : found.evaluate(values)).toBe(expression.evaluate(values))
        }
      }),
      { numRuns: 2000, seed: 4 },
    )
  })

  test('probes lie inside the ranges, and at both ends of them', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3000 }), fc.nat(3000)), { minLength: 1, maxLength: 4 }), ranges => {
        const dims = Object.fromEntries(ranges.map(([low, more], i) => [`D${i}`, [low, low + more] as const]))
        const { base, held } = probeSizes(dims)
        for (const probe of [...base, ...held]) {
          for (const [name, [low, high]] of Object.entries(dims)) {
            expect(probe[name]).toBeGreaterThanOrEqual(low)
            expect(probe[name]).toBeLessThanOrEqual(high)
          }
        }
        for (const [name, [low, high]] of Object.entries(dims))
          for (const end of [low, high]) expect([...base, ...held].some(probe => probe[name] === end)).toBe(true)
      }),
    )
  })
})

describe('sizes as text', () => {
  test('what is printed reads as the same', () => {
    fc.assert(
      fc.property(polynomial(NAMES), expression => {
        const read = SizeExpression.parse(String(expression))
        const values = { B: 3, P: 17, T: 101 }
        expect(read.evaluate(values)).toBe(expression.evaluate(values))
        expect(sameSize(read, expression)).toBe(true)
      }),
    )
  })

  test.each([
    ['R', 7],
    ['R+S', 12],
    ['R - 1', 6],
    ['-R+ 20', 13],
    ['2*R+S*R*3-4', 115],
    ['12', 12],
  ])('%s', (text, value) => {
    expect(SizeExpression.parse(text).evaluate({ R: 7, S: 5 })).toBe(value)
  })

  test.each(['', 'R+', '+', 'R**S', 'R/2', '2R', 'R S+', '(R)', 'R--1', '*R', '1.5'])('"%s" is no size', text => {
    expect(problem(() => SizeExpression.parse(text)).code).toBe('invalid-size')
  })
})
