/** Whether one prompt is better than another by the same questions: what races are decided by. */

export const pairedTests = ['t', 'permutation'] as const
export type PairedTest = (typeof pairedTests)[number]

/** Signs that are all gone through; beyond them a permutation test is drawn from its normal approximation. */
const MOST_SIGNS = 12

/**
 * The chance that differences as large as these come from a mean that is not above 0: one-sided and paired. NaN where all are 0.
 * @param differences of which more is better
 */
export function pairedChance(differences: readonly number[], test: PairedTest): number {
  if (differences.every(value => value === 0)) return Number.NaN
  return test === 't' ? studentChance(differences) : permutationChance(differences)
}

/** Student's t of the mean; 0 or 1 where all differences are alike. */
function studentChance(differences: readonly number[]): number {
  const n = differences.length
  const mean = differences.reduce((sum, value) => sum + value, 0) / n
  if (n < 2) return 0.5
  const variance = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)
  if (variance <= 1e-24) return mean > 0 ? 0 : 1
  const t = mean / Math.sqrt(variance / n)
  const freedom = n - 1
  const tail = 0.5 * incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5)
  return t > 0 ? tail : 1 - tail
}

/** The share of all choices of signs whose sum is at least as large: exact for few differences, otherwise normal with their variance. */
function permutationChance(differences: readonly number[]): number {
  const values = differences.filter(value => value !== 0)
  const sum = values.reduce((total, value) => total + value, 0)
  if (values.length > MOST_SIGNS) {
    const spread = Math.sqrt(values.reduce((total, value) => total + value * value, 0))
    return 0.5 * complementaryError(sum / spread / Math.SQRT2)
  }
  let atLeast = 0
  for (let signs = 0; signs < 2 ** values.length; signs++) {
    const drawn = values.reduce((total, value, i) => total + ((signs >> i) & 1 ? Math.abs(value) : -Math.abs(value)), 0)
    if (drawn >= sum - 1e-9) atLeast++
  }
  return atLeast / 2 ** values.length
}

/** erfc, to 1.2e-7 (Press et al. 1992, Numerical Recipes, section 6.2). */
function complementaryError(x: number): number {
  const t = 1 / (1 + 0.5 * Math.abs(x))
  const terms = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
  ]
  const value = t * Math.exp(-x * x + terms.reduceRight((sum, term) => sum * t + term, 0))
  return x >= 0 ? value : 2 - value
}

/** I_x(a, b), by its continued fraction (Lentz's method). */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a)
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a
  const tiny = 1e-300
  const kept = (value: number) => (Math.abs(value) < tiny ? tiny : value)
  let [c, d] = [1, 1 / kept(1 - ((a + b) * x) / (a + 1))]
  let fraction = d
  for (let m = 1; m < 300; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / kept(1 + even * d)
    c = kept(1 + even / c)
    fraction *= d * c
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / kept(1 + odd * d)
    c = kept(1 + odd / c)
    fraction *= d * c
    if (Math.abs(d * c - 1) < 1e-12) break
  }
  return front * fraction
}

/** Lanczos' approximation. */
function logGamma(x: number): number {
  const terms = [
    76.18009172947146, -86.50532032941678, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5,
  ]
  const shifted = x + 5.5
  const sum = terms.reduce((total, term, i) => total + term / (x + 1 + i), 1.000000000190015)
  return (x + 0.5) * Math.log(shifted) - shifted + Math.log((Math.sqrt(2 * Math.PI) * sum) / x)
}
