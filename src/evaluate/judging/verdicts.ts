import { mean } from '../../numbers.js'
import { mcnemarExact } from '../comparison.js'
import { bootstrap, type MetricValue } from '../intervals.js'

/**
 * What a judge says of pairs of answers, and what it comes to. Each pair is judged in both orders, so that a judge that likes the first
 * of two, whatever it says, decides nothing. It knows no judge and no model.
 */

/** Two answers to one input. */
export interface AnswerPair {
  readonly index: number
  readonly input: string
  readonly baseline: string
  readonly other: string
}

/** The probability that a judge finds the answer that stands first better, in each order. */
export interface Judgement {
  readonly index: number
  readonly baselineFirst: number
  readonly otherFirst: number
  /** Characters of the other answer less those of the baseline's. */
  readonly longer: number
  /** For the other: 1 it is better in both orders, 0 in none, 0.5 where the orders differ or a judge has no opinion. */
  readonly score: number
}

/** @param baselineFirst how likely the first is better with the baseline's answer first */
export function judgementOf(pair: AnswerPair, baselineFirst: number, otherFirst: number): Judgement {
  const one = (probability: number) => (probability === 0.5 ? 0.5 : Number(probability > 0.5))
  // Where both orders agree, it is on 0 or 1; everything else says nothing.
  const both = [1 - one(baselineFirst), one(otherFirst)]
  const score = both[0] === both[1] ? both[0]! : 0.5
  return { index: pair.index, baselineFirst, otherFirst, longer: pair.other.length - pair.baseline.length, score }
}

export interface JudgedPairs {
  readonly rows: number
  /** Mean score of the other against the baseline: 0.5 is even. */
  readonly winRate: MetricValue
  readonly wins: number
  readonly ties: number
  readonly losses: number
  /** The exact sign test over wins and losses, two-sided. */
  readonly signTest: number
  /** The rate at answers of equal length; absent where no two differ in length. */
  readonly lengthControlled?: MetricValue
  /** Mean difference in length, in characters. */
  readonly longer: number
  /** The share of pairs, among those that the judge was asked about, on which both orders agree. */
  readonly consistency: number
  /** How often it took the answer that stood first: 0.5 where the place says nothing. */
  readonly firstRate: number
}

/**
 * @param judgements of at least one pair
 * @param asked of them, those that were judged: equal answers are ties that nobody was asked about
 */
export function judgedPairs(
  judgements: readonly Judgement[],
  { seed, asked = judgements }: { readonly seed: number; readonly asked?: readonly Judgement[] },
): JudgedPairs {
  const scores = judgements.map(({ score }) => score)
  const lengths = judgements.map(({ longer }) => longer)
  const of = (wanted: number) => scores.filter(score => score === wanted).length
  const [wins, losses] = [of(1), of(0)]
  const rate = (rows: Int32Array) => mean(Array.from(rows, row => scores[row]!))
  const differs = lengths.some(length => length !== 0)
  const controlled = (rows: Int32Array) =>
    rateAtEqualLength(
      Array.from(rows, row => scores[row]!),
      Array.from(rows, row => lengths[row]!),
    )
  const agrees = asked.filter(({ score }) => score !== 0.5).length
  const first = asked.flatMap(({ baselineFirst, otherFirst }) => [baselineFirst, otherFirst])
  return {
    rows: judgements.length,
    winRate: bootstrap(judgements.length, { rate }, { seed }).rate,
    wins,
    ties: judgements.length - wins - losses,
    losses,
    signTest: mcnemarExact(losses, wins),
    ...(differs && { lengthControlled: bootstrap(judgements.length, { controlled }, { seed, resamples: 500 }).controlled }),
    longer: mean(lengths),
    consistency: asked.length === 0 ? 1 : agrees / asked.length,
    firstRate: first.length === 0 ? 0.5 : mean(first.map(p => (p === 0.5 ? 0.5 : Number(p > 0.5)))),
  }
}

/** Keeps a slope that lengths explain altogether finite, and says nothing of the rate where they explain nothing. */
const slopePenalty = 0.01
/** A rate of 0 or 1 has an infinite logit. */
const mostLogit = 20

/**
 * A logistic regression of the score on tanh(difference in length / its standard deviation), at a difference of 0 (after Dubois et al.
 * 2024, Length-Controlled AlpacaEval, arXiv 2404.04475).
 */
export function rateAtEqualLength(scores: readonly number[], lengths: readonly number[]): number {
  const spread = Math.sqrt(mean(lengths.map(length => length ** 2)))
  const x = lengths.map(length => (spread === 0 ? 0 : Math.tanh(length / spread)))
  let [a, b] = [0, 0]
  for (let step = 0; step < 50; step++) {
    let [ga, gb, haa, hab, hbb] = [0, -slopePenalty * b, 1e-9, 0, slopePenalty]
    for (const [i, score] of scores.entries()) {
      const p = 1 / (1 + Math.exp(-(a + b * x[i]!)))
      const weight = p * (1 - p)
      ga += score - p
      gb += (score - p) * x[i]!
      haa += weight
      hab += weight * x[i]!
      hbb += weight * x[i]! ** 2
    }
    const determinant = haa * hbb - hab ** 2
    const [da, db] = [(hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant]
    // Far from the end a whole step may overshoot.
    const shorter = Math.min(1, 2 / Math.max(Math.abs(da), Math.abs(db), 1e-12))
    a = Math.max(-mostLogit, Math.min(mostLogit, a + shorter * da))
    b += shorter * db
    if (Math.abs(da) + Math.abs(db) < 1e-10) break
  }
  return 1 / (1 + Math.exp(-a))
}

/** How two judges agree over the same pairs. */
export interface Agreement {
  /** Share of pairs with the same verdict. */
  readonly share: number
  /** Cohen's kappa over wins, ties and losses; absent where both always say the same thing. */
  readonly kappa?: number
}

export function agreementOf(one: readonly Judgement[], other: readonly Judgement[]): Agreement {
  const verdicts = [0, 0.5, 1]
  const share = mean(one.map(({ score }, i) => Number(score === other[i]!.score)))
  const of = (judgements: readonly Judgement[], verdict: number) => mean(judgements.map(({ score }) => Number(score === verdict)))
  const chance = verdicts.reduce((sum, verdict) => sum + of(one, verdict) * of(other, verdict), 0)
  return { share, ...(chance < 1 && { kappa: (share - chance) / (1 - chance) }) }
}
