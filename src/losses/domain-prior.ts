import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import { GradpromptError } from '../errors.js'
import type { Loss } from './loss.js'

/** What a run holds its prompt to, and how much. */
export interface DomainPriorData {
  /** The mean of the domain's particles, [hiddenSize]. */
  readonly anchor: Float32Array
  readonly weight: number
}

/**
 * The squared distance of the mean of a prompt's rows from the mean of the task's domain, times a weight (after BayesPrompt, Li et al. 2024,
 * arXiv 2401.14166, which puts draws of the domain into the prompt itself). Against a draw in the place of the mean the gradient would be
 * the same but for noise.
 */
export const domainPrior: Loss<{ readonly type: 'domain-prior' }, DomainPriorData> = declareCode(import.meta.url, {
  type: 'domain-prior',
  paper:
    'Li et al. 2024, BayesPrompt: Prompting Large-Scale Pre-Trained Language Models on Few-shot Inference (arXiv 2401.14166)',
  inputs: (_, { hiddenSize }) => ({
    anchor: { shape: [hiddenSize], dtype: 'float32' },
    weight: { shape: [], dtype: 'float32' },
    share: { shape: [], dtype: 'float32' },
  }),
  compute(_, { virtual, given: { anchor, weight, share } }) {
    if (virtual === undefined)
      throw new GradpromptError('invalid-loss', 'a prior of the domain is of rows at the input', {
        found: 'a method without such rows',
        expected: 'method.type: prompt-tuning, or another with inputRows',
      })
    const off = tf.sub(tf.mean(virtual, 0), anchor!) // [d]
    const distance = tf.mul(tf.sum(tf.square(off)), share!) // []
    return { loss: tf.mul(distance, weight!) as tf.Scalar, figures: { priorDistance: distance as tf.Scalar } }
  },
  // The parts of a batch add up: each has its share of what is of all rows alike.
  feed: (_, { anchor, weight }, { sequences, batch }) => ({
    anchor,
    weight: Float32Array.of(weight),
    share: Float32Array.of(sequences.length / batch.sequences),
  }),
})
