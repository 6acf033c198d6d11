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

/** How many numbers a tensor of this shape holds; 1 for a scalar's empty shape. */
export const elementCount = (shape: readonly number[]): number => shape.reduce((count, size) => count * size, 1)

/** The least normal number: below it, once a program has run, the processor takes numbers for zero (`set_denormal_as_zero`). */
export const aboveZero = 2 ** -1022
