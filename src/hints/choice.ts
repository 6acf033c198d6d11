import { logSumExp } from '../numbers.js'

/** Which of several hints are learned from: arithmetic on what each makes of the answer's likelihood. It knows no model. */

/** A text and what it is worth. */
export interface Candidate {
  readonly hint: string
  /** u(z) = log p(y | x, z) - log p(y | x): in nats, of the right class among the classes, or of a token of a free answer. */
  readonly gain: number
  /** It says the answer. */
  readonly leaks: boolean
}

const wordsOf = (text: string): readonly string[] => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []

/**
 * Whether a text says one of some answers: its words, whole and in their order, whatever their case. An answer without words (a sign) has
 * to stand by itself.
 */
export function leaks(text: string, answers: readonly string[]): boolean {
  const words = wordsOf(text)
  return answers.some(answer => {
    const sought = wordsOf(answer)
    if (sought.length === 0) return answer.trim() !== '' && text.split(/\s+/).includes(answer.trim())
    return words.some((_, from) => sought.every((word, i) => words[from + i] === word))
  })
}

/**
 * The text of a row that is learned from: the one of the highest gain, of equal ones the first, among those that help and do not say the
 * answer.
 * @returns undefined where none does
 */
export function bestOf<Kept extends Candidate>(candidates: readonly Kept[]): Kept | undefined {
  let best: Kept | undefined
  for (const candidate of candidates)
    if (candidate.hint !== '' && !candidate.leaks && candidate.gain > (best?.gain ?? 0)) best = candidate
  return best
}

/** The log-probability of a class among all of them, from their log-likelihoods. */
export const logShare = (logLikelihoods: readonly number[], target: number): number =>
  logLikelihoods[target]! - logSumExp(logLikelihoods)

/** A text, and what it is worth before each training row; 0 where it says the answer of the row. */
export interface FixedCandidate {
  readonly hint: string
  readonly gains: readonly number[]
}

/**
 * The one text that is best before all rows alike, by its mean gain; no text at all ('') gains 0, and is taken where none gains more.
 * This is what a policy is held against: all that it writes for a row in particular has to be worth more.
 */
export function bestFixed(candidates: readonly FixedCandidate[]): { readonly hint: string; readonly gain: number } {
  let best = { hint: '', gain: 0 }
  for (const { hint, gains } of candidates) {
    const gain = gains.reduce((sum, value) => sum + value, 0) / gains.length
    if (gain > best.gain) best = { hint, gain }
  }
  return best
}
