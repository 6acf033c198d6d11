/**
 * ggml's blocks of 32 weights under one scale: Q8_0, and Q4_0 to Q5_1, some with a minimum. It knows the bytes of a block, and not what
 * a tensor is.
 * Layouts: ggml-common.h and ggml-quants.c of https://github.com/ggml-org/ggml
 */
import { halfAt } from './half.js'

// Per block: `b` is the offset of its bytes, `o` of its weights. Products of a half-precision scale and the integers are exact in
// double precision, so rounding happens once, on the store: as in float32 arithmetic, whose products are exact as well.

/** d, int8 x 32: d * q. */
export function decodeQ8_0(bytes: Uint8Array, out: Float32Array): void {
  const quants = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let b = 0, o = 0; o < out.length; b += 34, o += 32) {
    const d = halfAt(bytes, b)
    for (let j = 0; j < 32; j++) out[o + j] = d * quants[b + 2 + j]!
  }
}

/** d, 16 bytes of which the low nibbles are weights 0-15 and the high ones 16-31: d * (q - 8). */
export function decodeQ4_0(bytes: Uint8Array, out: Float32Array): void {
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
export function decodeQ4_1(bytes: Uint8Array, out: Float32Array): void {
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
export function decodeQ5_0(bytes: Uint8Array, out: Float32Array): void {
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
export function decodeQ5_1(bytes: Uint8Array, out: Float32Array): void {
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
