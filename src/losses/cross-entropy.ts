import { z } from 'zod'
import { tokenCrossEntropy } from '../../kernels/token-cross-entropy.js'
import { declareCode } from '../code-identity.js'
import type { Loss } from './loss.js'

/**
 * The mean cross entropy of the label tokens, as torch has it; with label smoothing, a share of each target is spread over the vocabulary
 * (Szegedy et al. 2016, arXiv 1512.00567).
 */
export const crossEntropySchema = z.strictObject({
  type: z.literal('cross-entropy').describe("mean cross entropy of the answers' tokens"),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe('share of the target that is spread over the vocabulary'),
})

export type CrossEntropyOptions = z.output<typeof crossEntropySchema>

export const crossEntropy: Loss<CrossEntropyOptions> = declareCode(import.meta.url, {
  type: 'cross-entropy',
  paper: 'Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision (arXiv 1512.00567), for label smoothing',
  compute: ({ labelSmoothing }, { logits, targets }) => ({ loss: tokenCrossEntropy(logits, targets, labelSmoothing) }),
})
