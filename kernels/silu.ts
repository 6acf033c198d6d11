import { definePointwise } from './pointwise.js'
import { tf } from './tf.js'

/** `x sigmoid(x)`, element by element (Elfwing et al. 2018, "Sigmoid-weighted linear units"). */
export const silu = definePointwise(
  'Silu',
  x => tf.mul(x, tf.sigmoid(x)),
  (dy, x) => {
    const sigmoid = tf.sigmoid(x)
    const y = tf.mul(x, sigmoid)
    return tf.mul(dy, tf.sub(tf.add(y, sigmoid), tf.mul(y, sigmoid))) // s + y (1 - s)
  },
)

/**
 * `silu(gate) * up` (SwiGLU, Shazeer 2020).
 *
 * @param gate [R, f]
 * @param up [R, f]
 * @returns [R, f]
 */
export const swiGlu = silu.gated
