import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/**
 * Marks in a function between which the backward pass may compute the forward pass again (`src/program/rewrite/recompute.ts`). They are the
 * identity, and cost nothing in a compiled program.
 */

/** Kernels by their names in graphs; both have the attribute `segment`. */
export const segmentInputName = 'SegmentInput'
export const segmentGradientName = 'SegmentGradient'
/** The input of a segment once more, made when the gradient `after` is there, and not before: x and after, both [R, d]. */
export const segmentAgainName = 'SegmentAgain'

const gradient = defineKernel({
  name: segmentGradientName,
  inputs: ['dy'],
  reference: ({ dy }) => tf.clone(dy!),
  lower: { shape: ({ dy }) => dy!.shape, write: ({ inputs: [dy] }) => dy!.name },
})

const input = defineKernel({
  name: segmentInputName,
  inputs: ['x'],
  reference: ({ x }) => tf.clone(x!),
  gradient: { gradFunc: (dy, _, attributes) => ({ x: () => gradient({ dy: dy as tf.Tensor }, attributes) }) },
  lower: { shape: ({ x }) => x!.shape, write: ({ inputs: [x] }) => x!.name },
})

defineKernel({
  name: segmentAgainName,
  inputs: ['x', 'after'],
  reference: ({ x }) => tf.clone(x!),
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
 * The rows as they are, marked as where a segment of a function begins, which ends where the next one does. Of the values between two
 * marks nothing is kept for the backward pass: it computes them again from the first (activation recomputation, Chen et al. 2016,
 * "Training deep nets with sublinear memory cost").
 *
 * @param x [R, d]
 * @param segment its number: higher ones are later
 * @returns [R, d]
 */
export function segmentInput(x: tf.Tensor, segment: number): tf.Tensor {
  return input({ x }, { segment })
}
