import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** (x - mean) / sqrt(variance + epsilon), [R, d], and its denominator's inverse, [R, 1]. */
function normalise(x: tf.Tensor, epsilon: unknown): { normalised: tf.Tensor; inverse: tf.Tensor } {
  const centred = tf.sub(x, tf.mean(x, -1, true))
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon as number))
  return { normalised: tf.mul(centred, inverse), inverse }
}

const run = defineKernel({
  name: 'LayerNorm',
  inputs: ['x', 'weight', 'bias'],
  reference: ({ x, weight, bias }, { epsilon }) => tf.add(tf.mul(normalise(x!, epsilon).normalised, weight!), bias!),
  gradient: {
    inputsToSave: ['x', 'weight'],
    gradFunc: (dy, saved, { epsilon }) => {
      const [x, weight] = saved as [tf.Tensor, tf.Tensor]
      return {
        x: () => {
          const { normalised, inverse } = normalise(x, epsilon)
          const g = tf.mul(dy as tf.Tensor, weight) // [R, d]
          const projection = tf.mul(normalised, tf.mean(tf.mul(g, normalised), -1, true))
          return tf.mul(tf.sub(tf.sub(g, tf.mean(g, -1, true)), projection), inverse)
        },
      }
    },
  },
})

/**
 * Layer normalisation (Ba et al. 2016) over the last axis. Weight and bias are frozen.
 *
 * @param x [R, d]
 * @param weight [d]
 * @param bias [d]
 * @returns [R, d]
 */
export function layerNorm(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, epsilon: number): tf.Tensor2D {
  return run({ x, weight, bias }, { epsilon }) as tf.Tensor2D
}
