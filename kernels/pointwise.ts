import { again } from './again.js'
import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** Element-wise functions as an MLP has them, alone or before a gate's product: of all that they make only what they take is kept. */

export interface Pointwise {
  /** [R, f] -> [R, f] */
  (x: tf.Tensor): tf.Tensor2D
  /** `f(gate) * up` (GLU variants, Shazeer 2020): two of [R, f] -> [R, f] */
  gated(gate: tf.Tensor, up: tf.Tensor): tf.Tensor2D
}

/**
 * @param name of its kernel; that of the product has `Gated` before it
 * @param value f(x)
 * @param gradient dy f'(x)
 */
export function definePointwise(
  name: string,
  value: (x: tf.Tensor) => tf.Tensor,
  gradient: (dy: tf.Tensor, x: tf.Tensor) => tf.Tensor,
): Pointwise {
  const alone = defineKernel({
    name,
    inputs: ['x'],
    reference: ({ x }) => value(x!),
    gradient: {
      inputsToSave: ['x'],
      gradFunc: (dy, saved) => {
        const [x] = saved as [tf.Tensor]
        return { x: () => gradient(dy as tf.Tensor, again(x, dy as tf.Tensor)) }
      },
    },
  })
  const gated = defineKernel({
    name: `Gated${name}`,
    inputs: ['gate', 'up'],
    reference: ({ gate, up }) => tf.mul(value(gate!), up!),
    gradient: {
      inputsToSave: ['gate', 'up'],
      gradFunc: (given, saved) => {
        const dy = given as tf.Tensor
        const [gate, up] = saved as [tf.Tensor, tf.Tensor]
        return {
          gate: () => gradient(tf.mul(dy, up), again(gate, dy)),
          up: () => tf.mul(dy, value(again(gate, dy))),
        }
      },
    },
  })
  return Object.assign((x: tf.Tensor) => alone({ x }) as tf.Tensor2D, {
    gated: (gate: tf.Tensor, up: tf.Tensor) => gated({ gate, up }) as tf.Tensor2D,
  })
}
