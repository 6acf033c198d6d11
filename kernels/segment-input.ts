import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

/**
 * Marks in a function between which the backward pass may compute the forward pass again (`src/program/rewrite/recompute.ts`). They are the
 * identity, and cost nothing in a compiled program.
 */

/** Kernels by their names in graphs; both have the attribute `segment`. */
export const segmentInputName = 'SegmentInput'
export const segmentGradientName = 'SegmentGradient'

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
