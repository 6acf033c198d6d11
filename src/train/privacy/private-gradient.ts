import { normals } from './secret.js'

/**
 * The gradient of a step under differential privacy (DP-SGD, Abadi et al. 2016, arXiv 1607.00133): each record's gradient is scaled down to
 * a norm, noise is added to their sum, and the sum is divided by the records that a step has on average. How a record's gradient is computed
 * is unknown here.
 */
export interface Mechanism {
  /** The norm that no record's gradient exceeds. */
  readonly clip: number
  /** Standard deviation of the noise in units of `clip`. */
  readonly noise: number
  /** Records of a step on average: never as many as it has, which depends on which there are. */
  readonly expected: number
}

/** A record's own. */
export interface RecordGradient {
  readonly loss: number
  readonly gradients: ReadonlyMap<string, Float32Array>
}

/** The gradient of all parameters together counts as one vector. */
export function clipFactor(gradients: ReadonlyMap<string, Float32Array>, clip: number): number {
  let squares = 0
  for (const values of gradients.values()) for (const value of values) squares += value * value
  const norm = Math.sqrt(squares)
  // What is no number is left out: whatever it is, the record would be seen through it.
  if (!Number.isFinite(norm)) return 0
  return norm > clip ? clip / norm : 1
}

/**
 * @param shapes sizes of the parameters that are learned, by name, in their order
 * @param records each record of the step; there may be none
 * @returns the mean loss of the records and the share of them that was clipped, both for the log alone, and the gradient
 */
export async function privateGradient(
  shapes: ReadonlyMap<string, number>,
  records: Iterable<() => Promise<RecordGradient>>,
  { clip, noise, expected }: Mechanism,
  { key, step }: { readonly key: Uint8Array; readonly step: number },
): Promise<{ loss: number; figures: Readonly<Record<string, number>>; gradients: Map<string, Float32Array> }> {
  const sums = new Map([...shapes].map(([name, size]) => [name, new Float64Array(size)]))
  let [count, loss, clipped] = [0, 0, 0]
  for (const record of records) {
    const own = await record()
    const factor = clipFactor(own.gradients, clip)
    count++
    loss += own.loss
    if (factor < 1) clipped++
    if (factor === 0) continue
    for (const [name, sum] of sums) {
      const values = own.gradients.get(name)!
      for (let i = 0; i < sum.length; i++) sum[i]! += factor * values[i]!
    }
  }
  const drawn = normals(
    [...shapes.values()].reduce((a, b) => a + b, 0),
    key,
    step,
  )
  let at = 0
  const gradients = new Map(
    [...sums].map(([name, sum]) => [name, Float32Array.from(sum, value => (value + noise * clip * drawn[at++]!) / expected)]),
  )
  return { loss: loss / Math.max(1, count), figures: { records: count, clipped: clipped / Math.max(1, count) }, gradients }
}
