import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

const silu = defineKernel({
  name: 'Silu',
  inputs: ['x'],
  reference: ({ x }) => tf.mul(x!, tf.sigmoid(x!)),
  gradient: {
    inputsToSave: ['x'],
    outputsToSave: [true],
    gradFunc: (dy, saved) => {
      const [x, y] = saved as [tf.Tensor, tf.Tensor]
      return {
        x: () => {
          const sigmoid = tf.sigmoid(x)
          return tf.mul(dy as tf.Tensor, tf.sub(tf.add(y, sigmoid), tf.mul(y, sigmoid))) // s + y (1 - s)
        },
      }
    },
  },
})

/**
 * `silu(gate) * up` (SwiGLU, Shazeer 2020).
 *
 * @param gate [R, f]
 * @param up [R, f]
 * @returns [R, f]
 */
export function swiGlu(gate: tf.Tensor, up: tf.Tensor): tf.Tensor2D {
  return tf.mul(silu({ x: gate }), up) as tf.Tensor2D
}
