import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { logSumExp } from '../../numbers.js'
import { randomGenerator, streams } from '../../random.js'
import { bestFirst } from '../space/objectives.js'
import {
  endsOf,
  isActive,
  type ListDomain,
  type NumberDomain,
  type Parameter,
  placeOf,
  type Values,
  valueAt,
} from '../space/space.js'
import { drawPlace, drawValue, gaussian, mostDraws, random } from './random.js'
import type { Choice, Sampler, Seen } from './sampler.js'

/**
 * The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate (Falkner et al. 2018): a density over all options at once of
 * the better trials, l, and one of the others, g; of candidates drawn from l that with the highest l/g is tried. Densities are mixtures
 * of a kernel at each trial and a wide one over all; the widths of kernels are as in Watanabe 2023 (arXiv:2304.11127), section 3.3.4.
 */

/** Trials that are drawn by themselves at first. */
const startTrials = 10
const candidates = 24
/** Of the trials, the share that counts as good, and the most of them. */
const goodShare = 0.1
const mostGood = 25
/** Width of a kernel beside its range with one trial. */
const widest = 0.2

export const tpe: Sampler = {
  description: 'near what was good, by the tree-structured Parzen estimator',
  choose(choice) {
    const { space, seen, trial, seed, fixed, allowed, tried } = choice
    const known = seen.filter(({ losses }) => losses !== undefined)
    if (known.length < startTrials) return random.choose(choice)
    const ordered = bestFirst(known)
    const count = Math.min(mostGood, Math.ceil(goodShare * known.length))
    // What runs just now counts among the others, so that several workers do not try the same.
    const running = seen.filter(({ losses }) => losses === undefined)
    const good = mixtureOf(space, ordered.slice(0, count))
    const bad = mixtureOf(space, [...ordered.slice(count), ...running])
    const generator = randomGenerator(seed, streams.sweep, trial)
    let best: { readonly values: Values; readonly score: number } | undefined
    let found = 0
    for (let draw = 0; draw < mostDraws && found < candidates; draw++) {
      const values = good.draw(fixed, generator)
      if (!allowed(values) || tried(values)) continue
      found++
      const score = good.logDensity(values) - bad.logDensity(values)
      if (best === undefined || score > best.score) best = { values, score }
    }
    return best?.values ?? random.choose(choice)
  },
}

interface Mixture {
  draw(fixed: Choice['fixed'], generator: RandomGenerator): Values
  logDensity(values: Values): number
}

interface Scale {
  /** @param at the trial whose kernel it is; undefined: the wide one */
  draw(at: number | undefined, generator: RandomGenerator): unknown
  /** @param place of the value on its scale */
  logDensity(at: number | undefined, place: number): number
}

function mixtureOf(space: readonly Parameter[], trials: readonly Seen[]): Mixture {
  const scales = space.map(parameter => {
    const places = trials.map(({ values }) =>
      Object.hasOwn(values, parameter.name) ? placeOf(parameter, values[parameter.name]) : undefined,
    )
    const { domain } = parameter
    return domain.kind === 'list' && !domain.ordered ? listScale(domain, places) : numberScale(domain, places, space.length)
  })
  return {
    draw(fixed, generator) {
      const kernel = Math.min(trials.length, Math.floor(((generator.next() >>> 0) / 0x1_0000_0000) * (trials.length + 1)))
      const values: Record<string, unknown> = {}
      space.forEach((parameter, i) => {
        if (isActive(parameter, values, fixed))
          values[parameter.name] = scales[i]!.draw(kernel === trials.length ? undefined : kernel, generator)
      })
      return values
    },
    logDensity(values) {
      const kernels = new Float64Array(trials.length + 1)
      space.forEach((parameter, i) => {
        if (!Object.hasOwn(values, parameter.name)) return
        const place = placeOf(parameter, values[parameter.name])!
        for (let kernel = 0; kernel <= trials.length; kernel++)
          kernels[kernel]! += scales[i]!.logDensity(kernel === trials.length ? undefined : kernel, place)
      })
      return logSumExp(kernels) - Math.log(trials.length + 1)
    },
  }
}

/** Values without an order: a trial's own value counts once more than the others. */
function listScale(domain: ListDomain, places: readonly (number | undefined)[]): Scale {
  const extra = 1 / (places.length + 1)
  const known = new Map<number, readonly number[]>()
  const weightsAt = (at: number | undefined): readonly number[] => {
    const place = at === undefined ? undefined : places[at]
    if (place === undefined) return domain.weights
    const before = known.get(place)
    if (before !== undefined) return before
    const weights = domain.weights.map(
      (weight, i) => (weight * domain.values.length * extra + (i === place ? 1 : 0)) / (domain.values.length * extra + 1),
    )
    known.set(place, weights)
    return weights
  }
  return {
    draw: (at, generator) => domain.values[drawPlace(weightsAt(at), generator)],
    logDensity: (at, place) => Math.log(weightsAt(at)[place]!),
  }
}

/** Numbers, or values with an order by their places: a normal distribution within the ends, at each trial. */
function numberScale(domain: ListDomain | NumberDomain, places: readonly (number | undefined)[], dimensions: number): Scale {
  const isList = domain.kind === 'list'
  const [low, high] = isList ? [0, domain.values.length - 1] : endsOf(domain)
  const range = high - low
  const step = isList ? 1 : domain.log ? undefined : domain.step
  // A value of a scale with steps stands for all that is rounded to it.
  const half = (step ?? 0) / 2
  const [from, to] = [low - half, high + half]
  const known = places.filter(place => place !== undefined).length
  const width = Math.max(widest * Math.max(1, known) ** (-1 / (dimensions + 4)) * range, range / Math.min(100, known + 2))
  const kernelAt = (at: number | undefined) => {
    const place = at === undefined ? undefined : places[at]
    return place === undefined ? { mean: (low + high) / 2, deviation: range } : { mean: place, deviation: width }
  }
  const normal = isList ? undefined : domain.normal
  // What of a kernel lies within the ends, computed once.
  const shares: number[] = []
  const shareOf = (at: number): number => {
    shares[at] ??= normalBetween(from, to, places[at]!, width)
    return shares[at]
  }
  return {
    draw(at, generator) {
      if (!isList && (at === undefined || places[at] === undefined)) return drawValue(domain, generator)
      if (isList && (at === undefined || places[at] === undefined)) return domain.values[drawPlace(domain.weights, generator)]
      const { mean, deviation } = kernelAt(at)
      let place = mean
      for (let draw = 0; draw < mostDraws; draw++) {
        place = mean + deviation * gaussian(generator)
        if (place >= from && place <= to) break
        place = mean
      }
      return isList ? domain.values[Math.min(high, Math.max(0, Math.round(place)))] : valueAt(domain, place)
    },
    logDensity(at, place) {
      const isWide = at === undefined || places[at] === undefined
      if (isWide && isList) return Math.log(domain.weights[place]!)
      if (isWide && normal === undefined) return -Math.log(step === undefined ? range : (to - from) / step)
      const { mean, deviation } = isWide ? normal! : kernelAt(at)
      const share = isWide ? normalBetween(from, to, mean, deviation) : shareOf(at)
      const own =
        step === undefined
          ? Math.exp(-0.5 * ((place - mean) / deviation) ** 2) / (deviation * Math.sqrt(2 * Math.PI))
          : normalBetween(place - half, place + half, mean, deviation)
      return Math.log(Math.max(own, 1e-300)) - Math.log(Math.max(share, 1e-300))
    },
  }
}

/** The share of a normal distribution between two places. */
const normalBetween = (from: number, to: number, mean: number, deviation: number): number =>
  (erf((to - mean) / (deviation * Math.SQRT2)) - erf((from - mean) / (deviation * Math.SQRT2))) / 2

/** The error function, to 1.2e-7 (Numerical Recipes, 2nd edition, section 6.2). */
function erf(x: number): number {
  const t = 1 / (1 + Math.abs(x) / 2)
  const coefficients = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
  ]
  const polynomial = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0)
  const rest = t * Math.exp(-x * x + polynomial)
  return x >= 0 ? 1 - rest : rest - 1
}
