import { tf } from '../../kernels/tf.js'
import type { SequenceRows } from './method.js'

/**
 * From an instruction's rows, of which there are any number, to a few: what generators of virtual tokens begin with. Each takes rows
 * that were made of the text rows, [N, n], and gives [B, k, n]; padding and answers never count, and an empty instruction gives zeros.
 */

/** Weights of an instruction's rows, [B, k, I], times the rows themselves. */
function weighted(rows: SequenceRows, weights: tf.Tensor, x: tf.Tensor): tf.Tensor {
  return tf.matMul(weights as tf.Tensor3D, rows.instruction(x) as tf.Tensor3D)
}

/** Length of each instruction, [B, 1], int32. */
const lengths = ({ instructionMask }: SequenceRows) => tf.cast(tf.sum(instructionMask, 1, true), 'int32')

/** Place of each row in its instruction, [I], int32. */
const places = ({ instructionMask }: SequenceRows) => tf.range(0, instructionMask.shape[1]!, 1, 'int32')

const int = (value: number) => tf.scalar(value, 'int32')
const number = (x: tf.Tensor) => tf.cast(x, 'float32')

/** The last row. [N, n] -> [B, 1, n] */
export function lastRow(rows: SequenceRows, x: tf.Tensor): tf.Tensor {
  const isLast = tf.equal(places(rows), tf.sub(lengths(rows), int(1))) // [B, I]
  return weighted(rows, tf.expandDims(number(isLast), 1), x)
}

/** The mean of all rows. [N, n] -> [B, 1, n] */
export function meanRow(rows: SequenceRows, x: tf.Tensor): tf.Tensor {
  const mask = rows.instructionMask
  return weighted(rows, tf.expandDims(tf.div(mask, tf.maximum(tf.sum(mask, 1, true), 1)), 1), x)
}

/** Which rows adaptive pooling takes for each of k: those from floor(j n / k) to ceil((j + 1) n / k) - 1, [B, k, I]. */
function windows(rows: SequenceRows, count: number): tf.Tensor {
  const j = tf.range(0, count, 1, 'int32') // [k]
  const n = lengths(rows) // [B, 1]
  const start = tf.floorDiv(tf.mul(j, n), int(count)) // [B, k]
  const end = tf.floorDiv(tf.add(tf.mul(tf.add(j, int(1)), n), int(count - 1)), int(count))
  const at = places(rows)
  const inside = tf.logicalAnd(tf.greaterEqual(at, tf.expandDims(start, 2)), tf.less(at, tf.expandDims(end, 2)))
  return number(inside)
}

/** Means of k overlapping parts of equal length (adaptive average pooling). [N, n] -> [B, k, n] */
export function adaptiveMean(rows: SequenceRows, x: tf.Tensor, count: number): tf.Tensor {
  const inside = windows(rows, count)
  return weighted(rows, tf.div(inside, tf.maximum(tf.sum(inside, 2, true), 1)), x)
}

const NEVER = 1e9

/** Largest values of k overlapping parts of equal length (adaptive max pooling). [N, n] -> [B, k, n] */
export function adaptiveMaximum(rows: SequenceRows, x: tf.Tensor, count: number): tf.Tensor {
  const inside = windows(rows, count)
  const barred = tf.expandDims(tf.mul(tf.sub(inside, 1), NEVER), 3) // [B, k, I, 1]
  const largest = tf.max(tf.add(tf.expandDims(rows.instruction(x), 1), barred), 2)
  return tf.mul(largest, tf.max(inside, 2, true))
}

/** Mixes by k learned queries [n, k], each a softmax over the instruction. [N, n] -> [B, k, n] */
export function attentionPool(rows: SequenceRows, x: tf.Tensor, queries: tf.Tensor): tf.Tensor {
  const taken = rows.instruction(x) as tf.Tensor3D // [B, I, n]
  const [batch, length] = taken.shape
  const scores = rows.instruction(tf.matMul(x as tf.Tensor2D, queries as tf.Tensor2D)) // [B, I, k]
  const mask = tf.reshape(rows.instructionMask, [batch, 1, length])
  const barred = tf.add(tf.transpose(scores, [0, 2, 1]), tf.mul(tf.sub(mask, 1), NEVER)) // [B, k, I]
  return tf.matMul(tf.mul(tf.softmax(barred), mask) as tf.Tensor3D, taken)
}
