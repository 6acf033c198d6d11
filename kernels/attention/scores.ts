import { tf } from '../tf.js'

/** What the forms of attention share. */

/** Added to the score of a key that a query does not see, negated. */
export const NEVER = 1e9

/** The first numbers, int32. */
export const upTo = (count: number): tf.Tensor1D => tf.range(0, count, 1, 'int32')

/** Scores kept between -softCap and softCap: `softCap * tanh(s / softCap)` (Gemma 2); as they are where it is 0. */
export const capScores = (scores: tf.Tensor, softCap: number): tf.Tensor =>
  softCap === 0 ? scores : tf.mul(tf.tanh(tf.div(scores, softCap)), softCap)
