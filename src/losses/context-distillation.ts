import { z } from 'zod'
import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy } from '../../kernels/token-cross-entropy.js'
import { declareCode } from '../code-identity.js'
import type { Loss, TopTokens } from './loss.js'

/**
 * What a text in the context comes to, learned into the prompt (Snell, Klein and Zhong 2022, arXiv 2209.15189; of a document Eyuboglu et
 * al. 2025, Cartridges, arXiv 2506.06266): the cross entropy with what the same model says of each label when the text stands before the
 * row, over the `topK` tokens that it then finds likeliest. As in the authors' code their probabilities stay as they are, less than 1 in sum.
 */
export const contextDistillationSchema = z.strictObject({
  type: z.literal('context-distillation').describe('answer as the model does when a text stands before the row'),
  context: z.string().min(1).describe('the text: a document, a long instruction; it stands before the template'),
  topK: z.int().min(1).max(1000).default(20).describe('so many of the likeliest tokens are learned at each token of an answer'),
})

export type ContextDistillationOptions = z.output<typeof contextDistillationSchema>

/**
 * The mean over label tokens. `divergence` is it less the teacher's own entropy over these tokens, in nats: 0 where the prompt says of them what
 * the text says, and below where it gives them more than that, as their probabilities are less than 1 in sum.
 */
export const contextDistillation: Loss<ContextDistillationOptions, readonly TopTokens[]> = declareCode(import.meta.url, {
  type: 'context-distillation',
  paper:
    'Snell, Klein and Zhong 2022, Learning by Distilling Context (arXiv 2209.15189); Eyuboglu et al. 2025, Cartridges (arXiv 2506.06266)',
  textBefore: ({ context }) => context,
  data:
    ({ context, topK }, { topTokens }) =>
    rows =>
      topTokens(context, topK, rows),
  inputs: ({ topK }) => ({
    row: { shape: ['N', topK], dtype: 'int32' },
    token: { shape: ['N', topK], dtype: 'int32' },
    probability: { shape: ['N', topK], dtype: 'float32' },
    mass: { shape: ['Q'], dtype: 'float32' },
    least: { shape: [1], dtype: 'float32' },
  }),
  compute: (_, { logits, given: { row, token, probability, mass, least } }) => {
    const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) // [N topK]
    const targets = { row: flat(row!), target: flat(token!), weight: flat(probability!), rowWeight: mass! }
    const loss = tokenCrossEntropy(logits, targets)
    return { loss, figures: { divergence: tf.sub(loss, tf.reshape(least!, [])) } }
  },
  feed({ topK }, said, { sequences, targets, targetCount, readCount, batch }) {
    const shape = [targetCount, topK]
    const [row, token] = [new Int32Array(targetCount * topK), new Int32Array(targetCount * topK)]
    const probability = new Float32Array(targetCount * topK)
    const mass = new Float32Array(readCount)
    let least = 0
    for (const [target, { sequence, label, read }] of targets.entries()) {
      const { ids, probabilities } = said[sequences[sequence]!]!
      row.fill(read, target * topK, (target + 1) * topK)
      token.set(ids.subarray(label * topK, (label + 1) * topK), target * topK)
      for (let k = 0; k < topK; k++) {
        const own = probabilities[label * topK + k]!
        probability[target * topK + k] = own / batch.labels
        mass[read]! += own / batch.labels
        if (own > 0) least -= (own * Math.log(own)) / batch.labels
      }
    }
    return {
      row: { data: row, shape },
      token: { data: token, shape },
      probability: { data: probability, shape },
      mass,
      least: Float32Array.of(least),
    }
  },
})
