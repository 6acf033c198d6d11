import { z } from 'zod'
import { shuffle } from '../../random.js'
import { pick } from '../space/candidates.js'
import type { SearchContext } from './method.js'

/** Which free position a step considers: one at random, all of them in a new order each pass, or one after the other. */
export const positionPolicies = ['random', 'permuted', 'left-to-right'] as const
export type PositionPolicy = (typeof positionPolicies)[number]

export const positionOption = z.enum(positionPolicies).default('random').describe('the order in which positions are considered')

export function positionAt(policy: PositionPolicy, { space, step, seed, random }: SearchContext): number {
  const { free } = space
  if (policy === 'random') return pick(free, random(2))
  if (policy === 'left-to-right') return free[step % free.length]!
  return shuffle(free, seed, Math.floor(step / free.length))[step % free.length]!
}
