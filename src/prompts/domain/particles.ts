import { percentile, squaredDistance } from '../../numbers.js'

/**
 * Stein variational gradient descent (Liu and Wang 2016, arXiv 1608.04471), with the kernel and the steps of BayesPrompt's code (Li et al.
 * 2024, arXiv 2401.14166): particles climb the density and keep each other apart.
 *
 *     K_ij  = exp(-|t_i - t_j|^2 / (2 h^2)),  h^2 = 0.5 median / ln(n + 1)
 *     phi_i = 1/n sum_j [ K_ij s(t_j) + K_ij (t_i - t_j) / h^2 ]
 *     G     = phi^2 at first, then 0.9 G + 0.1 phi^2;  t += step phi / (1e-6 + sqrt(G))
 *
 * The median is over pairs of two particles: with each particle's distance from itself among them, of two particles it is nothing, and
 * so is h.
 */

export interface Interaction {
  /** [n][D] */
  readonly phi: readonly Float64Array[]
  /** h^2 */
  readonly bandwidth: number
  /** [n][n] */
  readonly kernel: readonly Float64Array[]
}

/** 1 of a single particle, or where particles lie on each other: nothing keeps them apart then. */
export function bandwidthOf(points: readonly Float64Array[]): number {
  const distances = points.flatMap((a, i) => points.slice(i + 1).map(b => squaredDistance(a, b)))
  const median = percentile(distances, 0.5)
  return median > 0 ? (0.5 * median) / Math.log(points.length + 1) : 1
}

/** @param score the gradient of the log density */
export function interaction(points: readonly Float64Array[], score: (point: Float64Array) => Float64Array): Interaction {
  const bandwidth = bandwidthOf(points)
  const scores = points.map(score)
  const kernel = points.map(a => Float64Array.from(points, b => Math.exp(-squaredDistance(a, b) / (2 * bandwidth))))
  const phi = points.map((own, i) => {
    const sum = new Float64Array(own.length)
    for (const [j, other] of points.entries())
      for (let d = 0; d < sum.length; d++)
        sum[d]! += (kernel[i]![j]! * (scores[j]![d]! + (own[d]! - other[d]!) / bandwidth)) / points.length
    return sum
  })
  return { phi, bandwidth, kernel }
}

/** Where particles are after so many steps; those that are given stay as they are. */
export function moved(
  start: readonly Float64Array[],
  score: (point: Float64Array) => Float64Array,
  { iterations, stepSize }: { readonly iterations: number; readonly stepSize: number },
): Float64Array[] {
  const points = start.map(point => point.slice())
  const squares = points.map(point => new Float64Array(point.length))
  for (let step = 0; step < iterations; step++) {
    const { phi } = interaction(points, score)
    for (const [i, point] of points.entries())
      for (let d = 0; d < point.length; d++) {
        const square = phi[i]![d]! ** 2
        squares[i]![d] = step === 0 ? square : 0.9 * squares[i]![d]! + 0.1 * square
        point[d]! += (stepSize * phi[i]![d]!) / (1e-6 + Math.sqrt(squares[i]![d]!))
      }
  }
  return points
}
