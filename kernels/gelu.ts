import { definePointwise } from './pointwise.js'
import { tf } from './tf.js'

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI)

/** tanh(sqrt(2/pi) (x + 0.044715 x³)) */
const tanhOf = (x: tf.Tensor) => tf.tanh(tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715 * SQRT_2_OVER_PI), SQRT_2_OVER_PI)))

/** Standard normal distribution function. */
const distribution = (x: tf.Tensor) => tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5)

/** Gaussian error linear unit (Hendrycks & Gimpel 2016), by its approximation: `gelu_new` of GPT-2. */
export const geluTanh = definePointwise(
  'GeluTanh',
  x => tf.mul(tf.mul(x, 0.5), tf.add(tanhOf(x), 1)),
  (dy, x) => {
    // 0.5 (1 + t) + 0.5 x (1 - t²) sqrt(2/pi) (1 + 3 * 0.044715 x²)
    const tanh = tanhOf(x)
    const inner = tf.add(tf.mul(tf.square(x), 3 * 0.044715 * SQRT_2_OVER_PI), SQRT_2_OVER_PI)
    const slope = tf.add(tf.add(tanh, 1), tf.mul(tf.mul(x, tf.sub(1, tf.square(tanh))), inner))
    return tf.mul(tf.mul(dy, slope), 0.5)
  },
)

/** The same, exact. */
export const geluErf = definePointwise(
  'GeluErf',
  x => tf.mul(x, distribution(x)),
  (dy, x) => {
    const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return tf.mul(dy, tf.add(distribution(x), tf.mul(x, density)))
  },
)

/**
 * Gaussian error linear unit, element by element.
 *
 * @param x [R, f]
 * @param approximation `tanh` is `gelu_new` of GPT-2, `erf` the exact one
 * @returns [R, f]
 */
export function gelu(x: tf.Tensor, approximation: 'tanh' | 'erf'): tf.Tensor2D {
  return (approximation === 'tanh' ? geluTanh : geluErf)(x)
}
