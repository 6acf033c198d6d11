import type { TypedArray } from '../../src/program/session.js'

/** An input or output of a program with its shape. */
export interface Values {
  readonly data: TypedArray
  readonly shape: readonly number[]
}

export const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

/** Numbers between -scale and scale; the same for the same seed. */
export function random(seed: number, shape: readonly number[], scale = 1): { data: Float32Array; shape: readonly number[] } {
  let state = (seed * 2654435761 + 12345) >>> 0
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state / 2 ** 32) * 2 - 1
  }
  return { data: Float32Array.from({ length: product(shape) }, () => scale * next()), shape }
}

export const integers = (values: readonly number[], shape: readonly number[] = [values.length]) => ({
  data: Int32Array.from(values),
  shape,
})

/**
 * Largest absolute difference, as a share of the largest magnitude that is wanted (or of `floor`, where what is wanted is zero but for
 * rounding). Infinite where only one side is a number.
 */
export function difference(found: ArrayLike<number | bigint>, wanted: ArrayLike<number | bigint>, floor = 1e-12): number {
  if (found.length !== wanted.length) return Number.POSITIVE_INFINITY
  let largest = 0
  let magnitude = floor
  for (let i = 0; i < found.length; i++) {
    const [a, b] = [Number(found[i]), Number(wanted[i])]
    if (Object.is(a, b) || a === b) {
      if (Number.isFinite(b)) magnitude = Math.max(magnitude, Math.abs(b))
      continue
    }
    if (!Number.isFinite(a) || !Number.isFinite(b)) return Number.POSITIVE_INFINITY
    largest = Math.max(largest, Math.abs(a - b))
    magnitude = Math.max(magnitude, Math.abs(b))
  }
  return largest / magnitude
}

/** Euclidean length of a difference, as a share of the wanted vector's. */
export function relativeError(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  if (found.length !== wanted.length) return Number.POSITIVE_INFINITY
  let error = 0
  let norm = 0
  for (let i = 0; i < found.length; i++) {
    error += (found[i]! - wanted[i]!) ** 2
    norm += wanted[i]! ** 2
  }
  return Math.sqrt(error / norm)
}

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0)
