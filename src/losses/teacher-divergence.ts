import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import type { Loss } from './loss.js'
import { type Lesson, lessonInputs } from './teacher.js'

/**
 * The mean of KL(teacher ‖ model) over the label tokens, both at a temperature, times its square, with which gradients keep their size
 * (Hinton et al. 2015, arXiv 1503.02531). The teacher is the frozen model without a prompt (self-regularised tuning, after Khattak et al.
 * 2023, PromptSRC, arXiv 2307.06948), the model under another prompt (distillation), or anything else that predicts the same tokens.
 * Several teachers at one temperature are one: the mean of their probabilities, under the sum of their weights, has the same gradient.
 *
 * `Lesson.rows` are log-probabilities at temperature 1, [labels * vocabSize].
 */
export const teacherDivergence: Loss<TeacherDivergenceOptions, Lesson> = declareCode(import.meta.url, {
  type: 'teacher-divergence',
  paper: 'Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network (arXiv 1503.02531)',
  inputs: (_, { vocabSize }) => ({
    teacher: { shape: ['Q', vocabSize], dtype: 'float32' },
    weight: { shape: ['Q'], dtype: 'float32' },
  }),
  compute: ({ temperature }, { logits, given: { teacher, weight } }) => {
    const wanted = tf.logSoftmax(tf.div(teacher!, temperature)) // [Q, V]
    const own = tf.logSoftmax(tf.div(logits, temperature)) // [Q, V]
    const each = tf.sum(tf.mul(tf.exp(wanted), tf.sub(wanted, own)), -1) // [Q]
    const divergence: tf.Scalar = tf.sum(tf.mul(each, weight!))
    return { loss: divergence, figures: { divergence } }
  },
  feed: ({ temperature }, lesson, part) =>
    lessonInputs({ ...lesson, weight: lesson.weight * temperature ** 2 }, part.model.vocabSize, part),
  /** The mean divergence alone, in nats. */
  figures: ({ temperature }, { weight }, sums) => ({ divergence: sums.divergence! / (weight * temperature ** 2) }),
})

export interface TeacherDivergenceOptions {
  readonly type: 'teacher-divergence'
  /** Divides the logits of both sides. */
  readonly temperature: number
}
