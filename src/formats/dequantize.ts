import { GradpromptError } from '../errors.js'
import { decodeIQ4_NL, decodeIQ4_XS, decodeMXFP4, decodeTQ1_0, decodeTQ2_0 } from './blocks/codes.js'
import { decodeBfloat16, decodeFloat8E4M3, decodeFloat8E5M2, decodeFloat16 } from './blocks/half.js'
import { decodeQ2_K, decodeQ3_K, decodeQ4_K, decodeQ5_K, decodeQ6_K } from './blocks/k-types.js'
import { decodeQ4_0, decodeQ4_1, decodeQ5_0, decodeQ5_1, decodeQ8_0 } from './blocks/simple.js'

/** How a quantisation type lies in memory: `blockSize` weights of one row in `bytesPerBlock` bytes. */
export interface BlockLayout {
  readonly blockSize: number
  readonly bytesPerBlock: number
}

type Decoder = (bytes: Uint8Array, out: Float32Array) => void

/** ggml's tensor types by number: name, weights in a block, bytes of a block. Numbers without a layout are retired. */
const ggmlTypes: Readonly<Record<number, readonly [name: string, blockSize?: number, bytesPerBlock?: number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  4: ['Q4_2'],
  5: ['Q4_3'],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  9: ['Q8_1', 32, 40],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  15: ['Q8_K', 256, 292],
  16: ['IQ2_XXS', 256, 66],
  17: ['IQ2_XS', 256, 74],
  18: ['IQ3_XXS', 256, 98],
  19: ['IQ1_S', 256, 50],
  20: ['IQ4_NL', 32, 18],
  21: ['IQ3_S', 256, 110],
  22: ['IQ2_S', 256, 82],
  23: ['IQ4_XS', 256, 136],
  24: ['I8', 1, 1],
  25: ['I16', 1, 2],
  26: ['I32', 1, 4],
  27: ['I64', 1, 8],
  28: ['F64', 1, 8],
  29: ['IQ1_M', 256, 56],
  30: ['BF16', 1, 2],
  31: ['Q4_0_4_4'],
  32: ['Q4_0_4_8'],
  33: ['Q4_0_8_8'],
  34: ['TQ1_0', 256, 54],
  35: ['TQ2_0', 256, 66],
  36: ['IQ4_NL_4_4'],
  37: ['IQ4_NL_4_8'],
  38: ['IQ4_NL_8_8'],
  39: ['MXFP4', 32, 17],
  40: ['NVFP4', 64, 36],
  41: ['Q1_0', 128, 18],
}

/** Types of safetensors that ggml does not have. */
const otherTypes: readonly (readonly [name: string, blockSize: number, bytesPerBlock: number])[] = [
  ['F8_E4M3', 1, 1],
  ['F8_E5M2', 1, 1],
]

const decoders: Readonly<Record<string, Decoder>> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  F16: decodeFloat16,
  BF16: decodeBfloat16,
  F8_E4M3: decodeFloat8E4M3,
  F8_E5M2: decodeFloat8E5M2,
  Q8_0: decodeQ8_0,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  Q2_K: decodeQ2_K,
  Q3_K: decodeQ3_K,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
  IQ4_NL: decodeIQ4_NL,
  IQ4_XS: decodeIQ4_XS,
  MXFP4: decodeMXFP4,
  TQ1_0: decodeTQ1_0,
  TQ2_0: decodeTQ2_0,
}

const layouts: ReadonlyMap<string, BlockLayout> = new Map(
  [...Object.values(ggmlTypes), ...otherTypes].flatMap(([name, blockSize, bytesPerBlock]) =>
    blockSize === undefined || bytesPerBlock === undefined ? [] : [[name, { blockSize, bytesPerBlock }] as const],
  ),
)

/** The types that `dequantize` reads. */
export const dequantizableTypes: readonly string[] = Object.keys(decoders)

/**
 * Name and layout of a ggml tensor type given by its number, readable or not.
 * Throws `unsupported-quantization`, naming `tensor`, where the number is unknown or its type was retired from ggml.
 */
export function ggmlType(number: number, tensor: string): BlockLayout & { readonly name: string } {
  const name = ggmlTypes[number]?.[0] ?? `ggml type ${number}`
  const layout = layouts.get(name)
  if (layout === undefined) throw unsupported(name, tensor)
  return { name, ...layout }
}

/** The number of a ggml tensor type, as GGUF files have it. */
export const ggmlTypeNumber = (name: string): number =>
  Number(Object.keys(ggmlTypes).find(number => ggmlTypes[Number(number)]![0] === name))

/** Layout of a type that `dequantize` reads. Throws `unsupported-quantization`, naming `tensor`, for any other. */
export function blockLayout(type: string, tensor?: string): BlockLayout {
  const layout = Object.hasOwn(decoders, type) ? layouts.get(type) : undefined
  if (layout === undefined) throw unsupported(type, tensor)
  return layout
}

/**
 * Writes the float32 values of `bytes`, whole blocks of ggml type `type`, into `out`. Bit for bit what ggml's reference
 * gives for finite scales. Touches nothing but `out`, so it serves in any thread.
 *
 * Throws `unsupported-quantization`; `shape-mismatch` when `bytes` is not exactly the blocks of `out.length` weights.
 */
export function dequantize(type: string, bytes: Uint8Array, out: Float32Array): void {
  const { blockSize, bytesPerBlock } = blockLayout(type)
  if (out.length % blockSize !== 0 || bytes.length !== (out.length / blockSize) * bytesPerBlock) {
    throw new GradpromptError('shape-mismatch', `These bytes are not ${out.length} weights of type ${type}`, {
      found: `${bytes.length} bytes for ${out.length} weights`,
      expected: `${bytesPerBlock} bytes for every ${blockSize} weights`,
      hint: 'Cut tensors at whole blocks only.',
    })
  }
  decoders[type]!(bytes, out)
}

function unsupported(type: string, tensor: string | undefined): GradpromptError {
  const subject = tensor === undefined ? 'Weights are' : `Tensor "${tensor}" is`
  return new GradpromptError('unsupported-quantization', `${subject} stored as ${type}, which cannot be read`, {
    found: tensor === undefined ? type : `${type} in "${tensor}"`,
    expected: `one of ${dequantizableTypes.join(', ')}`,
    hint: 'Take a file of the same model in another quantisation, such as Q8_0 or Q4_K_M.',
  })
}
