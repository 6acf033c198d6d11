import * as tf from '@tensorflow/tfjs'
import { defineKernel } from './kernel.js'

/** log(sum(exp(logits))) of each row, [N, 1]. */
function logSumExp(logits: tf.Tensor): tf.Tensor2D {
  const highest = tf.max(logits, -1, true)
  return tf.add(tf.log(tf.sum(tf.exp(tf.sub(logits, highest)), -1, true)), highest) as tf.Tensor2D
}

/** `logits[row[i], column[i]]`, [N] */
function pick(logits: tf.Tensor, row: tf.Tensor, column: tf.Tensor): tf.Tensor1D {
  const flat = tf.add(tf.mul(row, tf.scalar(logits.shape[1]!, 'int32')), column)
  return tf.gather(tf.reshape(logits, [-1]), flat as tf.Tensor1D)
}

const runGradient = defineKernel({
  name: 'TokenCrossEntropyGradient',
  inputs: ['logits', 'target', 'weight', 'normaliser'],
  reference: ({ logits, target, weight, normaliser }, { smoothing }) => {
    const vocabulary = logits!.shape[1]!
    const epsilon = smoothing as number
    const wanted = tf.add(tf.mul(tf.oneHot(target as tf.Tensor1D, vocabulary), 1 - epsilon), epsilon / vocabulary) // [N, V]
    return tf.mul(tf.sub(tf.exp(tf.sub(logits!, normaliser!)), wanted), tf.expandDims(weight!, 1))
  },
  lower: {
    shape: ({ logits }) => logits!.shape,
    write: ({ inputs: [logits, target, weight, normaliser], attributes, emit, float, int64 }) => {
      const epsilon = attributes.smoothing as number
      const scale = emit('Unsqueeze', [weight!.name, int64([1])]) // [N, 1]
      let probability = emit('Exp', [emit('Sub', [logits!.name, normaliser!.name])])
      if (epsilon > 0) probability = emit('Sub', [probability, float(epsilon / (logits!.shape[1] as number))])
      // One entry a row is lowered by (1 - epsilon) weight: no one-hot matrix of the vocabulary's width.
      const ids = emit('Unsqueeze', [emit('Cast', [target!.name], { to: 7 }), int64([1])]) // [N, 1] int64
      const lowered = emit('Mul', [scale, float(epsilon - 1)])
      return emit('ScatterElements', [emit('Mul', [probability, scale]), ids, lowered], { axis: 1, reduction: 'add' })
    },
  },
})

const run = defineKernel({
  name: 'TokenCrossEntropy',
  inputs: ['logits', 'target', 'weight'],
  reference: ({ logits, target, weight }, { smoothing }) => {
    const epsilon = smoothing as number
    let wanted: tf.Tensor = pick(logits!, tf.range(0, logits!.shape[0]!, 1, 'int32'), target!) // [N]
    if (epsilon > 0) wanted = tf.add(tf.mul(wanted, 1 - epsilon), tf.mul(tf.mean(logits!, -1), epsilon))
    return tf.sum(tf.mul(tf.sub(tf.reshape(logSumExp(logits!), [-1]), wanted), weight!))
  },
  gradient: {
    inputsToSave: ['logits', 'target', 'weight'],
    gradFunc: (dy, saved, attributes) => {
      const [logits, target, weight] = saved as [tf.Tensor, tf.Tensor, tf.Tensor]
      return {
        logits: () =>
          runGradient({ logits, target, weight: tf.mul(weight, dy as tf.Tensor), normaliser: logSumExp(logits) }, { smoothing: attributes.smoothing }),
      }
    },
  },
})

/**
 * Weighted sum of the cross entropies of the target tokens. With weights of 1/N it is torch's mean cross entropy; the sum of the
 * losses of a batch's parts is the batch's loss when the weights are those of the whole batch.
 *
 * @param logits [N, V]
 * @param target token ids, [N] int32
 * @param weight [N]
 * @param smoothing label smoothing as torch defines it: that share of the target is spread over the whole vocabulary
 * @returns a scalar
 */
export function tokenCrossEntropy(logits: tf.Tensor, target: tf.Tensor, weight: tf.Tensor, smoothing = 0): tf.Scalar {
  return run({ logits, target, weight }, { smoothing }) as tf.Scalar
}

/**
 * Log-probabilities of tokens.
 *
 * @param logits [Q, V]
 * @param row row of the logits that predicts each token, [N] int32
 * @param target token ids, [N] int32
 * @returns [N]
 */
export function tokenLogProbabilities(logits: tf.Tensor, row: tf.Tensor, target: tf.Tensor): tf.Tensor1D {
  const normaliser = tf.reshape(logSumExp(logits), [-1]) // [Q]
  return tf.sub(pick(logits, row, target), tf.gather(normaliser, row as tf.Tensor1D))
}
