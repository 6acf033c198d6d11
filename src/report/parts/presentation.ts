/** What people call a metric. */
export const metricNames: Readonly<Record<string, string>> = {
  accuracy: 'accuracy',
  macroF1: 'macro F1',
  logLikelihood: 'log-likelihood',
  tokenLogLikelihood: 'log-likelihood a token',
  perplexity: 'perplexity',
  calibrationError: 'calibration error',
  extracted: 'answers found',
  rewardAccuracy: 'reward accuracy',
  chosenReward: 'reward of the chosen',
  rejectedReward: 'reward of the rejected',
  rewardMargin: 'margin of rewards',
}

/** Figures from 0 to 1 that people read in per cent. */
export const shares: ReadonlySet<string> = new Set(['accuracy', 'macroF1', 'calibrationError', 'extracted', 'rewardAccuracy'])

/** The mean of each value and those before it, so that a curve shows the course and not the batches. */
export function smooth(values: readonly number[], width = Math.max(1, Math.round(values.length / 20))): number[] {
  return values.map((_, i) => {
    const part = values.slice(Math.max(0, i - width + 1), i + 1)
    return part.reduce((sum, value) => sum + value, 0) / part.length
  })
}
