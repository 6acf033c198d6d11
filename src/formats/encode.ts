/** Float32 numbers to the bytes of other types: the inverse of `dequantize`, for the types that are written. */
import { GradpromptError } from '../errors.js'
import { blockLayout, dequantize } from './dequantize.js'
import { encodeBfloat16, encodeFloat16 } from './half.js'

type Encoder = (values: Float32Array, out: Uint8Array) => void

const encoders: Readonly<Record<string, Encoder>> = {
  F32: (values, out) => out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  F16: (values, out) => encodeFloat16(values, new Uint16Array(out.buffer, out.byteOffset, values.length)),
  BF16: (values, out) => encodeBfloat16(values, new Uint16Array(out.buffer, out.byteOffset, values.length)),
  Q8_0: encodeQ8_0,
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
export function encode(type: string, values: Float32Array): Uint8Array {
  const encoder = Object.hasOwn(encoders, type) ? encoders[type] : undefined
  if (encoder === undefined) {
    throw new GradpromptError('unsupported-dtype', 'Numbers are not written in this type', {
      found: type,
      expected: `one of ${Object.keys(encoders).join(', ')}`,
    })
  }
  const out = new Uint8Array(encodedLength(type, values.length))
  encoder(values, out)
  return out
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
