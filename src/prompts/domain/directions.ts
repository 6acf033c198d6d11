import { dot } from '../../numbers.js'

/** The directions of most variance of points: principal components, by iterating a subspace (Golub and Van Loan, 8.2.4). */

export interface Directions {
  /** [d] */
  readonly mean: Float64Array
  /** Orthonormal, the one of most variance first: [k][d]. */
  readonly axes: readonly Float64Array[]
}

const iterations = 60
/** What is left of a direction is none where it is this small beside what it was. */
const nothing = 1e-10

/**
 * @param points [N][d]
 * @param count of directions at most: points have no more than N - 1
 */
export function principalDirections(points: readonly ArrayLike<number>[], count: number): Directions {
  const size = points[0]!.length
  const mean = new Float64Array(size)
  for (const point of points) for (let d = 0; d < size; d++) mean[d]! += point[d]! / points.length
  const rows = points.map(point => Float64Array.from(mean, (x, d) => point[d]! - x))
  // It begins at points spread over the data, so that nothing is drawn; a few more than are wanted let it settle sooner.
  const wanted = Math.min(count, points.length - 1, size)
  const more = Math.min(wanted + 8, points.length, size)
  let axes = orthonormal(Array.from({ length: more }, (_, k) => rows[Math.floor((k * rows.length) / more)]!.slice()))
  for (let step = 0; step < iterations; step++) axes = orthonormal(axes.map(axis => covarianceTimes(rows, axis)))
  const variance = (axis: Float64Array) => rows.reduce((sum, row) => sum + dot(row, axis) ** 2, 0)
  const ordered = axes.map(axis => ({ axis, variance: variance(axis) })).sort((a, b) => b.variance - a.variance)
  return { mean, axes: ordered.slice(0, wanted).map(({ axis }) => axis) }
}

/** A point along the axes, [k]. */
export const projected = ({ mean, axes }: Directions, point: ArrayLike<number>): Float64Array =>
  Float64Array.from(axes, axis => axis.reduce((sum, x, d) => sum + x * (point[d]! - mean[d]!), 0))

function covarianceTimes(rows: readonly Float64Array[], axis: Float64Array): Float64Array {
  const image = new Float64Array(axis.length)
  for (const row of rows) {
    const along = dot(row, axis)
    for (let d = 0; d < image.length; d++) image[d]! += along * row[d]!
  }
  return image
}

/** Gram and Schmidt, twice; directions that the others already make are left out. */
function orthonormal(vectors: readonly Float64Array[]): Float64Array[] {
  const kept: Float64Array[] = []
  for (const vector of vectors) {
    const before = Math.sqrt(dot(vector, vector))
    for (let pass = 0; pass < 2; pass++)
      for (const other of kept) {
        const along = dot(vector, other)
        for (let d = 0; d < vector.length; d++) vector[d]! -= along * other[d]!
      }
    const length = Math.sqrt(dot(vector, vector))
    if (length > nothing * before) kept.push(vector.map(x => x / length))
  }
  return kept
}
