import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** 1 / sqrt(mean(x²) + epsilon), [R, 1] */
const inverseNorm = (x: tf.Tensor, epsilon: unknown) => tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon as number))

const run = defineKernel({
  name: 'RmsNorm',
  inputs: ['x', 'weight'],
  reference: ({ x, weight }, { epsilon }) => tf.mul(tf.mul(x!, inverseNorm(x!, epsilon)), weight!),
  gradient: {
    inputsToSave: ['x', 'weight'],
    gradFunc: (dy, saved, { epsilon }) => {
      const [x, weight] = saved as [tf.Tensor, tf.Tensor]
      return {
        x: () => {
          const inverse = inverseNorm(x, epsilon)
          const g = tf.mul(dy as tf.Tensor, weight) // [R, d]
          const projection = tf.mul(tf.mean(tf.mul(g, x), -1, true), tf.square(inverse)) // [R, 1]
          return tf.mul(tf.sub(g, tf.mul(x, projection)), inverse)
        },
      }
    },
  },
})

/**
 * Root-mean-square normalisation (Zhang & Sennrich 2019): `x / sqrt(mean(x²) + epsilon) * weight` over the last axis. The weight
 * is frozen.
 *
 * @param x [R, d]
 * @param weight [d]
 * @returns [R, d]
 */
export function rmsNorm(x: tf.Tensor, weight: tf.Tensor, epsilon: number): tf.Tensor2D {
  return run({ x, weight }, { epsilon }) as tf.Tensor2D
}
