import { tf } from '../../kernels/tf.js'

/**
 * A distribution that a prompt's own is held to at every label: of the frozen model without a prompt (self-regularised tuning, after
 * Khattak et al. 2023, PromptSRC, arXiv 2307.06948), of the model under another prompt (distillation), or of anything else that
 * predicts the same tokens. It enters the gradient program as numbers, so that the program is the same whoever the teacher is, and a
 * weight or a teacher that changes compiles nothing anew. Several teachers at one temperature are one: the mean of their probabilities,
 * under the sum of their weights, has the same gradient.
 */
export interface Teaching {
  /** Log-probabilities at temperature 1 for each row's labels in turn, [labels * vocabSize]. */
  readonly logProbabilities: readonly Float32Array[]
  /** Of the divergence, beside the cross entropy's 1. */
  readonly weight: number
  /** Divides the logits of both sides. */
  readonly temperature: number
  /** What the teacher's hidden states are, which the model's own are held to as well. */
  readonly hidden?: HiddenTeaching | undefined
}

/** Hidden states behind which labels are predicted: normalised, as the head takes them. */
export interface HiddenTeaching {
  /** For each row's labels in turn, [labels * hiddenSize]. */
  readonly rows: readonly Float32Array[]
  /** Of the mean squared difference, beside the cross entropy's 1. */
  readonly weight: number
}

/**
 * The weighted sum over rows of the mean squared difference of hidden states (Wang et al. 2023, arXiv 2303.02861: the second term of
 * multitask prompt tuning's distillation).
 *
 * @param hidden of the model, [Q, d]
 * @param teacher [Q, d]
 * @param weight of each row; 0 where there is no teacher, [Q]
 * @returns a scalar
 */
export function hiddenDifference(hidden: tf.Tensor, { teacher, weight }: { teacher: tf.Tensor; weight: tf.Tensor }): tf.Scalar {
  const each = tf.mean(tf.square(tf.sub(hidden, teacher)), -1) // [Q]
  return tf.sum(tf.mul(each, weight))
}

/**
 * The weighted sum of KL(teacher ‖ model) over rows of logits, both at a temperature (Hinton et al. 2015, arXiv 1503.02531; the factor
 * of its square, with which gradients keep their size, belongs into the weights).
 *
 * @param logits of the model, [Q, V]
 * @param teacher log-probabilities at temperature 1, [Q, V]
 * @param weight of each row; 0 where there is no teacher, [Q]
 * @returns a scalar
 */
export function teacherDivergence(
  logits: tf.Tensor,
  { teacher, weight, temperature }: { teacher: tf.Tensor; weight: tf.Tensor; temperature: number },
): tf.Scalar {
  const wanted = tf.logSoftmax(tf.div(teacher, temperature)) // [Q, V]
  const own = tf.logSoftmax(tf.div(logits, temperature)) // [Q, V]
  const each = tf.sum(tf.mul(tf.exp(wanted), tf.sub(wanted, own)), -1) // [Q]
  return tf.sum(tf.mul(each, weight))
}
