import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** Values of the forward pass that the backward pass makes again rather than keeps. */

/** The kernel by its name in graphs. */
export const againName = 'Again'

const run = defineKernel({
  name: againName,
  inputs: ['x', 'after'],
  reference: ({ x }) => tf.clone(x!),
  gradient: {
    inputsToSave: ['after'],
    gradFunc: (dy, [after]) => ({ x: () => dy as tf.Tensor, after: () => tf.zerosLike(after!) }),
  },
  lower: {
    shape: ({ x }) => x!.shape,
    // Runtimes order nodes by what these need: the shape is made to need the gradient. A reshape copies nothing.
    write: ({ inputs: [x, after], emit, int64 }) => {
      const nothing = emit('Mul', [emit('Shape', [after!.name], { start: 0, end: 1 }), int64([0])])
      return emit('Reshape', [x!.name, emit('Add', [emit('Shape', [x!.name]), nothing])])
    },
  },
})

/**
 * `x` once more, and not before `after` is there. In a compiled program what is made of it is another value than what is made of `x`:
 * so a gradient that begins from here computes the forward pass's values again, to the same bits, and these need not be kept.
 *
 * @param x [R, f]
 * @param after the gradient that is waited for, [R, g]
 * @returns [R, f]
 */
export function again(x: tf.Tensor, after: tf.Tensor): tf.Tensor {
  return run({ x, after })
}
