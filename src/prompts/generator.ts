import { rmsNorm } from '../../kernels/rms-norm.js'
import { tf } from '../../kernels/tf.js'
import { normalNumbers } from './initialisation.js'
import type { Parameters, PromptParameter } from './method.js'

/** Added to a mean square before its root is taken. */
export const NORM_EPSILON = 1e-6

/** Rows divided by their root mean square, [N, d]: hidden rows grow from layer to layer, and some tokens have far longer ones. */
export const normalised = (x: tf.Tensor): tf.Tensor => rmsNorm(x, tf.ones([x.shape[1]!]), NORM_EPSILON)

/**
 * The bottleneck of a generator of virtual tokens, `g(h W_down + b_down) W_up + b_up`: what each method makes of an instruction's rows
 * stands between the two. `outputs` is the width behind W_up: of one row, or of all k rows side by side.
 */
export interface Bottleneck {
  readonly hiddenSize: number
  readonly bottleneck: number
  readonly outputs: number
  /** Rows that are made. */
  readonly count: number
}

/**
 * The biases behind W_up are rows, and are learned as fast as rows; the network has a learning rate of its own, since a step moves each
 * row that it makes by as many of its numbers as the bottleneck is wide.
 */
export const bottleneckParameters = (
  { hiddenSize, bottleneck, outputs, count }: Bottleneck,
  learningRate: number,
): PromptParameter[] => [
  { name: 'down', shape: [hiddenSize, bottleneck], learningRate },
  { name: 'downBias', shape: [bottleneck], learningRate },
  { name: 'up', shape: [bottleneck, outputs], learningRate },
  { name: 'upBias', shape: [count, hiddenSize] },
]

/** W_up is zero and its biases are given rows, [count, hiddenSize], so that the generator starts as a prompt of these. */
export const startingBottleneck = ({ hiddenSize, bottleneck, outputs }: Bottleneck, rows: Float32Array, seed: number) =>
  [
    ['down', normalNumbers(hiddenSize * bottleneck, hiddenSize ** -0.5, seed, 1)],
    ['downBias', new Float32Array(bottleneck)],
    ['up', new Float32Array(bottleneck * outputs)],
    ['upBias', rows],
  ] as const

/** Text rows in the bottleneck, before they are pooled: [N, d] -> [N, b] */
export const narrowed = ({ down, downBias }: Parameters, x: tf.Tensor): tf.Tensor =>
  tf.add(tf.matMul(x as tf.Tensor2D, down as tf.Tensor2D), downBias!)

/** Activated rows [B, p, b] as virtual tokens, [B k, d]: p = k rows each become one, a single one becomes all k. */
export function widened({ up, upBias }: Parameters, active: tf.Tensor): tf.Tensor {
  const [count, hiddenSize] = upBias!.shape as [number, number]
  const rows = tf.matMul(tf.reshape(active, [-1, up!.shape[0]!]), up as tf.Tensor2D)
  return tf.reshape(tf.add(tf.reshape(rows, [-1, count, hiddenSize]), upBias!), [-1, hiddenSize])
}
