import { tf } from '../../kernels/tf.js'
import { tokenLogits, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import type { InputSpec, ProgramInput } from '../program/program.js'
import type { Dimensions } from '../program/sizes.js'
import type { LossPart, ReadRows } from './loss.js'

/**
 * Sums over each sequence's label tokens, for losses that are of whole answers and not of tokens. Which tokens are whose comes in as a
 * matrix of ones, so that the sum is a product and its gradient another.
 */

/** C sequences, as many as a batch may have. */
export const sequenceDims: Dimensions = { C: [1, 1 << 17] }

/** Declared inputs; `sequenceFeeds` has their values. */
export const sequenceInputs: Readonly<Record<'membership', InputSpec>> = { membership: { shape: ['C', 'N'], dtype: 'float32' } }

/** @returns `membership` [C, N]: 1 where a target is a label of a sequence */
export function sequenceFeeds({ sequences, targets, targetCount }: LossPart): Record<'membership', ProgramInput> {
  const data = new Float32Array(sequences.length * targetCount)
  for (const [i, { sequence }] of targets.entries()) data[sequence * targetCount + i] = 1
  return { membership: { data, shape: [sequences.length, targetCount] } }
}

/** Sums of the log-probabilities of each sequence's labels, [C]. */
export function sequenceLogProbabilities({ logits, targets: { row, target }, given: { membership } }: ReadRows): tf.Tensor1D {
  return sums(membership!, tokenLogProbabilities(logits, row, target))
}

/** How many labels each sequence has, [C]. */
export const sequenceLengths = ({ given: { membership } }: ReadRows): tf.Tensor1D => tf.sum(membership!, 1)

/** log Σ exp(scale * logit) over each sequence's labels, [C]. */
export function sequenceLogSumExp(
  { logits, targets: { row, target }, given: { membership } }: ReadRows,
  scale: number,
): tf.Tensor1D {
  const scaled = tf.mul(tokenLogits(logits, row, target), scale) // [N]
  // Far below any logit, but not infinite, so that no gradient is 0 times infinity.
  const masked = tf.add(tf.expandDims(scaled, 0), tf.mul(tf.sub(membership!, 1), 1e9)) // [C, N]
  const highest = tf.max(masked, 1, true) // [C, 1]
  const level = tf.log(sums(tf.exp(tf.sub(masked, highest)), tf.onesLike(scaled))) // [C]
  return tf.add(level, tf.reshape(highest, [-1]))
}

/** [C, N], [N] -> [C]; as a product, whose gradient needs no matrix of ones. */
const sums = (matrix: tf.Tensor, values: tf.Tensor): tf.Tensor1D =>
  tf.reshape(tf.matMul(matrix as tf.Tensor2D, tf.expandDims(values, 1) as tf.Tensor2D), [-1])
