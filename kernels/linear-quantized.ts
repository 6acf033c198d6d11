import type { LoweredBlockQuantization, Lowering } from './kernel.js'

/** Weights in a block: they lie side by side in a row, and have a scale and an offset in common. */
export const QUANTIZATION_BLOCK = 32

/** Activations are rounded to 8 bits, block by block, and multiplied as integers. */
const ACCURACY_LEVEL = 4

/**
 * `x weightᵀ + bias` over a weight at its stored width, `weight = scale * integer + offset` in blocks of 32, by ONNX Runtime's
 * `MatMulNBits` (contrib operators, com.microsoft). Its integers are signed; they are stored with 8 or 128 added, which is what the
 * operator takes off where it is given no zero points. Zero points that are not whole would make it dequantise the weight, so
 * offsets are a product of their own: `x weightᵀ = x (scale integer)ᵀ + s offsetᵀ`, where `s` [R, in / 32] is x summed over blocks.
 * Exact in the weights; activations are rounded to 8 bits.
 */
export function lowerQuantizedLinear(
  { inputs: [x, weight, bias], emit, int64, once, reshape }: Lowering,
  { bits, integers, scales, offsets }: LoweredBlockQuantization,
): string {
  const [N, K] = weight!.shape as [number, number]
  const product = emit(
    'MatMulNBits',
    [x!.name, integers, scales, ...(bias ? ['', '', bias.name] : [])],
    { K, N, bits, block_size: QUANTIZATION_BLOCK, accuracy_level: ACCURACY_LEVEL },
    'com.microsoft',
  )
  if (offsets === undefined) return product
  const sums = once(`block sums of ${x!.name}`, () => {
    const blocks = reshape(x!.name, x!.shape, [x!.shape[0]!, K / QUANTIZATION_BLOCK, QUANTIZATION_BLOCK])
    return emit('ReduceSum', [blocks, int64([2])], { keepdims: 0 }) // [R, in / 32]
  })
  return emit('Gemm', [sums, offsets, product], { transB: 1 })
}
