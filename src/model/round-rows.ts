import { LARGEST } from '../../kernels/linear-integer.js'

/** A column counts as large as this part of the largest, at least. */
const LEAST_SIZE = 1e-4
/** Rows whose integers become columns together: what they hold fits into a processor's cache. */
const ROWS_TOGETHER = 64

/**
 * What the columns of weights are multiplied by, and those of their input divided: where rounding adds noise in proportion to the
 * size of a whole row, the product's is least when each column of the one is as large as that of the others.
 *
 * @param sizes of the input's columns, [in]
 * @param weights [out, in] each
 * @returns [in]
 */
export function balance(sizes: Float32Array, weights: readonly Float32Array[]): Float32Array {
  const squares = new Float64Array(sizes.length)
  for (const values of weights)
    for (let start = 0; start < values.length; start += sizes.length)
      for (let i = 0; i < sizes.length; i++) squares[i]! += values[start + i]! ** 2
  const rows = weights.reduce((sum, values) => sum + values.length, 0) / sizes.length
  const own = Float32Array.from(squares, square => Math.sqrt(square / rows))
  const [least, ownLeast] = [sizes, own].map(list => LEAST_SIZE * list.reduce((a, b) => Math.max(a, b), 1e-30)) as [
    number,
    number,
  ]
  return sizes.map((size, i) => Math.sqrt(Math.max(size, least) / Math.max(own[i]!, ownLeast)))
}

/**
 * Scales the columns of a weight, rotates them in blocks, and rounds each row by its largest value. What rounding one number adds to the
 * product with the input's usual row is taken from the numbers behind it: inputs have much in common (GPTQ,
 * https://arxiv.org/abs/2210.17323, where all that is known of them is their mean).
 *
 * @param weight [out, in]; overwritten
 * @param options.columnScales [in]
 * @param options.usual mean of the input's rows, its columns divided by those scales, [in]; overwritten
 * @returns integers [in, out] and scales [out]
 */
export function roundRows(
  weight: Float32Array,
  options: { readonly columnScales: Float32Array; readonly usual: Float32Array; readonly rotation: number },
): { integers: Int8Array; scales: Float32Array } {
  const { columnScales, rotation } = options
  const columns = columnScales.length
  const rows = weight.length / columns
  const integers = new Int8Array(weight.length)
  const scales = new Float32Array(rows)
  const usual = Float64Array.from(rotated(options.usual.slice(), rotation))
  /** The part of an error so far that each number takes off, where those behind it take theirs. */
  const parts = new Float64Array(columns)
  for (let i = columns - 1, sum = 1e-30; i >= 0; i--) {
    sum += usual[i]! ** 2
    parts[i] = usual[i]! / sum
  }
  for (let first = 0; first < rows; first += ROWS_TOGETHER) {
    const last = Math.min(rows, first + ROWS_TOGETHER)
    for (let row = first; row < last; row++) {
      const values = weight.subarray(row * columns, (row + 1) * columns)
      for (let i = 0; i < columns; i++) values[i]! *= columnScales[i]!
      rotated(values, rotation)
      let largest = 0
      for (let i = 0; i < columns; i++) largest = Math.max(largest, Math.abs(values[i]!))
      scales[row] = largest / LARGEST
      const inverse = largest === 0 ? 0 : LARGEST / largest
      let error = 0
      for (let i = 0; i < columns; i++) {
        const wanted = values[i]! * inverse
        const moved = wanted - Math.min(Math.max(error * parts[i]!, -0.5), 0.5)
        const integer = Math.min(Math.max(Math.round(moved), -LARGEST), LARGEST)
        error += (integer - wanted) * usual[i]!
        values[i] = integer
      }
    }
    for (let i = 0; i < columns; i++)
      for (let row = first; row < last; row++) integers[i * rows + row] = weight[row * columns + i]!
  }
  return { integers, scales }
}

/** Blocks times `hadamard(side)`, in place, by sums and differences (the fast Walsh-Hadamard transform). */
function rotated(values: Float32Array, side: number): Float32Array {
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
  return values
}
