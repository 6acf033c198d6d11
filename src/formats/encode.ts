/** Float32 numbers to the bytes of other types: the inverse of `dequantize`, for the types that are written. */
import { GradpromptError } from '../errors.js'
import { encodeBfloat16, encodeFloat16 } from './blocks/half.js'
import { blockLayout, dequantize } from './dequantize.js'

type Encoder = (values: Float32Array, out: Uint8Array) => void

const encoders: Readonly<Record<string, Encoder>> = {
  F32: (values, out) => out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  F16: (values, out) => encodeFloat16(values, new Uint16Array(out.buffer, out.byteOffset, values.length)),
  BF16: (values, out) => encodeBfloat16(values, new Uint16Array(out.buffer, out.byteOffset, values.length)),
  Q8_0: encodeQ8_0,
  Q4_0: encodeQ4_0,
  Q4_1: encodeQ4_1,
}

/** Whether numbers can be written in a type. */
export const isEncodable = (type: string): boolean => Object.hasOwn(encoders, type)

/** The bytes that `count` numbers take. */
export function encodedLength(type: string, count: number): number {
  const { blockSize, bytesPerBlock } = blockLayout(type)
  return (count / blockSize) * bytesPerBlock
}

/**
 * @param values whole blocks of the type
 * @throws GradpromptError `unsupported-dtype`
 */
export const encode = (type: string, values: Float32Array): Uint8Array =>
  encodeInto(type, values, new Uint8Array(encodedLength(type, values.length)))

/** Encodes the pieces of one tensor into the same memory: each is valid until the next. @throws GradpromptError as `encode` does */
export function pieceEncoder(type: string): (values: Float32Array) => Uint8Array {
  let buffer = new Uint8Array()
  return values => {
    const length = encodedLength(type, values.length)
    if (buffer.length < length) buffer = new Uint8Array(length)
    return encodeInto(type, values, buffer.subarray(0, length))
  }
}

function encodeInto(type: string, values: Float32Array, out: Uint8Array): Uint8Array {
  const encoder = Object.hasOwn(encoders, type) ? encoders[type] : undefined
  if (encoder === undefined) {
    throw new GradpromptError('unsupported-dtype', 'Numbers are not written in this type', {
      found: type,
      expected: `one of ${Object.keys(encoders).join(', ')}`,
    })
  }
  encoder(values, out)
  return out
}

/** A number and the half that it becomes: there are millions of blocks. */
const [single, half] = [new Float32Array(1), new Uint16Array(1)]

/** A number as a half, in two bytes. */
function writeHalf(value: number, out: Uint8Array, at: number): void {
  single[0] = value
  encodeFloat16(single, half)
  out[at] = half[0]! & 255
  out[at + 1] = half[0]! >> 8
}

/** Sixteen bytes of a block: the first half of its 4-bit codes below, the second above. */
function writeNibbles(codes: (i: number) => number, out: Uint8Array, at: number): void {
  const code = (i: number) => Math.min(15, Math.max(0, Math.trunc(codes(i))))
  for (let i = 0; i < 16; i++) out[at + i] = code(i) | (code(i + 16) << 4)
}

/**
 * Blocks of 32: the number of the largest magnitude / -8 as a half, then multiples of it from -8 to 7. The same bits as `quantize` of the
 * Python package gguf.
 */
function encodeQ4_0(values: Float32Array, out: Uint8Array): void {
  const { fround } = Math
  for (let block = 0; block * 32 < values.length; block++) {
    const own = values.subarray(block * 32, block * 32 + 32)
    const largest = own.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0)
    const scale = fround(largest / -8)
    const inverse = scale === 0 ? 0 : fround(1 / scale)
    writeHalf(scale, out, block * 18)
    writeNibbles(i => fround(fround(own[i]! * inverse) + 8.5), out, block * 18 + 2)
  }
}

/** Blocks of 32: a fifteenth of the range and the least number as halves, then multiples from 0 to 15. The same bits as that package's. */
function encodeQ4_1(values: Float32Array, out: Uint8Array): void {
  const { fround } = Math
  for (let block = 0; block * 32 < values.length; block++) {
    const own = values.subarray(block * 32, block * 32 + 32)
    const least = Math.min(...own)
    const scale = fround(fround(Math.max(...own) - least) / 15)
    const inverse = scale === 0 ? 0 : fround(1 / scale)
    writeHalf(scale, out, block * 20)
    writeHalf(least, out, block * 20 + 2)
    writeNibbles(i => fround(fround(fround(own[i]! - least) * inverse) + 0.5), out, block * 20 + 4)
  }
}

/** Blocks of 32: the largest magnitude / 127 as a half, then the multiples; rounded as ggml's reference does, halves away from 0. */
function encodeQ8_0(values: Float32Array, out: Uint8Array): void {
  const half = new Uint16Array(1)
  const one = new Float32Array(1)
  for (let block = 0; block * 32 < values.length; block++) {
    let largest = 0
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[block * 32 + i]!))
    const scale = Math.fround(largest / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    one[0] = scale
    encodeFloat16(one, half)
    out[block * 34] = half[0]! & 255
    out[block * 34 + 1] = half[0]! >> 8
    for (let i = 0; i < 32; i++) {
      const multiple = Math.fround(values[block * 32 + i]! * inverse)
      out[block * 34 + 2 + i] = Math.sign(multiple) * Math.floor(Math.abs(multiple) + 0.5)
    }
  }
}

/** The numbers as they are read again once they have been written in a type. */
export function rounded(type: string, values: Float32Array): Float32Array {
  if (type === 'F32') return values
  const bytes = encode(type, values)
  const out = new Float32Array(values.length)
  dequantize(type, bytes, out)
  return out
}
