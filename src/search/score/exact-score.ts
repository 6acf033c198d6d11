import type { LabelSet } from '../../data/texts/labels.js'
import { classScores } from '../../data/texts/verbalizer.js'
import { mellowmaxOf } from '../../losses/mellowmax.js'
import { logSumExp, mean } from '../../numbers.js'
import type { SearchRow } from '../space/token-space.js'
import { gapLoss, isRight, type Measure } from './measure.js'

/** What a row costs by what the model says of its answer, in numbers. Which prompt stood before it, and what else counts, is unknown here. */

/** What a pass says of a sequence's reads; the answer's tokens stand last. */
export interface ReadValues {
  readonly logProbabilities: Float64Array
  readonly logits: Float64Array
  /** Of the answer's tokens. */
  readonly isHighest: boolean
}

/** What exact scores are of. */
export interface Scoring {
  readonly measure?: Measure | undefined
  /** Mellowmax over the negated logits of the answer's tokens, with this alpha, instead of their mean cross entropy. */
  readonly mellowmax?: number | undefined
  /** The closed set of answers, which `mistakes` and `gap` compare. */
  readonly labels?: LabelSet | undefined
}

export interface RowCost {
  readonly loss: number
  /** Negative log-likelihood of the right answer: the mean of its tokens, or of the right label among the labels. */
  readonly cost: number
  /** Whether every token is the likeliest one where it stands; of compared labels, whether the right one is. */
  readonly isExact: boolean
}

/** Of an answer, from the log-probabilities of its tokens. */
export function answerCost(measure: Measure | undefined, logProbabilities: ArrayLike<number>, isExact: boolean): number {
  if (measure === 'mistakes') return isExact ? 0 : 1
  const meanCost = -mean(logProbabilities)
  return measure === 'probability' ? 1 - Math.exp(-meanCost * logProbabilities.length) : meanCost
}

/** Of a row that stands alone. */
export function rowCost(
  { mellowmax, measure }: Scoring,
  { logProbabilities, logits, isHighest }: ReadValues,
  answer: readonly number[],
): RowCost {
  const first = logits.length - answer.length
  const loss =
    mellowmax === undefined || measure === 'mistakes'
      ? answerCost(measure, logProbabilities.subarray(first), isHighest)
      : mellowmaxOf(logits.subarray(first), mellowmax)
  return { loss, cost: -mean(logProbabilities.subarray(first)), isExact: isHighest }
}

/** Scores of the labels, from a row with the answers of the closed set. */
export function labelScores(labels: LabelSet, read: readonly ReadValues[], variants: readonly SearchRow[]): number[] {
  const words = read.map(({ logProbabilities }, i) =>
    logProbabilities.subarray(logProbabilities.length - variants[i]!.answer.length).reduce((sum, x) => sum + x, 0),
  )
  return classScores(labels, words)
}

/** Of a row with the answers of the closed set. */
export function comparedCost(
  measure: Measure | undefined,
  labels: LabelSet,
  read: readonly ReadValues[],
  variants: readonly SearchRow[],
  { choices }: SearchRow,
): RowCost {
  const scores = labelScores(labels, read, variants)
  const isExact = isRight(scores, choices!.target)
  const cost = logSumExp(scores) - scores[choices!.target]!
  return { loss: measure === 'gap' ? gapLoss(scores, choices!.target) : isExact ? 0 : 1, cost, isExact }
}

/** Over rows. */
export function exactness(rows: readonly boolean[]): { exact: boolean; exactRows: number } {
  const right = rows.filter(isExact => isExact).length
  return { exact: right === rows.length, exactRows: right / rows.length }
}
