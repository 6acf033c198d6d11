// Every host that ONNX Runtime runs on is little-endian, as are GGUF and safetensors, so typed arrays may view file bytes.

const float16Bits = new Uint32Array(65536)

/** float32 value of every IEEE 754 binary16 bit pattern. */
export const float16Values: Float32Array = new Float32Array(float16Bits.buffer)

for (let half = 0; half < 65536; half++) {
  const exponent = (half >> 10) & 31
  const mantissa = half & 1023
  if (exponent === 0) float16Values[half] = mantissa * 2 ** -24
  else float16Bits[half] = ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13)
  float16Bits[half]! |= (half & 0x8000) << 16
}

/** `bytes` holds `out.length` IEEE 754 binary16 numbers. Exact; NaN payloads are kept. */
export function decodeFloat16(bytes: Uint8Array, out: Float32Array): void {
  const halves = viewUint16(bytes)
  const bits = viewUint32(out)
  for (let i = 0; i < bits.length; i++) bits[i] = float16Bits[halves[i]!]!
}

/** `bytes` holds `out.length` bfloat16 numbers (the upper half of a float32). Exact; NaN payloads are kept. */
export function decodeBfloat16(bytes: Uint8Array, out: Float32Array): void {
  const halves = viewUint16(bytes)
  const bits = viewUint32(out)
  for (let i = 0; i < bits.length; i++) bits[i] = halves[i]! << 16
}

function viewUint16(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 1)
}

function viewUint32(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length)
}

/** Writes float32 numbers as IEEE 754 binary16, rounded to nearest, ties to even; what is too large becomes infinite. */
export function encodeFloat16(values: Float32Array, out: Uint16Array): void {
  const bits = viewUint32(values)
  for (let i = 0; i < bits.length; i++) out[i] = halfBits(bits[i]!)
}

/** Writes float32 numbers as bfloat16, rounded to nearest, ties to even; NaN stays NaN. */
export function encodeBfloat16(values: Float32Array, out: Uint16Array): void {
  const bits = viewUint32(values)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i]!
    const isNone = (value & 0x7fffffff) > 0x7f800000
    out[i] = isNone ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
}

function halfBits(value: number): number {
  const sign = (value >>> 16) & 0x8000
  const magnitude = value & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  // From 65520 on, which is nearer to 2^16 than to the largest number.
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude >= 0x38800000) return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13)
  // Up to 2^-25, which is half of the least number.
  if (magnitude <= 0x33000000) return sign
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const shift = 126 - (magnitude >>> 23)
  const whole = mantissa >>> shift
  const rest = mantissa & ((1 << shift) - 1)
  const middle = 1 << (shift - 1)
  return sign | (whole + (rest > middle || (rest === middle && (whole & 1) === 1) ? 1 : 0))
}
