import { LARGEST } from '../../../kernels/linear-integer.js'

/** A column counts as large as this part of the largest, at least. */
const LEAST_SIZE = 1e-4
/** Of the power method, which are enough for what rounding wants of a direction. */
const ITERATIONS = 2
/** A number is moved by so much before it is rounded, at most. */
const MOST_MOVED = 0.5
const TINY = 1e-12
/** Rows whose integers become columns together: what they hold fits into a processor's cache. */
const ROWS_TOGETHER = 64

/**
 * What the columns of weights are multiplied by, and those of their input divided: where rounding adds noise in proportion to the
 * size of a whole row, the product's is least when each column of the one is as large as that of the others.
 *
 * @param rows of the input, [n, in]
 * @param weights [out, in] each
 * @returns [in]
 */
export function balance(rows: Float32Array, weights: readonly Float32Array[], columns: number): Float32Array {
  const sizes = columnSizes([rows], columns)
  const own = columnSizes(weights, columns)
  return Float32Array.from(sizes, (size, i) => Math.sqrt(size / own[i]!))
}

/** Roots of the columns' mean squares. */
function columnSizes(matrices: readonly Float32Array[], columns: number): Float64Array {
  const squares = new Float64Array(columns)
  let rows = 0
  for (const values of matrices) {
    rows += values.length / columns
    for (let start = 0; start < values.length; start += columns)
      for (let i = 0; i < columns; i++) squares[i]! += values[start + i]! ** 2
  }
  const sizes = squares.map(square => Math.sqrt(square / rows))
  const least = LEAST_SIZE * sizes.reduce((a, b) => Math.max(a, b), TINY)
  return sizes.map(size => Math.max(size, least))
}

/** What is known of a weight's inputs, their columns divided by scales and rotated, when it is rounded. */
export interface Rounding {
  /** What the columns of the weight are multiplied by, [in]. */
  readonly columnScales: Float32Array
  readonly rotation: number
  /** D, how many directions rounding spares. */
  readonly spared: number
  /** Those that inputs have most in common, each times their size along it, [in, D]. */
  readonly directions: Float64Array
  /** What each number takes off an error along these, where those behind it take their part, [in, D]. */
  readonly feedback: Float64Array
}

/** @param rows of the input, [n, in]; overwritten */
export function roundingOf(rows: Float32Array, columnScales: Float32Array, rotation: number, spared: number): Rounding {
  const columns = columnScales.length
  for (let i = 0; i < rows.length; i++) rows[i]! /= columnScales[i % columns]!
  rotate(rows, rotation)
  const { directions, rest } = commonDirections(rows, columns, spared)
  return { columnScales, rotation, spared, directions, feedback: feedbackOf(directions, rest, spared) }
}

/**
 * The first principal directions of rows (not centred), each times the root of the rows' mean square along it.
 * @returns directions [in, D], and the mean square of a column in what they leave
 */
function commonDirections(rows: Float32Array, columns: number, wanted: number): { directions: Float64Array; rest: number } {
  const count = rows.length / columns
  const units: Float64Array[] = []
  const directions = new Float64Array(columns * wanted)
  let rest = rows.reduce((sum, x) => sum + x * x, 0) / count
  for (let d = 0; d < wanted; d++) {
    // The power method turns any vector that is not orthogonal to the direction towards it: a row of the text has its share of it.
    const start = Math.floor(((d + 0.5) * count) / wanted) * columns
    let unit = orthonormal(Float64Array.from(rows.subarray(start, start + columns)), units)
    let square = 0
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      const next = new Float64Array(columns)
      square = 0
      for (let from = 0; from < rows.length; from += columns) {
        let along = 0
        for (let i = 0; i < columns; i++) along += rows[from + i]! * unit[i]!
        square += (along * along) / count
        for (let i = 0; i < columns; i++) next[i]! += along * rows[from + i]!
      }
      unit = orthonormal(next, units)
    }
    units.push(unit)
    rest -= square
    for (let i = 0; i < columns; i++) directions[i * wanted + d] = unit[i]! * Math.sqrt(square)
  }
  return { directions, rest: Math.max(rest, TINY) / columns }
}

/** Without what lies along other unit vectors, and of length 1; what has no length is left as zeros. */
function orthonormal(vector: Float64Array, others: readonly Float64Array[]): Float64Array {
  for (const other of others) {
    let along = 0
    for (let i = 0; i < vector.length; i++) along += vector[i]! * other[i]!
    for (let i = 0; i < vector.length; i++) vector[i]! -= along * other[i]!
  }
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))
  return vector.map(x => (length > TINY ? x / length : 0))
}

/**
 * GPTQ's least squares (https://arxiv.org/abs/2210.17323) for inputs whose second moments are those along a few directions, and equal noise
 * besides: of an error c, the number j takes `-a_j (A Aᵀ + rest)⁻¹ c`, with A the directions of itself and the numbers behind it.
 */
function feedbackOf(directions: Float64Array, rest: number, spared: number): Float64Array {
  const feedback = new Float64Array(directions.length)
  // The inverse with one more number at a time, from the last (Sherman and Morrison).
  const inverse = new Float64Array(spared * spared)
  for (let d = 0; d < spared; d++) inverse[d * spared + d] = 1 / rest
  const product = new Float64Array(spared)
  for (let j = directions.length / spared - 1; j >= 0; j--) {
    const own = directions.subarray(j * spared, (j + 1) * spared)
    let square = 0
    for (let d = 0; d < spared; d++) {
      product[d] = 0
      for (let e = 0; e < spared; e++) product[d]! += inverse[d * spared + e]! * own[e]!
      square += product[d]! * own[d]!
    }
    for (let d = 0; d < spared; d++) {
      for (let e = 0; e < spared; e++) inverse[d * spared + e]! -= (product[d]! * product[e]!) / (1 + square)
      feedback[j * spared + d] = product[d]! / (1 + square)
    }
  }
  return feedback
}

/**
 * Scales the columns of a weight, rotates them in blocks, and rounds each row by its largest value. What rounding one number adds along
 * the directions of the input is taken from the numbers behind it.
 *
 * @param weight [out, in]; overwritten
 * @returns integers [in, out] and scales [out]
 */
export function roundRows(
  weight: Float32Array,
  { columnScales, rotation, spared, directions, feedback }: Rounding,
): { integers: Int8Array; scales: Float32Array } {
  const columns = columnScales.length
  const rows = weight.length / columns
  const integers = new Int8Array(weight.length)
  const scales = new Float32Array(rows)
  const error = new Float64Array(spared)
  for (let first = 0; first < rows; first += ROWS_TOGETHER) {
    const last = Math.min(rows, first + ROWS_TOGETHER)
    for (let row = first; row < last; row++) {
      const values = weight.subarray(row * columns, (row + 1) * columns)
      for (let i = 0; i < columns; i++) values[i]! *= columnScales[i]!
      rotate(values, rotation)
      let largest = 0
      for (let i = 0; i < columns; i++) largest = Math.max(largest, Math.abs(values[i]!))
      scales[row] = largest / LARGEST
      const inverse = largest === 0 ? 0 : LARGEST / largest
      error.fill(0)
      for (let i = 0; i < columns; i++) {
        const wanted = values[i]! * inverse
        const at = i * spared
        let share = 0
        for (let d = 0; d < spared; d++) share += error[d]! * feedback[at + d]!
        const moved = wanted - Math.min(Math.max(share, -MOST_MOVED), MOST_MOVED)
        const integer = Math.min(Math.max(Math.round(moved), -LARGEST), LARGEST)
        for (let d = 0; d < spared; d++) error[d]! += (integer - wanted) * directions[at + d]!
        values[i] = integer
      }
    }
    for (let i = 0; i < columns; i++)
      for (let row = first; row < last; row++) integers[i * rows + row] = weight[row * columns + i]!
  }
  return { integers, scales }
}

/** Blocks times `hadamard(side)`, in place, by sums and differences (the fast Walsh-Hadamard transform). */
function rotate(values: Float32Array, side: number): void {
  const scale = 1 / Math.sqrt(side)
  for (let start = 0; start < values.length; start += side) {
    const end = start + side
    for (let half = 1; half < side; half *= 2) {
      for (let block = start; block < end; block += 2 * half) {
        for (let i = block; i < block + half; i++) {
          const a = values[i]!
          const b = values[i + half]!
          values[i] = a + b
          values[i + half] = a - b
        }
      }
    }
    for (let i = start; i < end; i++) values[i]! *= scale
  }
}
