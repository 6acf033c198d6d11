import { mean } from '../numbers.js'

/**
 * How unlikely a prompt's own tokens are where they stand: the mean negative log-likelihood of those that are searched, beside what an
 * answer costs (ARCA, Jones et al. 2023, arXiv 2303.04381). It is a cross entropy of other targets, so that exact scores take it from
 * log-probabilities, and gradients from the cross entropy under the weights here.
 */

/** Of one text, from the log-probabilities of its tokens; 0 of none. */
export const disfluency = (logProbabilities: ArrayLike<number>): number => -mean(logProbabilities)

/** What an answer costs, with the term. */
export const withFluency = (loss: number, weight: number, disfluencies: ArrayLike<number>): number =>
  weight > 0 ? loss + weight * mean(disfluencies) : loss

/** What each of a text's tokens weighs in a cross entropy in which the text itself weighs `share`. */
export const fluencyWeight = (share: number, weight: number, tokens: number): number => (share * weight) / tokens
