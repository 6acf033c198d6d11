/**
 * ggml's K types: blocks of 256 weights, whose sub-blocks of 16 or 32 have scales of few bits under one or two in half precision. It knows
 * the bytes of a block, and not what a tensor is.
 * Layouts: ggml-common.h and ggml-quants.c of https://github.com/ggml-org/ggml
 */
import { halfAt } from './half.js'

// Per block: `b` is the offset of its bytes, `o` of its weights. Products of a half-precision scale and the integers are exact in
// double precision, so rounding happens once, on the store: as in float32 arithmetic, whose products are exact as well.

/** 16 bytes of sub-scales and sub-minima (4 bits each), 64 bytes of bit pairs, d, dmin: d * scale * q - dmin * minimum, sub-blocks of 16. */
export function decodeQ2_K(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 84, o += 256) {
    const d = halfAt(bytes, b + 80)
    const dmin = halfAt(bytes, b + 82)
    for (let s = 0; s < 16; s++) {
      const packed = bytes[b + s]!
      const scale = d * (packed & 15)
      const minimum = dmin * (packed >> 4)
      const quants = pairsOf(b + 16, s)
      const shift = s & 6
      for (let j = 0; j < 16; j++) out[o + s * 16 + j] = scale * ((bytes[quants + j]! >> shift) & 3) - minimum
    }
  }
}

/** 32 bytes of third bits, 64 bytes of bit pairs, 12 bytes of 6-bit sub-scales, d: d * (scale - 32) * (q - 4), sub-blocks of 16. */
export function decodeQ3_K(bytes: Uint8Array, out: Float32Array): void {
  for (let b = 0, o = 0; o < out.length; b += 110, o += 256) {
    const d = halfAt(bytes, b + 108)
    for (let s = 0; s < 16; s++) {
      const low = s < 8 ? bytes[b + 96 + s]! & 15 : bytes[b + 88 + s]! >> 4
      const high = (bytes[b + 104 + (s & 3)]! >> (2 * (s >> 2))) & 3
      const scale = d * ((low | (high << 4)) - 32)
      const quants = pairsOf(b + 32, s)
      const third = b + 16 * (s & 1)
      const shift = s & 6
      for (let j = 0; j < 16; j++) {
        const q = ((bytes[quants + j]! >> shift) & 3) | (((bytes[third + j]! >> (s >> 1)) & 1) << 2)
        out[o + s * 16 + j] = scale * (q - 4)
      }
    }
  }
}

/** Of 64 bytes from `p` on, those that hold sub-block `s`: four rows of 32 weights share 32 bytes, two bits each. */
const pairsOf = (p: number, s: number): number => p + 32 * (s >> 3) + 16 * (s & 1)

/** 6-bit scale of sub-block `s` (0-7) from the 12 packed bytes at `p`. */
export function subScale(bytes: Uint8Array, p: number, s: number): number {
  return s < 4 ? bytes[p + s]! & 63 : (bytes[p + s + 4]! & 15) | ((bytes[p + s - 4]! >> 6) << 4)
}

/** 6-bit minimum of sub-block `s` (0-7) from the 12 packed bytes at `p`. */
export function subMinimum(bytes: Uint8Array, p: number, s: number): number {
  return s < 4 ? bytes[p + s + 4]! & 63 : (bytes[p + s + 4]! >> 4) | ((bytes[p + s]! >> 6) << 4)
}

/** d, dmin, 12 bytes of sub-scales, 4 x 32 bytes whose nibbles are two sub-blocks of 32: d * scale * q - dmin * minimum. */
export function decodeQ4_K(bytes: Uint8Array, out: Float32Array): void {
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
export function decodeQ5_K(bytes: Uint8Array, out: Float32Array): void {
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
export function decodeQ6_K(bytes: Uint8Array, out: Float32Array): void {
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
