import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** Coefficients of GELU as a rational function, fitted on [-5, 5] with a largest error of 6e-3: x^0 … x^6 over x^1 … x^5. */
export const GELU_NUMERATOR = [-0.00220251, 0.49993852, 0.40950897, 0.18485926, 0.0701374, 0.01609462, 0.00140895] as const
export const GELU_DENOMINATOR = [-0.007937, 0.37601904, -0.00158633, 0.0322971, 4.39e-6] as const

const row = (x: tf.Tensor) => tf.reshape(x, [1, -1]) as tf.Tensor2D

/** x^0 … x^degree of all numbers of x, [degree + 1, N]. */
function powers(x: tf.Tensor, degree: number): tf.Tensor2D {
  const one = row(x) // [1, N]
  const list = [tf.onesLike(one), one]
  for (let power = 2; power <= degree; power++) list.push(tf.mul(list[power - 1]!, one))
  return tf.concat(list as tf.Tensor2D[], 0)
}

/** The parts of R = P / (1 + |Q|): powers [m + 1, N]; P, Q and 1 + |Q|, [1, N] each. */
function parts(x: tf.Tensor, numerator: tf.Tensor, denominator: tf.Tensor) {
  const [terms] = numerator.shape as [number]
  const [degree] = denominator.shape as [number]
  const xs = powers(x, Math.max(terms - 1, degree))
  const top = tf.matMul(row(numerator), tf.slice(xs, [0, 0], [terms, -1]))
  const inner = tf.matMul(row(denominator), tf.slice(xs, [1, 0], [degree, -1]))
  return { xs, terms, degree, top, inner, bottom: tf.add(tf.abs(inner), 1) as tf.Tensor2D }
}

/** Coefficients of a polynomial's slope: j c_j, for the terms from x^first on. */
const sloped = (coefficients: tf.Tensor, first: number) =>
  tf.mul(row(coefficients), tf.tensor2d([Array.from({ length: coefficients.shape[0]! }, (_, i) => i + first)]))

const run = defineKernel({
  name: 'Rational',
  inputs: ['x', 'numerator', 'denominator'],
  reference: ({ x, numerator, denominator }) => {
    const { top, bottom } = parts(x!, numerator!, denominator!)
    return tf.reshape(tf.div(top, bottom), x!.shape)
  },
  gradient: {
    inputsToSave: ['x', 'numerator', 'denominator'],
    gradFunc: (dy, saved) => {
      const [x, numerator, denominator] = saved as [tf.Tensor, tf.Tensor, tf.Tensor]
      const all = () => {
        const known = parts(x, numerator, denominator)
        const { inner, top, bottom } = known
        const ofTop = tf.div(row(dy as tf.Tensor), bottom) as tf.Tensor2D // dP
        const ofInner = tf.neg(tf.div(tf.mul(tf.mul(ofTop, top), tf.sign(inner)), bottom)) as tf.Tensor2D // dQ
        return { ...known, ofTop, ofInner }
      }
      return {
        // dP P' + dQ Q'
        x: () => {
          const { xs, terms, degree, ofTop, ofInner } = all()
          const topSlope = tf.matMul(
            tf.slice(sloped(numerator, 0) as tf.Tensor2D, [0, 1], [-1, -1]),
            tf.slice(xs, [0, 0], [terms - 1, -1]),
          )
          const innerSlope = tf.matMul(sloped(denominator, 1) as tf.Tensor2D, tf.slice(xs, [0, 0], [degree, -1]))
          return tf.reshape(tf.add(tf.mul(ofTop, topSlope), tf.mul(ofInner, innerSlope)), x.shape)
        },
        // sum dP x^j
        numerator: () => {
          const { xs, terms, ofTop } = all()
          return tf.reshape(tf.matMul(ofTop, tf.slice(xs, [0, 0], [terms, -1]), false, true), [terms])
        },
        // sum dQ x^i
        denominator: () => {
          const { xs, degree, ofInner } = all()
          return tf.reshape(tf.matMul(ofInner, tf.slice(xs, [1, 0], [degree, -1]), false, true), [degree])
        },
      }
    },
  },
})

/**
 * A rational activation with learned coefficients (Molina et al. 2020, arXiv 1907.06732, version B), element by element:
 * `(a_0 + a_1 x + … + a_m x^m) / (1 + |b_1 x + … + b_n x^n|)`.
 *
 * @param x of any shape
 * @param numerator a_0 … a_m, [m + 1], m >= 1
 * @param denominator b_1 … b_n, [n]
 * @returns as x
 */
export function rational(x: tf.Tensor, numerator: tf.Tensor, denominator: tf.Tensor): tf.Tensor {
  return run({ x, numerator, denominator })
}
