import { z } from 'zod'
import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import { logSumExp } from '../numbers.js'
import type { Loss } from './loss.js'
import { sequenceDims, sequenceFeeds, sequenceInputs, sequenceLengths, sequenceLogSumExp } from './sequences.js'

/**
 * A soft maximum of an answer's negated logits: log(mean exp(-alpha logit)) / alpha (Asadi and Littman 2017, arXiv 1612.05628), the loss
 * that nanoGCG offers beside the cross entropy. The token that is the least likely counts most, the more so with a high alpha.
 */
export const mellowmaxSchema = z.strictObject({
  type: z.literal('mellowmax').describe("mellowmax of each answer's negated logits"),
  alpha: z.number().positive().default(1).describe('how much more the least likely token counts'),
})

export type MellowmaxOptions = z.output<typeof mellowmaxSchema>

/** The mean over sequences. */
export const mellowmax: Loss<MellowmaxOptions> = declareCode(import.meta.url, {
  type: 'mellowmax',
  paper: 'Asadi and Littman 2017, An Alternative Softmax Operator for Reinforcement Learning (arXiv 1612.05628)',
  dims: sequenceDims,
  inputs: () => ({ ...sequenceInputs, share: { shape: [1], dtype: 'float32' } }),
  compute: ({ alpha }, read) => {
    const level = tf.sub(sequenceLogSumExp(read, -alpha), tf.log(sequenceLengths(read))) // [C]
    return { loss: tf.mul(tf.div(tf.sum(level), alpha), tf.reshape(read.given.share!, [])) }
  },
  feed: (_, __, part) => ({ ...sequenceFeeds(part), share: Float32Array.of(1 / part.batch.sequences) }),
})

/** Of an answer whose logits are known. */
export function mellowmaxOf(logits: Float64Array, alpha: number): number {
  return (logSumExp(logits.map(logit => -alpha * logit)) - Math.log(logits.length)) / alpha
}

/** The gradient of a mellowmax is that of the negated logits under these weights. */
export function mellowmaxWeights(logits: ArrayLike<number>, alpha: number): Float64Array {
  const scaled = Float64Array.from(logits, logit => -alpha * logit)
  const normaliser = logSumExp(scaled)
  return scaled.map(value => Math.exp(value - normaliser))
}
