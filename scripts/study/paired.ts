import { bootstrap, type MetricValue } from '../../src/evaluate/intervals.js'
import { mean } from '../../src/numbers.js'

/** The mean of paired differences with its 95 % bootstrap interval. */
export const pairedMean = (differences: readonly number[]): MetricValue =>
  bootstrap(differences.length, { mean: rows => mean(Array.from(rows, row => differences[row]!)) }, { seed: 13, resamples: 4000 })
    .mean
