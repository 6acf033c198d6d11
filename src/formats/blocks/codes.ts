/**
 * ggml's types whose few bits are an index or a digit: IQ4_NL, IQ4_XS and MXFP4 look their weights up among sixteen, TQ1_0 and TQ2_0
 * hold -1, 0 and 1. It knows the bytes of a block, and not what a tensor is.
 * Layouts: ggml-common.h and ggml-quants.c of https://github.com/ggml-org/ggml; MXFP4: the OCP microscaling formats, version 1.0
 */
import { halfAt } from './half.js'

// Per block: `b` is the offset of its bytes, `o` of its weights. Products of a half-precision scale and the integers are exact in
// double precision, so rounding happens once, on the store: as in float32 arithmetic, whose products are exact as well.

/** The sixteen values of IQ4_NL and IQ4_XS, closer to each other about zero. */
const uneven = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

/** The sixteen numbers of one sign bit, two of exponent and one of mantissa, doubled. */
const float4 = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

/** 16 bytes from `b` on: the low nibbles are weights 0-15, the high ones 16-31; each times `scale` into `out` from `o` on. */
function lookUp(table: Int8Array, scale: number, bytes: Uint8Array, b: number, out: Float32Array, o: number): void {
  for (let j = 0; j < 16; j++) {
    const q = bytes[b + j]!
    out[o + j] = scale * table[q & 15]!
    out[o + 16 + j] = scale * table[q >> 4]!
  }
}

/** d, nibbles: d * value. */
export function decodeIQ4_NL(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 18, o += 32) lookUp(uneven, halfAt(bytes, b), bytes, b + 2, out, o)
}

/** Scale of the 32 weights `s` (0-7) of the IQ4_XS block at `b`: d, 8 pairs of high bits, 8 nibbles of low bits; d * (scale - 32). */
export function scaleIQ4_XS(bytes: Uint8Array, b: number, s: number): number {
  const high = (bytes[b + 2 + (s >> 2)]! >> (2 * (s & 3))) & 3
  const low = (bytes[b + 4 + (s >> 1)]! >> (4 * (s & 1))) & 15
  return halfAt(bytes, b) * ((low | (high << 4)) - 32)
}

/** d, scales, 8 x 16 bytes of nibbles: scale * value. */
export function decodeIQ4_XS(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 136, o += 256)
    for (let s = 0; s < 8; s++) lookUp(uneven, scaleIQ4_XS(bytes, b, s), bytes, b + 8 + 16 * s, out, o + 32 * s)
}

/** Scale of the MXFP4 block at `b`: a power of two by its exponent alone, halved because `float4` is doubled. */
export const scaleMXFP4 = (bytes: Uint8Array, b: number): number => 2 ** (bytes[b]! - 128)

/** An exponent, nibbles: scale * value. */
export function decodeMXFP4(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 17, o += 32) lookUp(float4, scaleMXFP4(bytes, b), bytes, b + 1, out, o)
}

/** Powers of three that bring a digit to the front of a byte, which holds it as a fraction of 256. */
const powers = [1, 3, 9, 27, 81] as const

/** 48 bytes of five digits, 4 bytes of four, d: d * (digit - 1). Runs of 32, 16 and 4 bytes hold their first digits, then their second ... */
export function decodeTQ1_0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 54) {
    const d = halfAt(bytes, b + 52)
    for (const [start, length, digits] of [
      [0, 32, 5],
      [32, 16, 5],
      [48, 4, 4],
    ] as const)
      for (let n = 0; n < digits; n++)
        for (let j = 0; j < length; j++) {
          const digit = (((bytes[b + start + j]! * powers[n]!) & 255) * 3) >> 8
          out[o++] = d * (digit - 1)
        }
  }
}

/** 64 bytes of bit pairs, d: d * (q - 1). Four rows of 32 weights share 32 bytes. */
export function decodeTQ2_0(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 66) {
    const d = halfAt(bytes, b + 64)
    for (let half = 0; half < 64; half += 32)
      for (let shift = 0; shift < 8; shift += 2)
        for (let j = 0; j < 32; j++) out[o++] = d * (((bytes[b + half + j]! >> shift) & 3) - 1)
  }
}
