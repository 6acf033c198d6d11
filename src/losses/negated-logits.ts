import { z } from 'zod'
import { tf } from '../../kernels/tf.js'
import { tokenLogits } from '../../kernels/token-cross-entropy.js'
import { declareCode } from '../code-identity.js'
import type { Loss } from './loss.js'

/**
 * The weighted sum of the label tokens' negated logits. Unlike a cross entropy it does not lower what other tokens get; the weights of a
 * mellowmax make its gradient that of the mellowmax (`mellowmax.ts`).
 */
export const negatedLogitsSchema = z.strictObject({
  type: z.literal('negated-logits').describe("weighted sum of the answers' negated logits"),
})

export const negatedLogits: Loss<z.output<typeof negatedLogitsSchema>> = declareCode(import.meta.url, {
  type: 'negated-logits',
  paper: 'Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models (arXiv 2307.15043)',
  compute: (_, { logits, targets: { row, target, weight } }) => ({
    loss: tf.neg(tf.sum(tf.mul(tokenLogits(logits, row, target), weight))),
  }),
})
