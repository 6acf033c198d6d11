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

/** float32 value of every bit pattern of E4M3: bias 7, no infinities, NaN where all bits but the sign are set. */
const float8E4M3Values = Float32Array.from({ length: 256 }, (_, bits) => {
  const exponent = (bits >> 3) & 15
  const mantissa = bits & 7
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10)
  return (bits & 127) === 127 ? Number.NaN : (bits & 128 ? -1 : 1) * magnitude
})

/** `bytes` holds `out.length` FP8 numbers, E4M3 (in torch `float8_e4m3fn`). Exact. */
export function decodeFloat8E4M3(bytes: Uint8Array, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = float8E4M3Values[bytes[i]!]!
}

/** `bytes` holds `out.length` FP8 numbers, E5M2: the upper halves of half-precision ones. Exact. */
export function decodeFloat8E5M2(bytes: Uint8Array, out: Float32Array): void {
  const bits = viewUint32(out)
  for (let i = 0; i < bits.length; i++) bits[i] = float16Bits[bytes[i]! << 8]!
}

function viewUint16(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 1)
}

function viewUint32(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length)
}

/** The half-precision number at byte `b`. */
export function halfAt(bytes: Uint8Array, b: number): number {
  return float16Values[bytes[b]! | (bytes[b + 1]! << 8)]!
}
