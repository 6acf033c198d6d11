import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { type Candidate, draw, pick } from './candidates.js'
import type { TokenSpace } from './token-space.js'

/** A prompt as the places of the first prompt that are left of it, with its loss. */
export type Individual = { readonly kept: readonly number[]; readonly loss: number }

/** Shares of the tokens that individuals of a first population lose. */
const FIRST_RATES = Array.from({ length: 10 }, (_, i) => 0.05 + (0.15 * i) / 9)
/** Draws of a number of tokens to drop before a parent counts as too short. */
const ATTEMPTS = 10

/** The best of a random part of the population, drawn with replacement. */
export function champion(population: readonly Individual[], share: number, random: RandomGenerator): Individual {
  const count = Math.max(1, Math.floor(population.length * share))
  const drawn = Array.from({ length: count }, () => pick(population, random))
  return drawn.reduce((best, other) => (other.loss < best.loss ? other : best))
}

/** A prompt with one to `most` searched tokens fewer; undefined where it has too few, since one has to be left. */
export function mutated(kept: readonly number[], most: number, space: TokenSpace, random: RandomGenerator): number[] | undefined {
  const free = new Set(space.free)
  const loose = kept.filter(place => free.has(place))
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const count = uniformInt(random, 1, most)
    if (count >= loose.length) continue
    const dropped = new Set(draw(loose, count, random))
    return kept.filter(place => !dropped.has(place))
  }
  return undefined
}

/** The first prompt without 5 % to 20 % of its searched tokens; at least one is left. */
export function thinned({ start, free }: TokenSpace, random: RandomGenerator): number[] {
  const rate = pick(FIRST_RATES, random)
  const lost = new Set(free.filter(() => (random.next() >>> 0) / 0x1_0000_0000 < rate))
  if (lost.size === free.length) lost.delete(free[0]!)
  return [...start.keys()].filter(place => !lost.has(place))
}

export const idsOf = ({ start }: TokenSpace, kept: readonly number[]): number[] => kept.map(place => start[place]!)

export function prunedTo(space: TokenSpace, kept: readonly number[]): Candidate {
  const left = new Set(kept)
  const dropped = [...space.start.keys()].filter(place => !left.has(place))
  return { ids: idsOf(space, kept), swaps: dropped.map(position => ({ position, from: space.start[position]!, to: null })) }
}
