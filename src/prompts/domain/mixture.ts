import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { cholesky, logDeterminant, solve } from '../../cholesky.js'
import { logSumExp, squaredDistance } from '../../numbers.js'
import { randomGenerator, streams } from '../../random.js'

/**
 * A mixture of Gaussians by expectation maximisation, with the arithmetic of scikit-learn's `GaussianMixture` (1.5): `ridge` is added to
 * every variance, and shares are computed by their logarithms.
 */

export const covariances = ['full', 'diagonal'] as const
export type Covariance = (typeof covariances)[number]

export interface Gaussian {
  readonly weight: number
  /** [D] */
  readonly mean: Float64Array
  /** `full`: [D, D]; `diagonal`: [D]. */
  readonly covariance: Float64Array
}

export interface Mixture {
  readonly covariance: Covariance
  readonly components: readonly Gaussian[]
}

export interface MixtureOptions {
  /** How many Gaussians; no more than there are points. */
  readonly count: number
  readonly covariance: Covariance
  /** What every variance has at least. */
  readonly ridge: number
  readonly seed: number
  readonly iterations?: number
  /** The mean log-likelihood has to grow by more, or it is over. */
  readonly tolerance?: number
  /** Where it begins; by default from groups of points that are near each other, drawn by seed. */
  readonly start?: Mixture
}

/** What keeps a component without points a component; scikit-learn's. */
const aboveNothing = 10 * Number.EPSILON

/** @param points of equal length, one at least */
export function fitMixture(points: readonly Float64Array[], options: MixtureOptions): Mixture {
  const { covariance, ridge, iterations = 100, tolerance = 1e-3 } = options
  let mixture = options.start ?? maximised(points, groups(points, options), { covariance, ridge })
  let before = Number.NEGATIVE_INFINITY
  for (let i = 0; i < iterations; i++) {
    const open = openMixture(mixture)
    const logs = points.map(point => open.logDensities(point))
    const likelihood = logs.reduce((sum, own) => sum + logSumExp(own), 0) / points.length
    mixture = maximised(points, logs.map(shares), { covariance, ridge })
    if (Math.abs(likelihood - before) < tolerance) break
    before = likelihood
  }
  return mixture
}

/** Probabilities of which these are the logarithms, but for a constant: none of them under- or overflows. */
function shares(logs: readonly number[]): number[] {
  const all = logSumExp(logs)
  return logs.map(log => Math.exp(log - all))
}

/** @param responsibilities of each point, what each component has of it */
function maximised(
  points: readonly Float64Array[],
  responsibilities: readonly (readonly number[])[],
  { covariance, ridge }: { readonly covariance: Covariance; readonly ridge: number },
): Mixture {
  const size = points[0]!.length
  const components = responsibilities[0]!.map((_, k): Gaussian => {
    const mass = aboveNothing + responsibilities.reduce((sum, own) => sum + own[k]!, 0)
    const mean = new Float64Array(size)
    for (const [i, point] of points.entries())
      for (let d = 0; d < size; d++) mean[d]! += (responsibilities[i]![k]! * point[d]!) / mass
    const spread = new Float64Array(covariance === 'full' ? size * size : size)
    for (const [i, point] of points.entries()) {
      const share = responsibilities[i]![k]! / mass
      const off = point.map((x, d) => x - mean[d]!)
      if (covariance === 'diagonal') for (let d = 0; d < size; d++) spread[d]! += share * off[d]! ** 2
      else for (let a = 0; a < size; a++) for (let b = 0; b < size; b++) spread[a * size + b]! += share * off[a]! * off[b]!
    }
    for (let d = 0; d < size; d++) spread[covariance === 'full' ? d * size + d : d]! += ridge
    return { weight: mass / points.length, mean, covariance: spread }
  })
  const all = components.reduce((sum, { weight }) => sum + weight, 0)
  return { covariance, components: components.map(one => ({ ...one, weight: one.weight / all })) }
}

/** Points in groups by their nearest centre, which are spread out at first (k-means++) and moved a few times. */
function groups(points: readonly Float64Array[], { count, seed }: MixtureOptions): number[][] {
  const random = randomGenerator(seed, streams.domain, 0)
  const centres = [points[Math.floor(uniformFloat64(random) * points.length)]!]
  while (centres.length < Math.min(count, points.length)) {
    const far = points.map(point => Math.min(...centres.map(centre => squaredDistance(point, centre))))
    // Points that are all alike have no further centre.
    if (!far.some(x => x > 0)) break
    let left = uniformFloat64(random) * far.reduce((sum, x) => sum + x, 0)
    const drawn = far.findIndex(x => {
      left -= x
      return x > 0 && left <= 0
    })
    centres.push(points[drawn < 0 ? far.indexOf(Math.max(...far)) : drawn]!)
  }
  let nearest: number[] = []
  for (let i = 0; i < 10; i++) {
    nearest = points.map(point => leastOf(centres.map(centre => squaredDistance(point, centre))))
    for (const [k] of centres.entries()) {
      const own = points.filter((_, i) => nearest[i] === k)
      if (own.length > 0)
        centres[k] = Float64Array.from(own[0]!, (_, d) => own.reduce((sum, one) => sum + one[d]!, 0) / own.length)
    }
  }
  return nearest.map(own => centres.map((_, k) => Number(k === own)))
}

const leastOf = (values: readonly number[]) => values.indexOf(Math.min(...values))

/** A mixture whose inverses are computed once. */
export interface OpenMixture {
  /** log(weight_k N_k(point)) of each component. */
  logDensities(point: Float64Array): number[]
  /** The gradient of log p at a point, sum over k of r_k(t) (-S_k^-1 (t - mu_k)), [D]. */
  score(point: Float64Array): Float64Array
}

export function openMixture({ covariance, components }: Mixture): OpenMixture {
  const opened = components.map(({ weight, mean, covariance: spread }) => {
    const solver = covariance === 'full' ? fullSolver(spread, mean.length) : diagonalSolver(spread)
    return { weight, mean, ...solver }
  })
  const parts = (point: Float64Array) =>
    opened.map(({ weight, mean, solve, logDeterminant }) => {
      const off = point.map((x, d) => x - mean[d]!)
      const solved = solve(off)
      const distance = off.reduce((sum, x, d) => sum + x * solved[d]!, 0)
      return { solved, log: Math.log(weight) - 0.5 * (mean.length * Math.log(2 * Math.PI) + logDeterminant + distance) }
    })
  return {
    logDensities: point => parts(point).map(({ log }) => log),
    score(point) {
      const own = parts(point)
      const weights = shares(own.map(({ log }) => log))
      return point.map((_, d) => -own.reduce((sum, { solved }, k) => sum + weights[k]! * solved[d]!, 0))
    },
  }
}

/** How a covariance S is divided by. */
interface Solver {
  /** S^-1 x */
  solve(x: Float64Array): Float64Array
  readonly logDeterminant: number
}

const diagonalSolver = (variances: Float64Array): Solver => ({
  solve: x => x.map((value, d) => value / variances[d]!),
  logDeterminant: variances.reduce((sum, x) => sum + Math.log(x), 0),
})

function fullSolver(spread: Float64Array, size: number): Solver {
  const factor = cholesky(spread, size)
  return { solve: x => solve(factor, x, size), logDeterminant: logDeterminant(factor, size) }
}
