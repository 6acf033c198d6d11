import { GradpromptError } from '../errors.js'
import { bootstrap, type MetricValue, type Statistic, wilsonInterval } from './intervals.js'

export interface ScoredRow {
  /** Index of the right label. */
  readonly target: number
  /** Of each label's whole answer, in nats: sums over its tokens. */
  readonly logLikelihoods: readonly number[]
  /** What decides between the labels, where that is not the likelihood alone. */
  readonly scores?: readonly number[]
}

export interface ClassificationMetrics {
  readonly metrics: {
    /** Share of rows whose likeliest answer is the right one. */
    readonly accuracy: MetricValue
    /** Mean F1 of the labels that occur as a target or a prediction. */
    readonly macroF1: MetricValue
    /** Mean log-likelihood of the right answer, in nats. */
    readonly logLikelihood: MetricValue
    /** Expected calibration error: ten equal bins of the likeliest answer's share of the candidates' probability. */
    readonly calibrationError: MetricValue
  }
  /** `confusion[target][prediction]`: numbers of rows. */
  readonly confusion: number[][]
  /** The likeliest label of each row; the first of equals. */
  readonly predictions: number[]
  /** The share of the candidates' probability that the likeliest has, of each row. */
  readonly confidences: number[]
  readonly rows: number
}

export const calibrationBins = 10

/**
 * The figures of a classification by likelihood, each with a 95 % interval: Wilson's for the accuracy, the bootstrap's
 * (1,000 resamples of the rows) for the others.
 * @throws GradpromptError `no-rows`; `not-finite` when a likelihood is not a number or infinite.
 */
export function classificationMetrics(
  rows: readonly ScoredRow[],
  labels: readonly string[],
  { seed }: { seed: number },
): ClassificationMetrics {
  if (rows.length === 0) throw new GradpromptError('no-rows', 'there are no rows to evaluate')
  rows.forEach((row, i) => {
    check(row, i, labels)
  })

  const targets = Int32Array.from(rows, row => row.target)
  const deciding = rows.map(({ logLikelihoods, scores = logLikelihoods }) => scores)
  const predictions = Int32Array.from(deciding, scores => scores.indexOf(Math.max(...scores)))
  const targetLogLikelihoods = Float64Array.from(rows, row => row.logLikelihoods[row.target]!)
  const confidences = Float64Array.from(deciding, confidence)

  const confusion = labels.map(() => labels.map(() => 0))
  let correct = 0
  rows.forEach((_, i) => {
    confusion[targets[i]!]![predictions[i]!]!++
    if (targets[i] === predictions[i]) correct++
  })
  return {
    metrics: {
      accuracy: { value: correct / rows.length, ...wilsonInterval(correct, rows.length) },
      ...bootstrap(
        rows.length,
        {
          macroF1: macroF1(targets, predictions, labels.length),
          logLikelihood: mean(targetLogLikelihoods),
          calibrationError: calibrationError(targets, predictions, confidences),
        },
        { seed },
      ),
    },
    confusion,
    predictions: Array.from(predictions),
    confidences: Array.from(confidences),
    rows: rows.length,
  }
}

function check({ target, logLikelihoods }: ScoredRow, index: number, labels: readonly string[]): void {
  if (logLikelihoods.length !== labels.length || !Number.isInteger(target) || target < 0 || target >= labels.length) {
    throw new RangeError(`row ${index}: target ${target} with ${logLikelihoods.length} likelihoods for ${labels.length} labels`)
  }
  const bad = logLikelihoods.findIndex(value => !Number.isFinite(value))
  if (bad !== -1) {
    throw new GradpromptError('not-finite', `the log-likelihood of "${labels[bad]}" in row ${index + 1} is not a finite number`, {
      found: String(logLikelihoods[bad]),
      hint: 'the prompt or the weights hold numbers that are too large; a lower learning rate keeps the prompt in range',
      exitCode: 1,
    })
  }
}

/** The largest softmax probability. */
function confidence(scores: readonly number[]): number {
  const largest = Math.max(...scores)
  return 1 / scores.reduce((sum, value) => sum + Math.exp(value - largest), 0)
}

const mean =
  (values: Float64Array): Statistic =>
  rows => {
    let sum = 0
    for (let i = 0; i < rows.length; i++) sum += values[rows[i]!]!
    return sum / rows.length
  }

function macroF1(targets: Int32Array, predictions: Int32Array, labels: number): Statistic {
  const hits = new Int32Array(labels)
  const occurrences = new Int32Array(labels) // as target + as prediction
  return rows => {
    hits.fill(0)
    occurrences.fill(0)
    for (let i = 0; i < rows.length; i++) {
      const target = targets[rows[i]!]!
      const prediction = predictions[rows[i]!]!
      occurrences[target]!++
      occurrences[prediction]!++
      if (target === prediction) hits[target]!++
    }
    let sum = 0
    let present = 0
    for (let label = 0; label < labels; label++) {
      if (occurrences[label] === 0) continue
      sum += (2 * hits[label]!) / occurrences[label]!
      present++
    }
    return sum / present
  }
}

/** Which of the equal bins a confidence falls into. */
export const calibrationBin = (confidence: number): number =>
  Math.min(calibrationBins - 1, Math.floor(confidence * calibrationBins))

/** Naeini et al. 2015: the mean over bins, weighted by their rows, of |accuracy - mean confidence|. */
export function calibrationError(targets: Int32Array, predictions: Int32Array, confidences: Float64Array): Statistic {
  const bins = Int32Array.from(confidences, calibrationBin)
  // A bin's |hits - sum of confidences| is the sum of its rows' gaps.
  const gaps = confidences.map((value, i) => (targets[i] === predictions[i] ? 1 : 0) - value)
  const sums = new Float64Array(calibrationBins)
  return rows => {
    sums.fill(0)
    for (let i = 0; i < rows.length; i++) sums[bins[rows[i]!]!]! += gaps[rows[i]!]!
    return sums.reduce((total, sum) => total + Math.abs(sum), 0) / rows.length
  }
}
