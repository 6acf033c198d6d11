import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { drawWeighted } from './pareto.js'

/** A tree-structured Parzen estimator over choices (Bergstra et al. 2011), several at once and multivariate as Optuna has it. */

export interface Trial {
  /** Which choice of each variable. */
  readonly choices: readonly number[]
  /** More is better. */
  readonly score: number
}

const CANDIDATES = 24

/**
 * How likely each value of one variable is by some observations of it: a mixture, in equal parts, of a kernel for each observation and a
 * uniform prior. A kernel is 1 at its observation and 1 / (n + 1) more everywhere, normalised.
 * @returns [observations.length + 1][size], the prior last
 */
export function kernels(observations: readonly number[], size: number): number[][] {
  const spread = 1 / (observations.length + 1)
  const own = observations.map(seen => {
    const values = Array.from({ length: size }, (_, choice) => Number(choice === seen) + spread)
    const sum = values.reduce((total, value) => total + value, 0)
    return values.map(value => value / sum)
  })
  return [...own, Array.from({ length: size }, () => 1 / size)]
}

/** The joint density of choices under observations: a mixture over the observations of products over the variables. */
export function density(
  observations: readonly (readonly number[])[],
  sizes: readonly number[],
): (choices: readonly number[]) => number {
  const byVariable = sizes.map((size, v) =>
    kernels(
      observations.map(seen => seen[v]!),
      size,
    ),
  )
  const parts = observations.length + 1
  return choices => {
    let sum = 0
    for (let k = 0; k < parts; k++) sum += choices.reduce((product, choice, v) => product * byVariable[v]![k]![choice]!, 1)
    return sum / parts
  }
}

/**
 * What to try next: at random for the first trials, then what is likelier among the good tenth than among the others.
 * @param startup trials that are random
 */
export function suggested(
  trials: readonly Trial[],
  sizes: readonly number[],
  random: RandomGenerator,
  startup: number,
): number[] {
  if (trials.length < startup) return sizes.map(size => uniformInt(random, 0, size - 1))
  const order = [...trials].sort((a, b) => b.score - a.score)
  const good = order.slice(0, Math.min(Math.ceil(0.1 * trials.length), 25)).map(({ choices }) => choices)
  const bad = order.slice(good.length).map(({ choices }) => choices)
  const [isGood, isBad] = [density(good, sizes), density(bad, sizes)]
  const drawn = Array.from({ length: CANDIDATES }, () => {
    const kernel = uniformInt(random, 0, good.length)
    return sizes.map((size, v) => {
      const weights = kernels(
        good.map(seen => seen[v]!),
        size,
      )[kernel]!
      const choices = [...weights.keys()]
      return drawWeighted(choices, choice => weights[choice]!, random)
    })
  })
  const gain = (choices: readonly number[]) => Math.log(isGood(choices)) - Math.log(isBad(choices))
  return drawn.reduce((best, choices) => (gain(choices) > gain(best) ? choices : best))
}
