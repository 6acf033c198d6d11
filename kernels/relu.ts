import { definePointwise } from './pointwise.js'
import { tf } from './tf.js'

/** `max(x, 0)`, element by element; its slope at 0 is 0. */
export const relu = definePointwise(
  'PositivePart',
  x => tf.relu(x),
  (dy, x) => tf.mul(dy, tf.cast(tf.step(x), 'float32')),
)
