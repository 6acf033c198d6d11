import { afterAll, describe, expect, test } from 'vitest'
import { GELU_DENOMINATOR, GELU_NUMERATOR, rational } from '../../kernels/rational.js'
import { tf } from '../../kernels/tf.js'
import type { InputSpec } from '../../src/program/program.js'
import { kernelCases } from '../support/kernel-fixtures.js'
import { difference, random, type Values } from '../support/numbers.js'
import { Compared } from '../support/programs.js'

const float = (...shape: (string | number)[]): InputSpec => ({ shape, dtype: 'float32' })

const compiled = new Map<string, Compared>()
/** The kernel for coefficients of some degrees. */
function comparedFor(terms: number, degree: number): Compared {
  const key = `${terms}/${degree}`
  const known = compiled.get(key)
  if (known) return known
  const compared = new Compared({
    name: `rational ${key}`,
    inputs: { x: float('R', 'F'), numerator: float(terms), denominator: float(degree), cotangent: float('R', 'F') },
    dims: { R: [1, 64], F: [1, 64] },
    compute: ({ x, numerator, denominator }) => rational(x!, numerator!, denominator!),
    differentiable: ['x', 'numerator', 'denominator'],
  })
  compiled.set(key, compared)
  return compared
}
afterAll(async () => {
  for (const compared of compiled.values()) await compared.dispose()
})

const sample = (rows: number): Record<string, Values> => ({
  x: random(1, [rows, 3], 4),
  numerator: { data: Float32Array.from(GELU_NUMERATOR), shape: [7] },
  denominator: { data: Float32Array.from(GELU_DENOMINATOR), shape: [5] },
  cotangent: random(2, [rows, 3]),
})

describe('rational', () => {
  test('values and gradients equal torch, compiled and eager', async () => {
    const cases = await kernelCases<{ name: string }>('rational')
    expect(cases.length).toBeGreaterThan(3)
    for (const { name, tensors } of cases) {
      const { x, numerator, denominator, cotangent } = tensors
      const inputs = { x: x!, numerator: numerator!, denominator: denominator!, cotangent: cotangent! }
      const compared = comparedFor(numerator!.shape[0]!, denominator!.shape[0]!)
      for (const results of [await compared.compiled(inputs), await compared.eager(inputs)])
        for (const [output, { data }] of Object.entries(results))
          expect(difference(data as Float32Array, tensors[output]!.data), `${output} of ${name}`).toBeLessThan(5e-6)
    }
  })

  test.each([1, 2, 33])('the program equals an eager run: %i rows', async rows => {
    expect(await comparedFor(7, 5).disagreement(sample(rows))).toBeLessThan(2e-6)
  })

  test.each([1, 5])('the gradient equals finite differences: %i rows', async rows => {
    expect(await comparedFor(7, 5).finiteDifferenceError(sample(rows), 1e-3)).toBeLessThan(2e-3)
  })

  test('starts as GELU between -5 and 5', () => {
    tf.tidy(() => {
      const x = tf.linspace(-5, 5, 501)
      const gelu = tf.mul(x, tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5))
      const started = rational(x, tf.tensor1d([...GELU_NUMERATOR]), tf.tensor1d([...GELU_DENOMINATOR]))
      expect(tf.max(tf.abs(tf.sub(started, gelu))).dataSync()[0]).toBeLessThan(6.1e-3)
    })
  })
})
