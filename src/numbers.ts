/** Small arithmetic over lists of numbers, in double precision, and over the sizes of tensors. */

/** log Σ exp(x): the highest is taken out first, so that nothing overflows. */
export function logSumExp(values: ArrayLike<number>): number {
  let highest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length; i++) highest = Math.max(highest, values[i]!)
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - highest)
  return Math.log(sum) + highest
}

/** 0 of none. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / Math.max(1, values.length)
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

export function squaredDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return sum
}

/** 0 where one of the two is nothing. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const product = dot(a, b)
  return product === 0 ? 0 : product / Math.sqrt(dot(a, a) * dot(b, b))
}

/** The percentile of numbers, linear between them, as numpy has it; not a number of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = share * (sorted.length - 1)
  const below = Math.floor(at)
  return sorted[below]! + (at - below) * ((sorted[below + 1] ?? sorted[below]!) - sorted[below]!)
}

/** The mean of rows, [N, width] -> [width]. */
export function meanRow(rows: Float32Array, width: number): Float64Array {
  const sum = new Float64Array(width)
  for (const [i, x] of rows.entries()) sum[i % width]! += x
  return sum.map(x => (x * width) / rows.length)
}

/** How many numbers a tensor of this shape holds; 1 for a scalar's empty shape. */
export const elementCount = (shape: readonly number[]): number => shape.reduce((count, size) => count * size, 1)

/** The least normal number: below it, once a program has run, the processor takes numbers for zero (`set_denormal_as_zero`). */
export const aboveZero = 2 ** -1022
