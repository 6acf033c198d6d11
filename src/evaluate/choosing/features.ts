import { dot, mean } from '../../numbers.js'

/** Points of a bandit from embeddings of what is chosen between. */

/** How much of each point is its own, beside what embeddings say: things that look alike may be liked otherwise. */
const ownLength = 0.7
/** Directions that are kept of embeddings. */
const mostDirections = 16
const iterations = 50

/**
 * Embeddings of language models have much in common and a few directions that drown the others: each dimension is brought to mean 0 and
 * deviation 1, and the directions of most variance are kept (principal components, by power iteration on the points' products), scaled to a
 * mean squared length of 1. Behind these stands one direction for each point, so that the order of any points can be learned.
 * @param embeddings of equal length, one a point
 */
export function pointsOf(embeddings: readonly ArrayLike<number>[]): Float64Array[] {
  const n = embeddings.length
  const rows = standardised(embeddings)
  const gram = rows.map(a => rows.map(b => dot(a, b)))
  const components: Float64Array[] = []
  for (let k = 0; k < Math.min(mostDirections, n - 1); k++) {
    // Any start that is not orthogonal to what is sought: points differ in their places alone.
    let vector = Float64Array.from({ length: n }, (_, i) => Math.cos((i + 1) * (k + 1)))
    let value = 0
    for (let step = 0; step < iterations; step++) {
      const image = Float64Array.from(gram, row => dot(row, vector))
      for (const other of components) {
        const along = dot(image, other) / dot(other, other)
        for (let i = 0; i < n; i++) image[i]! -= along * other[i]!
      }
      value = Math.sqrt(dot(image, image))
      if (!(value > 1e-9)) break
      vector = image.map(x => x / value)
    }
    if (!(value > 1e-9)) break
    components.push(vector.map(x => x * Math.sqrt(value)))
  }
  const scale = Math.sqrt(mean(rows.map((_, i) => components.reduce((sum, one) => sum + one[i]! ** 2, 0)))) || 1
  return rows.map((_, i) =>
    Float64Array.from([...components.map(one => one[i]! / scale), ...rows.map((_, j) => (i === j ? ownLength : 0))]),
  )
}

function standardised(embeddings: readonly ArrayLike<number>[]): Float64Array[] {
  const size = embeddings[0]?.length ?? 0
  const rows = embeddings.map(() => new Float64Array(size))
  for (let d = 0; d < size; d++) {
    const column = embeddings.map(row => row[d]!)
    const middle = mean(column)
    const deviation = Math.sqrt(mean(column.map(x => (x - middle) ** 2)))
    if (deviation > 1e-9) for (const [i, x] of column.entries()) rows[i]![d] = (x - middle) / deviation
  }
  return rows
}
