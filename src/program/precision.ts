/** In which width programs multiply, by name: options and help know the names without a model. What they mean is said in `rewrite/half-precision.ts`. */

/** 16 bits: of `fp16` 11 are digits and its largest number is 65,504; `bf16` has 8 digits and the range of float32. */
export type HalfPrecision = 'fp16' | 'bf16'

export type Precision = 'fp32' | HalfPrecision

export const precisions: readonly Precision[] = ['fp32', 'fp16', 'bf16']

/** As ONNX calls the numbers. */
export const halfTypes = { fp16: 'float16', bf16: 'bfloat16' } as const

export const isHalf = (name: string): name is HalfPrecision => Object.hasOwn(halfTypes, name)

/**
 * How a device comes to products in half precision: by instructions of its own; by float32 between casts that ONNX Runtime puts there; or
 * by float32 between roundings that the program writes, where ONNX Runtime has no such products at all. The last two are slower than
 * float32 and exist so that programs can be tried without a graphics processor.
 */
export type HalfArithmetic = 'own' | 'cast' | 'rounded'
