import { z } from 'zod'
import { declareCode } from '../code-identity.js'
import { logSumExp } from '../numbers.js'
import type { Loss } from './loss.js'
import { type Slopes, weighedLikelihoods } from './weighed-likelihoods.js'

/**
 * The cross entropy of a row's class among all classes, whose scores are the log-likelihoods of their whole answers: what a choice between
 * them is made by, where the mean over tokens of the vocabulary also learns which words are answers at all.
 *
 * It is computed in two passes, since the answers of a row may stand under different prompts: one says what every class scores, and by
 * that how the loss changes with each; the other is the gradient of the scores so weighed, which is the gradient of the loss.
 */
export const classCrossEntropySchema = z.strictObject({
  type: z
    .literal('class-cross-entropy')
    .describe('cross entropy of the right class among all, by the likelihood of their answers'),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe('share of the target that is spread over the classes'),
})

export type ClassCrossEntropyOptions = z.output<typeof classCrossEntropySchema>

/** What programs compute: the sum of log-likelihoods, weighed by their slopes. */
export const classCrossEntropy: Loss<ClassCrossEntropyOptions, Slopes> = declareCode(import.meta.url, {
  type: 'class-cross-entropy',
  paper:
    'Zhang et al. 2024, LAPT (arXiv 2407.08966), of which it is the loss; among the words of a verbalizer, Schick and Schütze 2021 (arXiv 2001.07676)',
  ofClasses: ({ labelSmoothing }, scores, target) => classLoss(scores, target, labelSmoothing),
  ...weighedLikelihoods,
})

/**
 * Of one row: with q the softmax of the scores and t the target, -sum t log q.
 * @param scores of the classes, in nats
 * @returns the loss, and its slope q - t by each score
 */
export function classLoss(
  scores: readonly number[],
  target: number,
  labelSmoothing = 0,
): { readonly loss: number; readonly slopes: number[] } {
  const level = logSumExp(scores)
  const spread = labelSmoothing / scores.length
  const wanted = scores.map((_, i) => spread + (i === target ? 1 - labelSmoothing : 0))
  return {
    loss: wanted.reduce((sum, share, i) => (share > 0 ? sum - share * (scores[i]! - level) : sum), 0),
    slopes: scores.map((score, i) => Math.exp(score - level) - wanted[i]!),
  }
}
