/** Symmetric positive matrices by their factors (Cholesky), S = L L': row after row in one list, [size, size]. */

/** L, from the lower half of a matrix. */
export function cholesky(matrix: Float64Array, size: number): Float64Array {
  const l = matrix.slice()
  for (let i = 0; i < size; i++)
    for (let j = 0; j <= i; j++) {
      let sum = l[i * size + j]!
      for (let k = 0; k < j; k++) sum -= l[i * size + k]! * l[j * size + k]!
      l[i * size + j] = i === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / l[j * size + j]!
    }
  return l
}

/** S^-1 x, [size] */
export function solve(l: Float64Array, right: ArrayLike<number>, size: number): Float64Array {
  const x = Float64Array.from(right)
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i * size + k]! * x[k]!
    x[i]! /= l[i * size + i]!
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) x[i]! -= l[k * size + i]! * x[k]!
    x[i]! /= l[i * size + i]!
  }
  return x
}

/** log |S| */
export function logDeterminant(l: Float64Array, size: number): number {
  let sum = 0
  for (let i = 0; i < size; i++) sum += 2 * Math.log(l[i * size + i]!)
  return sum
}
