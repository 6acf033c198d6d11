import { defineKernel } from './kernel.js'
import { tf } from './tf.js'

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
  inputs: ['logits', 'row', 'target', 'weight', 'rowWeight', 'normaliser'],
  reference: ({ logits, row, target, weight, rowWeight, normaliser }, { smoothing }) => {
    const [rows, vocabulary] = logits!.shape as [number, number]
    const epsilon = smoothing as number
    const isOf = tf.equal(tf.expandDims(row!, 1), tf.expandDims(tf.range(0, rows, 1, 'int32'), 0)) // [N, Q]; oneHot refuses one row
    const place = tf.mul(tf.cast(isOf, 'float32'), tf.expandDims(weight!, 1))
    const wanted = tf.matMul(
      place as tf.Tensor2D,
      tf.cast(tf.oneHot(target as tf.Tensor1D, vocabulary), 'float32') as tf.Tensor2D,
      true,
    ) // [Q, V]
    const probability = tf.sub(tf.exp(tf.sub(logits!, normaliser!)), epsilon / vocabulary)
    return tf.sub(tf.mul(probability, tf.expandDims(rowWeight!, 1)), tf.mul(wanted, 1 - epsilon))
  },
  gradient: {
    inputsToSave: ['logits', 'row', 'target', 'rowWeight', 'normaliser'],
    gradFunc: (dy, saved, { smoothing }) => {
      const [logits, row, target, rowWeight, normaliser] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
      const epsilon = smoothing as number
      const given = dy as tf.Tensor // [Q, V]
      const probability = () => tf.exp(tf.sub(logits, normaliser))
      const ofLogits = () => tf.mul(tf.mul(given, probability()), tf.expandDims(rowWeight, 1))
      return {
        logits: ofLogits,
        normaliser: () => tf.neg(tf.sum(ofLogits(), -1, true)), // [Q, 1]
        rowWeight: () => tf.sum(tf.mul(given, tf.sub(probability(), epsilon / logits.shape[1]!)), -1), // [Q]
        weight: () => tf.mul(pick(given, row, target), epsilon - 1), // [N]
      }
    },
  },
  lower: {
    shape: ({ logits }) => logits!.shape,
    write: ({ inputs, attributes, emit, float, int64 }) => {
      const [logits, row, target, weight, rowWeight, normaliser] = inputs.map(input => input!.name) as [
        string,
        string,
        string,
        string,
        string,
        string,
      ]
      const epsilon = attributes.smoothing as number
      let probability = emit('Exp', [emit('Sub', [logits, normaliser])])
      if (epsilon > 0) probability = emit('Sub', [probability, float(epsilon / (inputs[0]!.shape[1] as number))])
      const scaled = emit('Mul', [probability, emit('Unsqueeze', [rowWeight, int64([1])])])
      // Entry (row, target) is lowered by (1 - epsilon) weight: no one-hot matrix of the vocabulary's width.
      const column = (ids: string) => emit('Unsqueeze', [emit('Cast', [ids], { to: 7 }), int64([1])]) // [N, 1] int64
      const places = emit('Concat', [column(row), column(target)], { axis: 1 })
      return emit('ScatterND', [scaled, places, emit('Mul', [weight, float(epsilon - 1)])], { reduction: 'add' })
    },
  },
})

const run = defineKernel({
  name: 'TokenCrossEntropy',
  inputs: ['logits', 'row', 'target', 'weight', 'rowWeight'],
  reference: ({ logits, row, target, weight }, { smoothing }) => {
    const epsilon = smoothing as number
    const chosen = tf.mul(pick(logits!, row!, target!), 1 - epsilon) // [N]
    let level: tf.Tensor = tf.reshape(logSumExp(logits!), [-1]) // [Q]
    if (epsilon > 0) level = tf.sub(level, tf.mul(tf.mean(logits!, -1), epsilon))
    return tf.sum(tf.mul(tf.sub(tf.gather(level, row as tf.Tensor1D), chosen), weight!))
  },
  gradient: {
    inputsToSave: ['logits', 'row', 'target', 'weight', 'rowWeight'],
    gradFunc: (dy, saved, attributes) => {
      const [logits, row, target, weight, rowWeight] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
      const scaled = (x: tf.Tensor) => tf.mul(x, dy as tf.Tensor)
      return {
        logits: () =>
          runGradient(
            { logits, row, target, weight: scaled(weight), rowWeight: scaled(rowWeight), normaliser: logSumExp(logits) },
            { smoothing: attributes.smoothing },
          ),
      }
    },
  },
})

/** N target tokens, each predicted by one of Q rows of logits; a row may predict several (sequences that share it). */
export interface TokenTargets {
  /** [N] int32 */
  readonly row: tf.Tensor
  /** Token ids, [N] int32 */
  readonly target: tf.Tensor
  /** [N] */
  readonly weight: tf.Tensor
  /** Sum of the weights of each row's targets, [Q] */
  readonly rowWeight: tf.Tensor
}

/**
 * Weighted sum of the cross entropies of the target tokens. With weights of 1/N it is torch's mean cross entropy; the losses of a
 * batch's parts add up to the batch's when the weights are those of the whole batch.
 *
 * @param logits [Q, V]
 * @param smoothing label smoothing as torch defines it: that share of the target is spread over the whole vocabulary
 * @returns a scalar
 */
export function tokenCrossEntropy(logits: tf.Tensor, { row, target, weight, rowWeight }: TokenTargets, smoothing = 0): tf.Scalar {
  return run({ logits, row, target, weight, rowWeight }, { smoothing }) as tf.Scalar
}

/**
 * Logits of tokens.
 *
 * @param logits [Q, V]
 * @param row row of the logits that predicts each token, [N] int32
 * @param target token ids, [N] int32
 * @returns [N]
 */
export const tokenLogits = (logits: tf.Tensor, row: tf.Tensor, target: tf.Tensor): tf.Tensor1D => pick(logits, row, target)

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
