import { GradpromptError } from '../errors.js'
import { decodeBfloat16, decodeFloat16, float16Values } from './half.js'

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

const decoders: Readonly<Record<string, Decoder>> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  F16: decodeFloat16,
  BF16: decodeBfloat16,
  Q8_0: decodeQ8_0,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
}

const layouts: ReadonlyMap<string, BlockLayout> = new Map(
  Object.values(ggmlTypes).flatMap(([name, blockSize, bytesPerBlock]) =>
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

// Below, per block: `b` is the offset of its bytes, `o` of its weights. Products of a half-precision scale and the integers are
// exact in double precision, so rounding happens once, on the store: as in float32 arithmetic, whose products are exact as well.

/** The half-precision number at byte `b`. */
export function halfAt(bytes: Uint8Array, b: number): number {
  return float16Values[bytes[b]! | (bytes[b + 1]! << 8)]!
}

/** d, int8 x 32: d * q. */
function decodeQ8_0(bytes: Uint8Array, out: Float32Array): void {
  const quants = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let b = 0, o = 0; o < out.length; b += 34, o += 32) {
    const d = halfAt(bytes, b)
    for (let j = 0; j < 32; j++) out[o + j] = d * quants[b + 2 + j]!
  }
}

/** d, 16 bytes of which the low nibbles are weights 0-15 and the high ones 16-31: d * (q - 8). */
function decodeQ4_0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 18, o += 32) {
    const d = halfAt(bytes, b)
    for (let j = 0; j < 16; j++) {
      const q = bytes[b + 2 + j]!
      out[o + j] = d * ((q & 15) - 8)
      out[o + 16 + j] = d * ((q >> 4) - 8)
    }
  }
}

/** d, m, nibbles as in Q4_0: d * q + m. */
function decodeQ4_1(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 20, o += 32) {
    const d = halfAt(bytes, b)
    const m = halfAt(bytes, b + 2)
    for (let j = 0; j < 16; j++) {
      const q = bytes[b + 4 + j]!
      out[o + j] = d * (q & 15) + m
      out[o + 16 + j] = d * (q >> 4) + m
    }
  }
}

/** d, 32 fifth bits, nibbles as in Q4_0: d * (q - 16). */
function decodeQ5_0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 22, o += 32) {
    const d = halfAt(bytes, b)
    const high = bytes[b + 2]! | (bytes[b + 3]! << 8) | (bytes[b + 4]! << 16) | (bytes[b + 5]! << 24)
    for (let j = 0; j < 16; j++) {
      const q = bytes[b + 6 + j]!
      out[o + j] = d * (((q & 15) | (((high >> j) & 1) << 4)) - 16)
      out[o + 16 + j] = d * (((q >> 4) | (((high >> (j + 16)) & 1) << 4)) - 16)
    }
  }
}

/** d, m, fifth bits and nibbles as in Q5_0: d * q + m. */
function decodeQ5_1(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 24, o += 32) {
    const d = halfAt(bytes, b)
    const m = halfAt(bytes, b + 2)
    const high = bytes[b + 4]! | (bytes[b + 5]! << 8) | (bytes[b + 6]! << 16) | (bytes[b + 7]! << 24)
    for (let j = 0; j < 16; j++) {
      const q = bytes[b + 8 + j]!
      out[o + j] = d * ((q & 15) | (((high >> j) & 1) << 4)) + m
      out[o + 16 + j] = d * ((q >> 4) | (((high >> (j + 16)) & 1) << 4)) + m
    }
  }
}

/** 6-bit scale of sub-block `s` (0-7) from the 12 packed bytes at `p`. */
export function subScale(bytes: Uint8Array, p: number, s: number): number {
  return s < 4 ? bytes[p + s]! & 63 : (bytes[p + s + 4]! & 15) | ((bytes[p + s - 4]! >> 6) << 4)
}

/** 6-bit minimum of sub-block `s` (0-7) from the 12 packed bytes at `p`. */
export function subMinimum(bytes: Uint8Array, p: number, s: number): number {
  return s < 4 ? bytes[p + s + 4]! & 63 : (bytes[p + s + 4]! >> 4) | ((bytes[p + s]! >> 6) << 4)
}

/** d, dmin, 12 bytes of sub-scales, 4 x 32 bytes whose nibbles are two sub-blocks of 32: d * scale * q - dmin * minimum. */
function decodeQ4_K(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 144, o += 256) {
    const d = halfAt(bytes, b)
    const dmin = halfAt(bytes, b + 2)
    for (let s = 0; s < 8; s += 2) {
      const lowScale = d * subScale(bytes, b + 4, s)
      const lowMinimum = dmin * subMinimum(bytes, b + 4, s)
      const highScale = d * subScale(bytes, b + 4, s + 1)
      const highMinimum = dmin * subMinimum(bytes, b + 4, s + 1)
      const quants = b + 16 + s * 16
      const weights = o + s * 32
      for (let j = 0; j < 32; j++) {
        const q = bytes[quants + j]!
        out[weights + j] = lowScale * (q & 15) - lowMinimum
        out[weights + 32 + j] = highScale * (q >> 4) - highMinimum
      }
    }
  }
}

/** As Q4_K, with 32 bytes before the nibbles: bit s of byte j is the fifth bit of weight j in sub-block s. */
function decodeQ5_K(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 176, o += 256) {
    const d = halfAt(bytes, b)
    const dmin = halfAt(bytes, b + 2)
    for (let s = 0; s < 8; s += 2) {
      const lowScale = d * subScale(bytes, b + 4, s)
      const lowMinimum = dmin * subMinimum(bytes, b + 4, s)
      const highScale = d * subScale(bytes, b + 4, s + 1)
      const highMinimum = dmin * subMinimum(bytes, b + 4, s + 1)
      const quants = b + 48 + s * 16
      const weights = o + s * 32
      for (let j = 0; j < 32; j++) {
        const q = bytes[quants + j]!
        const high = bytes[b + 16 + j]! >> s
        out[weights + j] = lowScale * ((q & 15) | ((high & 1) << 4)) - lowMinimum
        out[weights + 32 + j] = highScale * ((q >> 4) | ((high & 2) << 3)) - highMinimum
      }
    }
  }
}

/** 128 bytes of nibbles, 64 bytes of bit pairs, int8 scale for each 16 weights, d: d * scale * (q - 32). Two halves of 128. */
function decodeQ6_K(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let b = 0, o = 0; o < out.length; b += 210, o += 256) {
    const d = halfAt(bytes, b + 208)
    for (let part = 0; part < 4; part++) {
      // 16 columns of a half: they make 16 weights in each of the half's four rows of 32.
      const half = part >> 1
      const column = (part & 1) * 16
      const low = b + half * 64 + column
      const high = b + 128 + half * 32 + column
      const scale = b + 192 + half * 8 + (part & 1)
      const weights = o + half * 128 + column
      const scale0 = d * signed[scale]!
      const scale1 = d * signed[scale + 2]!
      const scale2 = d * signed[scale + 4]!
      const scale3 = d * signed[scale + 6]!
      for (let j = 0; j < 16; j++) {
        const q0 = bytes[low + j]!
        const q1 = bytes[low + 32 + j]!
        const h = bytes[high + j]!
        out[weights + j] = scale0 * (((q0 & 15) | ((h & 3) << 4)) - 32)
        out[weights + 32 + j] = scale1 * (((q1 & 15) | ((h & 12) << 2)) - 32)
        out[weights + 64 + j] = scale2 * (((q0 >> 4) | (h & 48)) - 32)
        out[weights + 96 + j] = scale3 * (((q1 >> 4) | ((h & 192) >> 2)) - 32)
      }
    }
  }
}
