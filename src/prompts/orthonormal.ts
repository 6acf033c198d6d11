/**
 * Rows that are orthonormal: how a matrix that a step has changed is brought back to where it may be. The nearest such matrix is its polar
 * factor, `(A A')^(-1/2) A`, which turns the rows no further than it must; a QR decomposition would also turn them among themselves.
 */

/** Iterations at most: of a matrix near enough to such rows five or six are needed. */
const ITERATIONS = 60
const TOLERANCE = 1e-13

/**
 * Brings the rows of a matrix to the nearest orthonormal ones, in place. Rows that depend on each other become such as do not; numbers that
 * are not finite stay as they are.
 * @param rows [count, width] with count <= width
 */
export function orthonormalise(rows: Float32Array, count: number): void {
  const width = rows.length / count
  if (!rows.every(Number.isFinite)) return
  const products = multiplied(count, (i, j) => dot(rows, i, j, width))
  const inverse = inverseRoot(products, count)
  if (inverse === undefined) {
    independentRows(rows, count)
    return
  }
  const given = Float64Array.from(rows)
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < width; k++) {
      let sum = 0
      for (let j = 0; j < count; j++) sum += inverse[i * count + j]! * given[j * width + k]!
      rows[i * width + k] = sum
    }
  }
}

/**
 * `G^(-1/2)` of a symmetric positive matrix, by the coupled iteration of Newton and Schulz (Higham 2008, Functions of Matrices, eq. 6.35).
 * @returns undefined where it does not converge: G is singular, or nearly
 */
function inverseRoot(products: Float64Array, size: number): Float64Array | undefined {
  // Not below the largest eigenvalue, and near it.
  const scale = Math.max(...Array.from({ length: size }, (_, i) => absoluteSum(products.subarray(i * size, (i + 1) * size))))
  if (!(scale > 0)) return undefined
  let y = products.map(x => x / scale)
  let z = multiplied(size, (i, j) => (i === j ? 1 : 0))
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const zy = product(z, y, size)
    const step = zy.map((x, at) => (at % (size + 1) === 0 ? 1.5 : 0) - 0.5 * x)
    y = product(y, step, size)
    z = product(step, z, size)
    const rest = zy.reduce((most, x, at) => Math.max(most, Math.abs(x - (at % (size + 1) === 0 ? 1 : 0))), 0)
    if (rest < TOLERANCE) return z.map(x => x / Math.sqrt(scale))
  }
  return undefined
}

/** Gram and Schmidt, with a row of the unit matrix in the place of one that the rows before it already make. */
function independentRows(rows: Float32Array, count: number): void {
  const width = rows.length / count
  let next = 0
  for (let i = 0; i < count; ) {
    const row = Float64Array.from(rows.subarray(i * width, (i + 1) * width))
    const before = Math.hypot(...row)
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        let along = 0
        for (let k = 0; k < width; k++) along += row[k]! * rows[j * width + k]!
        for (let k = 0; k < width; k++) row[k]! -= along * rows[j * width + k]!
      }
    }
    const length = Math.hypot(...row)
    if (length > 1e-6 * before) {
      rows.set(
        row.map(x => x / length),
        i * width,
      )
      i++
    } else {
      rows.fill(0, i * width, (i + 1) * width)
      rows[i * width + next++] = 1
    }
  }
}

const absoluteSum = (values: Float64Array) => values.reduce((sum, x) => sum + Math.abs(x), 0)

const multiplied = (size: number, entry: (i: number, j: number) => number) =>
  Float64Array.from({ length: size * size }, (_, at) => entry(Math.floor(at / size), at % size))

function dot(rows: Float32Array, i: number, j: number, width: number): number {
  let sum = 0
  for (let k = 0; k < width; k++) sum += rows[i * width + k]! * rows[j * width + k]!
  return sum
}

const product = (a: Float64Array, b: Float64Array, size: number) =>
  multiplied(size, (i, j) => {
    let sum = 0
    for (let k = 0; k < size; k++) sum += a[i * size + k]! * b[k * size + j]!
    return sum
  })
