import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { mean } from '../../numbers.js'

/** Softmaxes of runs of logits that stand one after the other. */
export function softmaxes(logits: Float32Array, lengths: readonly number[]): number[][] {
  let start = 0
  return lengths.map(length => {
    const own = logits.subarray(start, start + length)
    start += length
    const highest = own.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY)
    const weights = Array.from(own, logit => Math.exp(logit - highest))
    const sum = weights.reduce((total, weight) => total + weight, 0)
    return weights.map(weight => weight / sum)
  })
}

/** An index by its probability. */
export function drawFrom(shares: readonly number[], random: RandomGenerator): number {
  let left = (random.next() >>> 0) / 0x1_0000_0000
  const place = shares.findIndex(share => {
    left -= share
    return left < 0
  })
  return place < 0 ? shares.length - 1 : place
}

/** In nats. */
export const entropyOf = (shares: readonly number[]): number =>
  shares.reduce((sum, share) => sum - (share > 0 ? share * Math.log(share) : 0), 0)

/**
 * The gradient of the expected loss by the logits, from prompts that were drawn: each weighs as much as its loss lies above the mean of
 * the others.
 *
 * @param shares probabilities at each position
 * @param drawn the choice at each position, and the loss; nothing follows from fewer than two
 */
export function policyGradient(
  shares: readonly (readonly number[])[],
  drawn: readonly { readonly choice: readonly number[]; readonly loss: number }[],
): Float32Array {
  const gradient = new Float32Array(shares.reduce((sum, { length }) => sum + length, 0))
  if (drawn.length < 2) return gradient
  const middle = mean(drawn.map(({ loss }) => loss))
  for (const { choice, loss } of drawn) {
    // (loss - mean of the others) / n = (loss - mean of all) / (n - 1)
    const weight = (loss - middle) / (drawn.length - 1)
    let start = 0
    for (const [j, own] of shares.entries()) {
      for (const [c, share] of own.entries()) gradient[start + c]! += weight * (Number(choice[j] === c) - share)
      start += own.length
    }
  }
  return gradient
}
