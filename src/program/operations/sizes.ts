import { GradpromptError } from '../../errors.js'

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
  #text: string | undefined

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
    this.#text ??= this.terms
      .map(({ coefficient, factors }) => {
        if (factors.length === 0) return String(coefficient)
        return (coefficient === 1 ? '' : `${coefficient}*`) + factors.join('*')
      })
      .join(' + ')
      .replaceAll('+ -', '- ')
    return this.#text
  }
}

/** A number known when the program is compiled, or one that depends on the run's sizes. */
export type Size = number | SizeExpression

export const sameSize = (a: Size, b: Size): boolean => a === b || String(a) === String(b)

/** Finds the polynomial behind the numbers seen at the probes. One solver serves one set of probes; answers are remembered. */
export class SizeSolver {
  readonly #probes: readonly DimensionValues[]
  readonly #monomials: readonly Monomial[]
  /** What was solved, by the first number seen. */
  readonly #solved = new Map<number, { readonly values: readonly number[]; readonly size: Size | undefined }[]>()

  constructor(dimensions: Dimensions, probes: readonly DimensionValues[]) {
    this.#probes = probes
    const names = Object.keys(dimensions)
    let products: string[][] = [[]]
    const all: string[][] = []
    for (let degree = 1; degree <= 3; degree++) {
      products = products.flatMap(factors => names.filter(name => name >= (factors.at(-1) ?? '')).map(name => [...factors, name]))
      all.push(...products)
    }
    this.#monomials = all.map(factors => ({
      factors,
      values: probes.map(probe => factors.reduce((product, name) => product * probe[name]!, 1)),
    }))
  }

  /** The size that equals `values[i]` at probe `i`; `undefined` when no polynomial of few terms does. */
  solve(values: readonly number[]): Size | undefined {
    const first = values[0]!
    if (values.every(value => value === first)) return first
    let known = this.#solved.get(first)
    if (!known) {
      known = []
      this.#solved.set(first, known)
    }
    let found = known.find(other => other.values.every((value, i) => value === values[i]))
    if (!found) {
      found = { values, size: this.#search(values) }
      known.push(found)
    }
    return found.size
  }

  /** `values[i]` as a number over a polynomial, to the precision of float32: what a mean leaves behind. */
  solveInverse(values: readonly number[]): { numerator: number; denominator: SizeExpression } | undefined {
    const close = (a: number, b: number) => Math.abs(a - b) <= 1e-6 * Math.abs(b)
    for (const { factors, values: sizes } of this.#monomials) {
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
      if (values.every((value, i) => close(value, numerator / denominator.evaluate(this.#probes[i]!))))
        return { numerator, denominator }
    }
    return undefined
  }

  #search(values: readonly number[]): SizeExpression | undefined {
    if (!values.every(Number.isInteger)) return undefined
    const monomials = this.#monomials
    const constant = { factors: [], values: this.#probes.map(() => 1) }
    const fitted = (columns: readonly Monomial[]) => solveLinear(values, columns) ?? solveLinear(values, [...columns, constant])
    for (const a of monomials) {
      const found = fitted([a])
      if (found) return found
    }
    for (let i = 0; i < monomials.length; i++) {
      for (let j = i + 1; j < monomials.length; j++) {
        const found = fitted([monomials[i]!, monomials[j]!])
        if (found) return found
      }
    }
    const linear = monomials.filter(monomial => monomial.factors.length <= 2)
    for (let i = 0; i < linear.length; i++) {
      for (let j = i + 1; j < linear.length; j++) {
        for (let k = j + 1; k < linear.length; k++) {
          const found = fitted([linear[i]!, linear[j]!, linear[k]!])
          if (found) return found
        }
      }
    }
    return undefined
  }
}

interface Monomial {
  readonly factors: readonly string[]
  readonly values: readonly number[]
}

/** Integer coefficients with `sum_j coefficient_j * columns[j].values[i] = values[i]` at every probe, if there are any. */
function solveLinear(values: readonly number[], columns: readonly Monomial[]): SizeExpression | undefined {
  const n = columns.length
  if (values.length <= n) return undefined
  // As many probes as there are unknowns usually tell them apart; the others are then a check.
  const coefficients = eliminate(values, columns, n) ?? eliminate(values, columns, values.length)
  if (!coefficients) return undefined
  for (let j = 0; j < n; j++) {
    coefficients[j] = Math.round(coefficients[j]!)
    if (coefficients[j] === 0 || Math.abs(coefficients[j]!) > 1e9) return undefined
  }
  for (let i = 0; i < values.length; i++) {
    let sum = 0
    for (let j = 0; j < n; j++) sum += coefficients[j]! * columns[j]!.values[i]!
    if (sum !== values[i]) return undefined
  }
  return new SizeExpression(columns.map(({ factors }, j) => ({ coefficient: coefficients[j]!, factors })))
}

/** Rows of a system of equations, which grow with need: a solver tries thousands of small ones. */
let scratch = new Float64Array(64)

/** Gauss-Jordan elimination over the first `count` probes; `undefined` where they do not tell the columns apart. */
function eliminate(values: readonly number[], columns: readonly Monomial[], count: number): number[] | undefined {
  const n = columns.length
  const width = n + 1
  if (scratch.length < count * width) scratch = new Float64Array(count * width)
  const rows = scratch // [count, width]
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < n; j++) rows[i * width + j] = columns[j]!.values[i]!
    rows[i * width + n] = values[i]!
  }
  for (let j = 0; j < n; j++) {
    let pivot = j
    for (let i = j + 1; i < count; i++) if (Math.abs(rows[i * width + j]!) > Math.abs(rows[pivot * width + j]!)) pivot = i
    if (Math.abs(rows[pivot * width + j]!) < 1e-9) return undefined
    if (pivot !== j) {
      for (let k = 0; k < width; k++) {
        const swapped = rows[j * width + k]!
        rows[j * width + k] = rows[pivot * width + k]!
        rows[pivot * width + k] = swapped
      }
    }
    for (let i = 0; i < count; i++) {
      if (i === j) continue
      const factor = rows[i * width + j]! / rows[j * width + j]!
      if (factor !== 0) for (let k = j; k < width; k++) rows[i * width + k]! -= factor * rows[j * width + k]!
    }
  }
  return columns.map((_, j) => rows[j * width + n]! / rows[j * width + j]!)
}
