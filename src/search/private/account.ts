import { logSumExp } from '../../numbers.js'
import { epsilonAt, logBinomial } from '../../train/privacy/accountant.js'

/**
 * What noisy votes give away of a row, in logarithms throughout.
 *
 * A vote is the choice of `limited-domain.ts`: but for events of a chance of delta0 at most, it draws in proportion to exp(eps0 * count). A row
 * that is added to it changes the logarithm of a draw's chance by no more than a range r: eps0 where the row adds a vote, twice that where it
 * moves one from a token to another (one count falls, another rises). Its probability ratio then lies between exp(t - r) and exp(t) for some t
 * in [0, r], with a mean of 1 (Durfee and Rogers 2019, arXiv 1905.04273; Dong, Durfee and Rogers 2020, arXiv 1909.13830). Of all such ratios the
 * one with these two values has the highest divergence of every kind, since divergences are means of convex functions. Each row takes part by its
 * own chance q, so the ratio of the whole is 1 - q + q * ratio, and two values bound that as well: no general bound on amplification is
 * needed, and both directions, a row added or taken away, are exact up to the grid over t.
 */

/** Orders of divergence. Those below 2 are of use where epsilon is large. */
const orders = [1.1, 1.25, 1.5, 1.75, ...Array.from({ length: 198 }, (_, i) => i + 2)]

/** Steps of the grid over t: each is bounded by a ratio whose range is so much wider. */
const GRID = 64

/** A vote over rows that each take part by their own chance. */
export interface Vote {
  /** The chance of each row to take part, above 0, at most 1. */
  readonly rate: number
  /** Eps0: the noise on counts is Gumbel's, divided by it. */
  readonly tokenEpsilon: number
  /** Delta0: the chance of what the bound leaves out. */
  readonly tokenDelta: number
  /** Whether a row moves a vote of several rows, and does not add its own. */
  readonly moves: boolean
}

/** The divergence of a ratio that lies between exp(low) and exp(high) and has a mean of 1, in the worse direction. */
function divergenceWithin(order: number, low: number, high: number): number {
  // The chance of the higher value: (1 - exp(low)) / (exp(high) - exp(low)).
  const log = Math.log(-Math.expm1(low)) - (high + Math.log(-Math.expm1(low - high)))
  if (log === Number.NEGATIVE_INFINITY) return 0
  const rest = log >= 0 ? Number.NEGATIVE_INFINITY : Math.log(-Math.expm1(log))
  const power = (power: number) => logSumExp([log + power * high, rest + power * low])
  return Math.max(0, power(order), power(1 - order)) / (order - 1)
}

/**
 * The Rényi divergence of one vote, outside the events of delta0.
 * @param order above 1
 */
export function voteDivergence(order: number, { rate, tokenEpsilon, tokenDelta, moves }: Vote): number {
  const range = (moves ? 2 : 1) * tokenEpsilon
  const step = range / GRID
  // What the events that are left out had of both sides' probability.
  const slack = -2 * Math.log1p(-tokenDelta)
  // Log(1 - q + q exp(x)), with the larger power of e taken out first.
  const mixed = (x: number) => {
    if (rate === 1) return x
    return x > 0 ? x + Math.log1p((1 - rate) * Math.expm1(-x)) : Math.log1p(rate * Math.expm1(x))
  }
  let most = 0
  for (let i = 0; i < GRID; i++) {
    const [low, high] = [mixed(i * step - range) - slack, mixed((i + 1) * step) + slack]
    most = Math.max(most, divergenceWithin(order, low, high))
  }
  return most
}

/** Divergences of one vote at all orders. */
export const voteCurve = (vote: Vote): readonly (readonly [order: number, divergence: number])[] =>
  orders.map(order => [order, voteDivergence(order, vote)])

/** Delta of so many votes: that of the conversion, and of all events that were left out. */
export const deltaOf = ({ rate, tokenDelta }: Pick<Vote, 'rate' | 'tokenDelta'>, votes: number): number =>
  tokenDelta * (1 + rate * votes)

/**
 * Epsilon of so many votes at `deltaOf`, and of what else was drawn from the same rows.
 * @param more divergences of the latter, at the same orders
 */
export function votesEpsilon(
  curve: ReturnType<typeof voteCurve>,
  votes: number,
  tokenDelta: number,
  more?: ReturnType<typeof voteCurve>,
): number {
  if (votes === 0 && more === undefined) return 0
  return epsilonAt(
    curve.map(([order, divergence], i) => [order, votes * divergence + (more?.[i]?.[1] ?? 0)] as const),
    tokenDelta,
  )
}

const logCosh = (x: number) => Math.abs(x) + Math.log1p(Math.exp(-2 * Math.abs(x))) - Math.LN2

/**
 * The divergence of a choice whose chances change by a factor of exp(epsilon) at most: log((sinh(a e) - sinh((a - 1) e)) / sinh(e)) / (a - 1)
 * and no more than a e^2 / 2 (Bun and Steinke 2016, arXiv 1605.02065, remark 3.4 and proposition 3.3), as hyperbolic cosines, which do not
 * overflow as logarithms.
 */
export function choiceDivergence(order: number, epsilon: number): number {
  const tight = logCosh(((2 * order - 1) * epsilon) / 2) - logCosh(epsilon / 2)
  return Math.min((order * epsilon ** 2) / 2, tight / (order - 1))
}

/**
 * Epsilon as the program of the paper accounts for it (Hong et al. 2024, arXiv 2312.03724): whole orders to 199, a row counted as if it added a
 * vote where it moves one, and the general amplification with each term's divergence at the order above its own. Nothing here spends by it: it is
 * below what moved votes give away, and for eps0 below 1.1 its amplification is below the proven bound (Zhu and Wang 2019, theorem 5).
 */
export function publishedEpsilon({ rate, tokenEpsilon, tokenDelta }: Omit<Vote, 'moves'>, votes: number): number {
  const q = (rate * (1 - tokenDelta)) / (1 - rate * tokenDelta)
  const [out, into] = [Math.log1p(-q), Math.log(q)]
  const divergence = (order: number) => {
    const terms = [(order - 1) * out + Math.log1p((order - 1) * q)]
    for (let k = 2; k <= order; k++) {
      const own = k === 2 ? choiceDivergence(2, tokenEpsilon) : k * choiceDivergence(k + 1, tokenEpsilon)
      terms.push(logBinomial(order, k) + (order - k) * out + k * into + own)
    }
    return logSumExp(terms) / (order - 1)
  }
  return epsilonAt(
    orders.filter(order => Number.isInteger(order)).map(order => [order, votes * divergence(order)] as const),
    tokenDelta,
  )
}
