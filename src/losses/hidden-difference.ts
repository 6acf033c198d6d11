import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import type { Loss } from './loss.js'
import { type Lesson, lessonInputs } from './teacher.js'

/**
 * The mean squared difference from a teacher's hidden states at the label tokens (Wang et al. 2023, arXiv 2303.02861: the second term of
 * multitask prompt tuning's distillation). `Lesson.rows` are normalised, as the head takes them, [labels * hiddenSize].
 */
export const hiddenDifference: Loss<{ readonly type: 'hidden-difference' }, Lesson> = declareCode(import.meta.url, {
  type: 'hidden-difference',
  paper: 'Wang et al. 2023, Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning (arXiv 2303.02861)',
  inputs: (_, { hiddenSize }) => ({
    teacher: { shape: ['Q', hiddenSize], dtype: 'float32' },
    weight: { shape: ['Q'], dtype: 'float32' },
  }),
  compute: (_, { hidden, given: { teacher, weight } }) => {
    const each = tf.mean(tf.square(tf.sub(hidden, teacher!)), -1) // [Q]
    return { loss: tf.sum(tf.mul(each, weight!)) }
  },
  feed: (_, lesson, part) => lessonInputs(lesson, part.model.hiddenSize, part),
})
