import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { QUANTIZATION_BLOCK as BLOCK } from '../../../kernels/linear-quantized.js'
import { openCheckpoint } from '../../../src/model/weights/checkpoint.js'
import { hashModel, weightFile } from '../../../src/model/weights/weight-file.js'
import type { BlockQuantizedTensor, ExternalTensor } from '../../../src/program/lower.js'
import type { InputSpec, WeightFile } from '../../../src/program/program.js'
import { random } from '../../support/numbers.js'

/** The form of each quantised weight of the fixture; `rounded`: the part of its rows from which on values are not kept. */
export const FORMS: Record<string, { bits: 4 | 8; offsets: boolean; rounded?: number }> = {
  embedding: { bits: 8, offsets: false, rounded: 0 }, // Q6_K
  'layers.0.queryKeyValue': { bits: 8, offsets: true, rounded: 96 }, // Q4_K, Q4_K, Q6_K
  'layers.0.query': { bits: 8, offsets: true },
  'layers.0.keyValue': { bits: 8, offsets: true, rounded: 32 },
  'layers.0.attentionOutput': { bits: 8, offsets: false }, // Q5_0
  'layers.0.gate': { bits: 4, offsets: false }, // Q4_0
  'layers.0.up': { bits: 8, offsets: true }, // Q5_1
  'layers.1.queryKeyValue': { bits: 4, offsets: true }, // Q4_1
  'layers.1.query': { bits: 4, offsets: true },
  'layers.1.keyValue': { bits: 4, offsets: true },
  'layers.1.attentionOutput': { bits: 8, offsets: false }, // Q8_0
  'layers.1.gate': { bits: 8, offsets: true }, // Q5_K
  'layers.1.up': { bits: 4, offsets: true }, // Q4_K
}

/** The same for the types whose codes stand for values. */
export const CODE_FORMS: typeof FORMS = {
  embedding: { bits: 8, offsets: false, rounded: 0 }, // Q6_K
  'layers.0.queryKeyValue': { bits: 8, offsets: false }, // IQ4_XS, IQ4_XS, IQ4_NL
  'layers.0.query': { bits: 8, offsets: false },
  'layers.0.keyValue': { bits: 8, offsets: false },
  'layers.0.attentionOutput': { bits: 8, offsets: false }, // MXFP4
  'layers.0.gate': { bits: 4, offsets: false }, // TQ1_0
  'layers.0.up': { bits: 4, offsets: false }, // TQ2_0
  'layers.1.queryKeyValue': { bits: 4, offsets: false }, // TQ2_0, TQ1_0, TQ2_0
  'layers.1.query': { bits: 4, offsets: false },
  'layers.1.keyValue': { bits: 4, offsets: false },
  'layers.1.attentionOutput': { bits: 8, offsets: false }, // IQ4_NL
  'layers.1.gate': { bits: 8, offsets: false, rounded: 0 }, // Q2_K
  'layers.1.up': { bits: 8, offsets: false, rounded: 0 }, // Q3_K
}

export async function opened(path = 'test/fixtures/quantized/mixed.gguf') {
  const checkpoint = await openCheckpoint(path)
  const weights = await weightFile(checkpoint, await hashModel(checkpoint.files))
  await checkpoint.file.close()
  return { checkpoint, weights }
}

export const bytesOf = ({ folder }: WeightFile, { file, offset, byteLength }: ExternalTensor<'uint8' | 'float32'>) =>
  Uint8Array.from(readFileSync(join(folder, file)).subarray(offset, offset + byteLength))

/** A quantised weight as the definition has it: scale * integer + offset. */
export function restored(weights: WeightFile, { bits, integers, scales, offsets }: BlockQuantizedTensor): Float32Array {
  const packed = bytesOf(weights, integers)
  const numbers = (tensor: ExternalTensor<'float32'>) => new Float32Array(bytesOf(weights, tensor).buffer)
  const [scale, offset] = [numbers(scales), offsets && numbers(offsets)]
  return Float32Array.from({ length: scale.length * BLOCK }, (_, i) => {
    const unsigned = bits === 8 ? packed[i]! : (packed[i >> 1]! >> (4 * (i % 2))) & 15
    const block = Math.floor(i / BLOCK)
    return scale[block]! * (unsigned - 2 ** (bits - 1)) + (offset?.[block] ?? 0)
  })
}

/** Whole numbers that 8 bits hold exactly: each block has one of the largest magnitude, so that its scale is 1. */
export function wholeNumbers(seed: number, shape: readonly [number, number]) {
  const { data } = random(seed, shape, 127)
  return { data: data.map((x, i) => (i % BLOCK === seed % BLOCK ? 127 * (Math.sign(x) || 1) : Math.round(x))), shape }
}

/** x weightᵀ + bias in double precision. */
export function productOf(x: Float32Array, weight: Float32Array, columns: number, bias?: Float32Array): Float64Array {
  const out = weight.length / columns
  return Float64Array.from({ length: (x.length / columns) * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out) * columns, (i % out) * columns]
    let sum = bias ? bias[i % out]! : 0
    for (let j = 0; j < columns; j++) sum += x[row + j]! * weight[column + j]!
    return sum
  })
}

export const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })
