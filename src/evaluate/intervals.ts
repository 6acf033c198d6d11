import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A 95 % confidence interval. */
export interface Interval {
  readonly low: number
  readonly high: number
}

/** A figure with its 95 % confidence interval, which contains it. */
export interface MetricValue extends Interval {
  readonly value: number
}

/** The 0.975 quantile of the standard normal distribution. */
const z = 1.959963984540054

/**
 * The interval of Wilson (1927) for a proportion: good for few rows and near 0 and 1, where the textbook one is not.
 * @throws RangeError unless `0 <= successes <= count` and `count > 0`.
 */
export function wilsonInterval(successes: number, count: number): Interval {
  if (!(count > 0 && successes >= 0 && successes <= count)) throw new RangeError(`${successes} successes in ${count} rows`)
  const proportion = successes / count
  const denominator = 1 + (z * z) / count
  const centre = (proportion + (z * z) / (2 * count)) / denominator
  const half = (z / denominator) * Math.sqrt((proportion * (1 - proportion)) / count + (z * z) / (4 * count * count))
  // At the ends the exact bound is the proportion itself; rounding must not push it inside.
  return { low: successes === 0 ? 0 : centre - half, high: successes === count ? 1 : centre + half }
}

/** A figure of some rows, given as indices that may repeat. It should only add up what is known per row. */
export type Statistic = (rows: Int32Array) => number

/**
 * Percentile bootstrap (Efron 1979) of several figures over the same resamples, so that they cost one drawing of indices.
 *
 * Each interval is widened to contain the figure of the rows themselves where the resamples all miss it (a biased figure such
 * as the calibration error). The same seed gives the same intervals.
 * @param count rows there are, at least 1
 */
export function bootstrap<Name extends string>(
  count: number,
  statistics: Readonly<Record<Name, Statistic>>,
  { seed, resamples = 1000 }: { seed: number; resamples?: number | undefined },
): Record<Name, MetricValue> {
  if (!(count > 0)) throw new RangeError('no rows to draw from')
  const names = Object.keys(statistics) as Name[]
  const drawn = names.map(() => new Float64Array(resamples))
  const random = xoroshiro128plus(seed)
  const rows = new Int32Array(count)
  for (let resample = 0; resample < resamples; resample++) {
    // 32 random bits times the count: no index differs from its share by more than count / 2^32.
    for (let i = 0; i < count; i++) rows[i] = Math.floor(((random.next() >>> 0) / 0x1_0000_0000) * count)
    for (const [n, name] of names.entries()) drawn[n]![resample] = statistics[name](rows)
  }
  const all = Int32Array.from({ length: count }, (_, i) => i)
  const entries = names.map((name, n): [Name, MetricValue] => {
    const value = statistics[name](all)
    const sorted = drawn[n]!.sort()
    return [name, { value, low: Math.min(value, quantile(sorted, 0.025)), high: Math.max(value, quantile(sorted, 0.975)) }]
  })
  return Object.fromEntries(entries) as Record<Name, MetricValue>
}

/** Linear between the order statistics. */
function quantile(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1)
  const below = Math.floor(at)
  const low = sorted[below]!
  return low + (at - below) * ((sorted[below + 1] ?? low) - low)
}
