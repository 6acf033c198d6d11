import type { MetricValue } from '../../evaluate/intervals.js'
import { mean } from '../../numbers.js'
import type { Figures } from '../../sweep/space/objectives.js'

/** Figures of the runs of one trial, each with another seed, as those of the trial. */

/** The 0.975 quantile of the standard normal distribution. */
const z = 1.959963984540054

/**
 * The mean of each figure that all runs have. Its interval has both sources of chance: which rows there are, which all runs share and so
 * does not become less (the mean half-width), and which seeds, which does (the standard error of the mean over them).
 */
export function together(runs: readonly Figures[]): Figures {
  const [first = {}] = runs
  if (runs.length < 2) return first
  const names = Object.keys(first).filter(name => runs.every(run => run[name] !== undefined))
  return Object.fromEntries(names.map(name => [name, meanOf(runs.map(run => run[name]!))]))
}

function meanOf(figures: readonly MetricValue[]): MetricValue {
  const values = figures.map(({ value }) => value)
  const value = mean(values)
  const variance = values.reduce((sum, one) => sum + (one - value) ** 2, 0) / (values.length - 1)
  const ofSeeds = (z * z * variance) / values.length
  const below = mean(figures.map(({ value, low }) => value - low))
  const above = mean(figures.map(({ value, high }) => high - value))
  return { value, low: value - Math.sqrt(below ** 2 + ofSeeds), high: value + Math.sqrt(above ** 2 + ofSeeds) }
}
