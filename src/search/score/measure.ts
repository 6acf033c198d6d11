import { z } from 'zod'

/**
 * What a prompt is judged by. `cross-entropy`: the mean over an answer's tokens. `probability`: 1 minus that of the whole answer, so a row
 * that is hopeless counts no more than one that is lost. `mistakes`: the share of rows whose likeliest answer is not theirs (of free text:
 * in which some token of the answer is not the likeliest). `gap`: how far the right label's probability among the labels lies below the
 * best other's, as RLPrompt weighs it (Deng et al. 2022, arXiv 2205.12548).
 */
export const measures = ['cross-entropy', 'probability', 'mistakes', 'gap'] as const
export type Measure = (typeof measures)[number]

export const measureOption = z
  .enum(measures)
  .describe(
    'what exact scores are of: the cross entropy of answers, 1 minus their probability, the share of mistakes, or the gap between the right label and the best other; by default as the method needs, mostly the first',
  )

/** RLPrompt's lambda_1 / lambda_2, 180 / 200: a wrong answer counts a little less, so that right answers are not traded for it. */
const WRONG_WEIGHT = 180 / 200

/** The measure of a method that learns from labels: their gap, or, where the model reasons and no labels are compared, mistakes. */
export const labelGap = ({ extractor }: { readonly extractor?: string | undefined }): Measure =>
  extractor !== undefined ? 'mistakes' : 'gap'

/** Of one row, from the scores of the labels in nats: between -1 and 0.9, below 0 where the right label is the likeliest. */
export function gapLoss(scores: readonly number[], target: number): number {
  const highest = Math.max(...scores)
  const weights = scores.map(score => Math.exp(score - highest))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  const others = weights.filter((_, i) => i !== target)
  const gap = (weights[target]! - Math.max(0, ...others)) / sum
  return -gap * (gap > 0 ? 1 : WRONG_WEIGHT)
}

/** Whether the right label is the likeliest, the first of equals. */
export const isRight = (scores: readonly number[], target: number): boolean => scores.indexOf(Math.max(...scores)) === target
