import type { LabelSet } from '../data/labels.js'
import type { ScoringRow } from '../data/rows.js'
import { GradpromptError } from '../errors.js'
import type { ActivePrompt, LanguageModel } from '../model/language-model.js'
import { answerMetrics } from './answer-metrics.js'
import type { MetricValue } from './intervals.js'
import { classificationMetrics } from './metrics.js'

/** Figures by name, each with its 95 % interval. */
export type Metrics = Readonly<Record<string, MetricValue>>

export interface Evaluation {
  readonly metrics: Metrics
  readonly rows: number
  /** The candidates, where answers are a closed set. */
  readonly labels?: readonly string[]
  /** `confusion[target][prediction]`: numbers of rows. */
  readonly confusion?: readonly (readonly number[])[]
}

export interface ScoreOptions {
  /** Rows that are scored at once; by default as many as fill a run. */
  readonly batchSize?: number | undefined
  readonly onProgress?: ((rows: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ScoredRows extends Evaluation {
  /** For each row and candidate, in nats: the sum over the answer's tokens. */
  readonly logLikelihoods: readonly (readonly number[])[]
  /** The likeliest candidate of each row; all 0 without a label set. */
  readonly predictions: readonly number[]
}

/** Tokens after which a further row would only make a run longer. */
const tokensPerRun = 2048

/**
 * Scores rows by the likelihood of their candidates' whole answers. Without a label set the only candidate is the row's own answer,
 * and the figures are those of `answerMetrics`.
 * @throws GradpromptError `no-rows`, `not-finite`, `aborted`
 */
export async function scoreRows(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  labels: LabelSet | undefined,
  { seed, ...options }: ScoreOptions & { seed: number },
): Promise<ScoredRows> {
  const logLikelihoods = await rowLogLikelihoods(model, prompt, rows, options)
  if (labels === undefined) {
    const answers = rows.map((row, i) => ({ logLikelihood: logLikelihoods[i]![0]!, tokens: row.candidates[0]!.ids.length }))
    return { metrics: answerMetrics(answers, { seed }), rows: rows.length, logLikelihoods, predictions: rows.map(() => 0) }
  }
  const scored = rows.map((row, i) => ({ target: row.target, logLikelihoods: logLikelihoods[i]! }))
  const { metrics, confusion, predictions } = classificationMetrics(scored, labels.candidates, { seed })
  return { metrics: { ...metrics }, rows: rows.length, labels: labels.candidates, confusion, logLikelihoods, predictions }
}

/** The part of a scoring that belongs into a run's files. */
export const summary = ({ metrics, rows, labels, confusion }: Evaluation): Evaluation => ({
  metrics,
  rows,
  ...(labels && { labels }),
  ...(confusion && { confusion }),
})

/** Rows of similar length go together, so that little is padded. */
async function rowLogLikelihoods(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  { batchSize, onProgress, signal }: ScoreOptions,
): Promise<number[][]> {
  const lengths = rows.map(({ context, candidates }) => candidates.reduce((sum, { ids }) => sum + ids.length - 1, context.length))
  const order = [...rows.keys()].sort((a, b) => lengths[a]! - lengths[b]! || a - b)
  const results: number[][] = new Array(rows.length)
  let done = 0
  while (done < order.length) {
    refuseAborted(signal)
    const batch = order.slice(done, nextBatch(order, lengths, done, batchSize))
    const scores = await model.logLikelihoods(
      prompt,
      batch.map(i => rows[i]!),
    )
    batch.forEach((row, i) => {
      results[row] = scores[i]!
    })
    done += batch.length
    onProgress?.(done, order.length)
  }
  return results
}

function nextBatch(order: readonly number[], lengths: readonly number[], start: number, batchSize: number | undefined): number {
  if (batchSize !== undefined) return start + batchSize
  let end = start + 1
  let tokens = lengths[order[start]!]!
  while (end < order.length && tokens + lengths[order[end]!]! <= tokensPerRun) tokens += lengths[order[end++]!]!
  return end
}

/** @throws GradpromptError `aborted` */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}
