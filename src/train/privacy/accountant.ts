import { GradpromptError } from '../../errors.js'
import { logSumExp } from '../../numbers.js'

/**
 * What training with noise gives away: Rényi differential privacy of the Gaussian mechanism over Poisson samples (Mironov, Talwar and Zhang
 * 2019, arXiv 1908.10530), composed over steps and turned into (epsilon, delta). All sums are of logarithms, so that no order overflows.
 */

/** Orders at which the divergence is known; the best of them counts. */
const orders = [...Array.from({ length: 63 }, (_, i) => i + 2), 80, 96, 128, 192, 256, 384, 512]

/** log n!, by Stirling's series from 16 on and by sums below: exact to 1e-12. */
function logFactorial(n: number): number {
  let sum = 0
  if (n < 16) {
    for (let i = 2; i <= n; i++) sum += Math.log(i)
    return sum
  }
  const x = n + 1
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5)
}

export const logBinomial = (n: number, k: number) => logFactorial(n) - logFactorial(k) - logFactorial(n - k)

/**
 * The divergence of one step at a whole order: of the sampled Gaussian, log sum_k C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 s^2)) / (a - 1)
 * (eq. 3 and section 3.3 there); where every record is taken, a / (2 s^2).
 * @param order at least 2
 * @param rate the chance of each record to be in a step, above 0, at most 1
 * @param noise the standard deviation of the noise in units of the clipping norm
 */
export function stepDivergence(order: number, rate: number, noise: number): number {
  if (rate === 1) return order / (2 * noise ** 2)
  const terms = Array.from({ length: order + 1 }, (_, k) => {
    const drawn = (order - k) * Math.log1p(-rate) + (k === 0 ? 0 : k * Math.log(rate))
    return logBinomial(order, k) + drawn + (k * k - k) / (2 * noise ** 2)
  })
  return logSumExp(terms) / (order - 1)
}

/** What has been done. */
export interface NoisySteps {
  readonly rate: number
  readonly noise: number
  readonly steps: number
  readonly delta: number
}

/**
 * Epsilon at a delta of whatever has these divergences: the least over orders of the divergence + log((a - 1) / a) - (log delta + log a) / (a - 1)
 * (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, proposition 12).
 * @param divergences of everything that was done, by order (above 1)
 */
export function epsilonAt(divergences: Iterable<readonly [order: number, divergence: number]>, delta: number): number {
  let least = Number.POSITIVE_INFINITY
  for (const [order, divergence] of divergences) {
    const epsilon = divergence + Math.log1p(-1 / order) - (Math.log(delta) + Math.log(order)) / (order - 1)
    if (epsilon < least) least = epsilon
  }
  return Math.max(0, least)
}

/** Epsilon of so many steps at a delta. */
export function epsilonOf({ rate, noise, steps, delta }: NoisySteps): number {
  if (steps === 0) return 0
  return epsilonAt(
    orders.map(order => [order, steps * stepDivergence(order, rate, noise)] as const),
    delta,
  )
}

/** The same with log(1 / delta) / (a - 1), as the first accountants had it (Mironov 2017, arXiv 1702.07476): never below the other. */
export function plainEpsilonOf({ rate, noise, steps, delta }: NoisySteps): number {
  return Math.min(...orders.map(order => steps * stepDivergence(order, rate, noise) - Math.log(delta) / (order - 1)))
}

/** More noise than that leaves nothing to learn from. */
const mostNoise = 1000

/**
 * The least noise, to 0.1 %, with which so many steps stay within epsilon.
 * @throws GradpromptError `privacy-unreachable`
 */
export function noiseFor({ epsilon, ...steps }: Omit<NoisySteps, 'noise'> & { readonly epsilon: number }): number {
  const spent = (noise: number) => epsilonOf({ ...steps, noise })
  if (!(spent(mostNoise) <= epsilon))
    throw new GradpromptError('privacy-unreachable', 'this epsilon cannot be met', {
      found: `epsilon ${epsilon} over ${steps.steps} steps at delta ${steps.delta}`,
      expected: `at least ${(1.01 * spent(mostNoise)).toPrecision(3)}`,
      hint: 'a larger epsilon or delta, fewer steps, or smaller batches of more rows',
    })
  let [low, high] = [0.1, mostNoise]
  if (spent(low) <= epsilon) return low
  while (high / low > 1.001) {
    const middle = Math.sqrt(low * high)
    if (spent(middle) <= epsilon) high = middle
    else low = middle
  }
  return high
}
