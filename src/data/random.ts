import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'

/**
 * A generator for one purpose: `stream` tells apart what is drawn under the same seed (an epoch, a file), so that neither
 * repeats the other's draws. Seed and stream are mixed with MurmurHash3's finaliser, since near seeds start alike otherwise.
 */
export function randomGenerator(seed: number, ...stream: readonly number[]): RandomGenerator {
  let state = seed | 0
  for (const part of stream) state = mix(Math.imul(state, 31) + (part | 0) + 0x9e3779b9)
  return xoroshiro128plus(mix(state))
}

function mix(value: number): number {
  let hash = value | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

/** A permuted copy (Fisher and Yates): the same for the same length, seed and stream. */
export function shuffle<T>(items: readonly T[], seed: number, ...stream: readonly number[]): T[] {
  const shuffled = [...items]
  const random = randomGenerator(seed, ...stream)
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = uniformInt(random, 0, i)
    const item = shuffled[i]!
    shuffled[i] = shuffled[j]!
    shuffled[j] = item
  }
  return shuffled
}
