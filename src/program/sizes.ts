import { GradpromptError } from '../errors.js'

/**
 * Sizes that vary. A caller declares dimensions and their ranges (`{ B: [1, 64], T: [1, 512] }`); a function traced at several
 * probe sizes yields numbers, and each number that differs between probes is solved as a polynomial in the dimensions with
 * integer coefficients, such as `B*T` or `P + S`.
 */

/** Declared dimensions: name to inclusive range. */
export type Dimensions = Readonly<Record<string, readonly [minimum: number, maximum: number]>>

/** Values of the dimensions in one trace or run. */
export type DimensionValues = Readonly<Record<string, number>>

interface Term {
  readonly coefficient: number
  /** Dimension names, sorted, repeated for powers; empty for the constant term. */
  readonly factors: readonly string[]
}

/** A polynomial in the declared dimensions. */
export class SizeExpression {
  readonly terms: readonly Term[]
  readonly #names: readonly string[]

  constructor(terms: readonly Term[]) {
    this.terms = terms
    this.#names = [...new Set(terms.flatMap(term => term.factors))]
  }

  static dimension(name: string): SizeExpression {
    return new SizeExpression([{ coefficient: 1, factors: [name] }])
  }

  /**
   * Reads a sum of products of names and integers as it stands in a declared shape: `'R'`, `'P+S'`, `'T-1'`, `'2*T'`.
   *
   * @throws GradpromptError `invalid-size`
   */
  static parse(text: string): SizeExpression {
    const product = String.raw`(?:\d+|[A-Za-z_]\w*)(?:\*(?:\d+|[A-Za-z_]\w*))*`
    const compact = text.replaceAll(' ', '')
    if (!new RegExp(`^[+-]?${product}(?:[+-]${product})*$`).test(compact)) {
      throw new GradpromptError('invalid-size', 'A size in a shape cannot be read', {
        found: JSON.stringify(text),
        expected: 'a number, or a sum of dimensions and their products: R, P+S, T-1, 2*T',
      })
    }
    const terms = [...compact.matchAll(/([+-]?)([^+-]+)/g)].map(([, sign, word]): Term => {
      const parts = word!.split('*')
      const isNumber = (part: string) => /^\d/.test(part)
      const coefficient = parts.filter(isNumber).reduce((product, part) => product * Number(part), sign === '-' ? -1 : 1)
      return { coefficient, factors: parts.filter(part => !isNumber(part)).sort() }
    })
    return new SizeExpression(terms.filter(term => term.coefficient !== 0))
  }

  evaluate(values: DimensionValues): number {
    let sum = 0
    for (const { coefficient, factors } of this.terms) {
      sum += factors.reduce((product, name) => product * values[name]!, coefficient)
    }
    return sum
  }

  names(): readonly string[] {
    return this.#names
  }

  toString(): string {
    return this.terms
      .map(({ coefficient, factors }) => {
        if (factors.length === 0) return String(coefficient)
        return (coefficient === 1 ? '' : `${coefficient}*`) + factors.join('*')
      })
      .join(' + ')
      .replaceAll('+ -', '- ')
  }
}

/** A number known when the program is compiled, or one that depends on the run's sizes. */
export type Size = number | SizeExpression

export const sameSize = (a: Size, b: Size): boolean => a === b || String(a) === String(b)

/** The probes at which a function is traced: `base` sizes to solve from, and `held` ones near both ends that must be predicted. */
export function probeSizes(dimensions: Dimensions): { base: DimensionValues[]; held: DimensionValues[] } {
  const names = Object.keys(dimensions)
  // Two traces at least, even when nothing varies: a number drawn at random while tracing then differs between them.
  if (names.length === 0) return { base: [{}, {}], held: [] }
  const base: Record<string, number>[] = Array.from({ length: BASE }, () => ({}))
  const draw = sequence()
  const taken = new Set<string>()
  for (const name of names) {
    const choices = probeChoices(...dimensions[name]!)
    const column = () => {
      let left: number[] = []
      return base.map(() => {
        if (left.length === 0) left = [...choices]
        return left.splice(draw(left.length), 1)[0]!
      })
    }
    // Dimensions that had the same size at every probe could not be told from each other.
    let sizes = column()
    for (let attempt = 0; attempt < 50 && taken.has(sizes.join()); attempt++) sizes = column()
    taken.add(sizes.join())
    for (const [index, probe] of base.entries()) probe[name] = sizes[index]!
  }
  // A size of 1 is left out: TF.js itself takes other paths there (broadcasting), which mean the same.
  const low = (name: string) => Math.min(Math.max(dimensions[name]![0], 2), dimensions[name]![1])
  const high = (name: string) => dimensions[name]![1]
  const pick = (choose: (name: string, index: number) => number): DimensionValues =>
    Object.fromEntries(names.map((name, index) => [name, choose(name, index)]))
  const held = [pick(low), pick(high), pick((name, i) => (i % 2 ? low(name) : high(name)))]
  if (names.length > 1) held.push(pick((name, i) => (i % 2 ? high(name) : low(name))))
  return { base, held }
}

const BASE = 6
const PRIMES = primesBelow(400).slice(4)

/** Sizes to choose from: primes, which no arithmetic relates by chance; in a range with few, all of it or a part. */
function probeChoices(minimum: number, maximum: number): number[] {
  const primes = PRIMES.filter(prime => prime >= minimum && prime <= maximum)
  if (primes.length >= BASE) return primes
  // At a size of 1 TF.js takes other paths (see below), so it is left out unless the others are too few to solve from.
  const first = minimum === 1 && maximum > BASE ? 2 : minimum
  const count = Math.min(maximum - first + 1, 40)
  return Array.from({ length: count }, (_, i) => first + Math.floor((i * (maximum - first)) / Math.max(1, count - 1)))
}

/** Numbers below a bound, by chance but always the same (Park and Miller's generator). */
function sequence(): (bound: number) => number {
  let state = 1
  return bound => {
    state = (state * 48271) % 0x7fffffff
    return state % bound
  }
}

function primesBelow(limit: number): number[] {
  const found: number[] = []
  for (let n = 2; n < limit; n++) if (found.every(prime => n % prime !== 0)) found.push(n)
  return found
}

/** Finds the polynomial behind the numbers seen at the probes. One solver serves one set of probes; answers are remembered. */
export class SizeSolver {
  private readonly probes: readonly DimensionValues[]
  private readonly monomials: readonly { factors: readonly string[]; values: readonly number[] }[]
  private readonly solved = new Map<string, Size | undefined>()

  constructor(dimensions: Dimensions, probes: readonly DimensionValues[]) {
    this.probes = probes
    const names = Object.keys(dimensions)
    let products: string[][] = [[]]
    const all: string[][] = []
    for (let degree = 1; degree <= 3; degree++) {
      products = products.flatMap(factors => names.filter(name => name >= (factors.at(-1) ?? '')).map(name => [...factors, name]))
      all.push(...products)
    }
    this.monomials = all.map(factors => ({
      factors,
      values: probes.map(probe => factors.reduce((product, name) => product * probe[name]!, 1)),
    }))
  }

  /** The size that equals `values[i]` at probe `i`; `undefined` when no polynomial of few terms does. */
  solve(values: readonly number[]): Size | undefined {
    if (values.every(value => value === values[0])) return values[0]!
    const key = values.join()
    if (!this.solved.has(key)) this.solved.set(key, this.search(values))
    return this.solved.get(key)
  }

  /** `values[i]` as a number over a polynomial, to the precision of float32: what a mean leaves behind. */
  solveInverse(values: readonly number[]): { numerator: number; denominator: SizeExpression } | undefined {
    const close = (a: number, b: number) => Math.abs(a - b) <= 1e-6 * Math.abs(b)
    for (const { factors, values: sizes } of this.monomials) {
      const numerator = values[0]! * sizes[0]!
      if (values.every((value, i) => close(value * sizes[i]!, numerator))) {
        const whole = Math.round(numerator)
        return {
          numerator: close(whole, numerator) ? whole : numerator,
          denominator: new SizeExpression([{ coefficient: 1, factors }]),
        }
      }
    }
    for (const numerator of [1, -1]) {
      const denominator = this.solve(values.map(value => Math.round(numerator / value)))
      if (!(denominator instanceof SizeExpression)) continue
      if (values.every((value, i) => close(value, numerator / denominator.evaluate(this.probes[i]!))))
        return { numerator, denominator }
    }
    return undefined
  }

  private search(values: readonly number[]): SizeExpression | undefined {
    const { monomials } = this
    const constant = { factors: [], values: this.probes.map(() => 1) }
    for (const a of monomials) {
      const found = solveLinear(values, [a]) ?? solveLinear(values, [a, constant])
      if (found) return found
    }
    for (const [i, a] of monomials.entries()) {
      for (const b of monomials.slice(i + 1)) {
        const found = solveLinear(values, [a, b]) ?? solveLinear(values, [a, b, constant])
        if (found) return found
      }
    }
    const linear = monomials.filter(monomial => monomial.factors.length <= 2)
    for (const [i, a] of linear.entries()) {
      for (const [j, b] of linear.slice(i + 1).entries()) {
        for (const c of linear.slice(i + j + 2)) {
          const found = solveLinear(values, [a, b, c]) ?? solveLinear(values, [a, b, c, constant])
          if (found) return found
        }
      }
    }
    return undefined
  }
}

/** Integer coefficients with `sum_j coefficient_j * columns[j].values[i] = values[i]` at every probe, if there are any. */
function solveLinear(
  values: readonly number[],
  columns: readonly { factors: readonly string[]; values: readonly number[] }[],
): SizeExpression | undefined {
  const n = columns.length
  if (values.length <= n) return undefined
  // Gauss-Jordan elimination on the first n probes whose rows are independent.
  const rows = values.map((value, i) => [...columns.map(column => column.values[i]!), value])
  for (let j = 0; j < n; j++) {
    let pivot = j
    for (let i = j + 1; i < rows.length; i++) if (Math.abs(rows[i]![j]!) > Math.abs(rows[pivot]![j]!)) pivot = i
    if (Math.abs(rows[pivot]![j]!) < 1e-9) return undefined
    ;[rows[j], rows[pivot]] = [rows[pivot]!, rows[j]!]
    for (let i = 0; i < rows.length; i++) {
      if (i === j) continue
      const factor = rows[i]![j]! / rows[j]![j]!
      if (factor !== 0) for (let k = j; k <= n; k++) rows[i]![k]! -= factor * rows[j]![k]!
    }
  }
  const coefficients = columns.map((_, j) => Math.round(rows[j]![n]! / rows[j]![j]!))
  if (coefficients.some(coefficient => coefficient === 0 || Math.abs(coefficient) > 1e9)) return undefined
  const exact = values.every(
    (value, i) => value === columns.reduce((sum, column, j) => sum + coefficients[j]! * column.values[i]!, 0),
  )
  if (!exact) return undefined
  return new SizeExpression(columns.map(({ factors }, j) => ({ coefficient: coefficients[j]!, factors })))
}
