import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

const run = defineKernel({
  name: 'GatherRows',
  inputs: ['x', 'index', 'inverse'],
  reference: ({ x, index }) => tf.gather(x!, index as tf.Tensor1D),
  gradient: {
    inputsToSave: ['inverse'],
    gradFunc: (dy, [inverse]) => ({
      x: () => {
        const nothing = tf.zerosLike(tf.slice(dy as tf.Tensor2D, [0, 0], [1, -1])) // [1, d]
        return tf.gather(tf.concat([dy as tf.Tensor2D, nothing as tf.Tensor2D], 0), inverse as tf.Tensor1D) // [R, d]
      },
    }),
  },
})

/**
 * Takes distinct rows. Because no row is taken twice, the gradient is a gather as well: no scatter-add, which would be slow and
 * not deterministic.
 *
 * @param x [R, d]
 * @param index rows to take, distinct, [Q] int32
 * @param inverse for each row of x its place in `index`, or Q where it is not taken, [R] int32
 * @returns [Q, d]
 */
export function gatherRows(x: tf.Tensor, index: tf.Tensor, inverse: tf.Tensor): tf.Tensor2D {
  return run({ x, index, inverse }) as tf.Tensor2D
}
