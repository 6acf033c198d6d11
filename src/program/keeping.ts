import type { HalfPrecision } from './precision.js'

/** How weights are kept, by name: options and help know the names without a model. What the forms are is said in `compact-weights.ts`. */

/**
 * `fp32`, or `compact`: each weight in the smallest form that has its values to the bit, on disk and in memory. In a half precision
 * matrices are rounded to it.
 */
export type WeightKeeping = 'fp32' | 'compact' | HalfPrecision

/** `auto`: `fp32` wherever that fits comfortably. */
export type KeepingChoice = 'auto' | 'fp32' | 'compact'

export const keepingChoices: readonly KeepingChoice[] = ['auto', 'fp32', 'compact']
