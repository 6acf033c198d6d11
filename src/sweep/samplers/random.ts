import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { randomGenerator, streams } from '../../random.js'
import { type Domain, endsOf, isActive, type Parameter, type Values, valueAt } from '../space/space.js'
import type { Choice, Sampler } from './sampler.js'

/** Draws that are tried before the constraints are taken to leave nothing. */
export const mostDraws = 2000

/** Each option by itself, as its list, range or distribution says (Bergstra and Bengio 2012). */
export const random: Sampler = {
  description: 'each option drawn by itself',
  choose({ space, trial, seed, fixed, allowed, tried }) {
    const generator = randomGenerator(seed, streams.sweep, trial)
    for (let draw = 0; draw < mostDraws; draw++) {
      const values = drawValues(space, fixed, generator)
      if (allowed(values) && !tried(values)) return values
    }
    return undefined
  },
}

/** One value of every option that is given. */
export function drawValues(space: readonly Parameter[], fixed: Choice['fixed'], generator: RandomGenerator): Values {
  const values: Record<string, unknown> = {}
  for (const parameter of space)
    if (isActive(parameter, values, fixed)) values[parameter.name] = drawValue(parameter.domain, generator)
  return values
}

/** From 0 up to 1. */
export const uniform = (generator: RandomGenerator): number => (generator.next() >>> 0) / 0x1_0000_0000

/** A draw of the standard normal distribution (Box and Muller). */
export const gaussian = (generator: RandomGenerator): number =>
  Math.sqrt(-2 * Math.log(1 - uniform(generator))) * Math.cos(2 * Math.PI * uniform(generator))

/** A place in a list, each as likely as its weight says. */
export function drawPlace(weights: ArrayLike<number>, generator: RandomGenerator): number {
  let rest = uniform(generator)
  for (let i = 0; i < weights.length; i++) {
    rest -= weights[i]!
    if (rest < 0) return i
  }
  return weights.length - 1
}

export function drawValue(domain: Domain, generator: RandomGenerator): unknown {
  if (domain.kind === 'list') return domain.values[drawPlace(domain.weights, generator)]
  const [low, high] = endsOf(domain)
  const { normal, step, log } = domain
  if (normal === undefined) {
    // Steps at the ends are as likely as the others.
    const half = step === undefined || log ? 0 : step / 2
    return valueAt(domain, low - half + uniform(generator) * (high - low + 2 * half))
  }
  for (let draw = 0; draw < mostDraws; draw++) {
    const place = normal.mean + normal.deviation * gaussian(generator)
    if (place >= low && place <= high) return valueAt(domain, place)
  }
  return valueAt(domain, Math.min(high, Math.max(low, normal.mean)))
}
