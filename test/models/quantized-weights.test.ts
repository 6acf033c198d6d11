import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { linear } from '../../kernels/linear.js'
import { QUANTIZATION_BLOCK as BLOCK } from '../../kernels/linear-quantized.js'
import { tf } from '../../kernels/tf.js'
import { openCheckpoint } from '../../src/model/checkpoint.js'
import { multipleScales, packIntegers, quantizedBytes, quantizedWeights } from '../../src/model/quantized-weights.js'
import { hashModel, weightFile } from '../../src/model/weight-file.js'
import { hashOf } from '../../src/program/cache.js'
import { type Device, deviceProfile } from '../../src/program/devices.js'
import { traceGraph } from '../../src/program/graph.js'
import { type BlockQuantizedTensor, type ExternalTensor, lowerGraph } from '../../src/program/lower.js'
import { type InputSpec, Program, type WeightFile } from '../../src/program/program.js'
import { ownCache } from '../support/cache.js'
import { difference, random } from '../support/numbers.js'
import { weightReader } from '../support/weights.js'

ownCache()

/** The form of each quantised weight of the fixture; `rounded`: the part of its rows from which on values are not kept. */
const FORMS: Record<string, { bits: 4 | 8; offsets: boolean; rounded?: number }> = {
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

async function opened(path = 'test/fixtures/quantized/mixed.gguf') {
  const checkpoint = await openCheckpoint(path)
  const weights = await weightFile(checkpoint, await hashModel(checkpoint.files))
  await checkpoint.file.close()
  return { checkpoint, weights }
}

const bytesOf = ({ folder }: WeightFile, { file, offset, byteLength }: ExternalTensor<'uint8' | 'float32'>) =>
  Uint8Array.from(readFileSync(join(folder, file)).subarray(offset, offset + byteLength))

/** A quantised weight as the definition has it: scale * integer + offset. */
function restored(weights: WeightFile, { bits, integers, scales, offsets }: BlockQuantizedTensor): Float32Array {
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
function wholeNumbers(seed: number, shape: readonly [number, number]) {
  const { data } = random(seed, shape, 127)
  return { data: data.map((x, i) => (i % BLOCK === seed % BLOCK ? 127 * (Math.sign(x) || 1) : Math.round(x))), shape }
}

/** x weightᵀ + bias in double precision. */
function productOf(x: Float32Array, weight: Float32Array, columns: number, bias?: Float32Array): Float64Array {
  const out = weight.length / columns
  return Float64Array.from({ length: (x.length / columns) * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out) * columns, (i % out) * columns]
    let sum = bias ? bias[i % out]! : 0
    for (let j = 0; j < columns; j++) sum += x[row + j]! * weight[column + j]!
    return sum
  })
}

const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })

describe('weights at their stored width', () => {
  const model = opened()

  test('the form of each follows from the types of its parts; rows that do not fill blocks stay in float32', async () => {
    const { checkpoint, weights } = await model
    const { quantized, hash, tensors } = await quantizedWeights(checkpoint, weights, { exact: true })
    expect([...quantized!.keys()].sort()).toEqual(Object.keys(FORMS).sort())
    for (const [name, { bits, offsets }] of Object.entries(FORMS)) {
      const tensor = quantized!.get(name)!
      expect([name, tensor.bits, tensor.offsets !== undefined]).toEqual([name, bits, offsets])
      const [rows, columns] = tensors.get(name)!.shape as [number, number]
      expect(tensor.integers.shape).toEqual([rows, columns / BLOCK, 4 * bits])
      expect(tensor.scales.shape).toEqual([rows, columns / BLOCK])
    }
    expect(hash).not.toBe(weights.hash)
  })

  test.each(Object.entries(FORMS))('%s has the stored values', async (name, { rounded }) => {
    const { checkpoint, weights } = await model
    const stored = await quantizedWeights(checkpoint, weights, { exact: true })
    const found = restored(stored, stored.quantized!.get(name)!)
    const { data, shape } = weightReader(weights)(name)!
    const firstRounded = (rounded ?? shape[0]!) * shape[1]!
    for (let i = 0; i < data.length; i += BLOCK) {
      const error = difference(found.subarray(i, i + BLOCK), data.subarray(i, i + BLOCK))
      expect(error).toBeLessThan(i < firstRounded ? 3e-7 : 1.001 / 254)
    }
  })

  test.each([1, 5, 40])('products of whole numbers are exact in the weights: %i rows', async rows => {
    const { checkpoint, weights } = await model
    const stored = await quantizedWeights(checkpoint, weights, { exact: true })
    const columns = (name: string) => weights.tensors.get(name)!.shape[1]!
    const names = [...Object.keys(FORMS), 'layers.0.down']
    const widths = [...new Set(names.map(columns))]
    const program = await Program.compile({
      name: 'products',
      inputs: Object.fromEntries(widths.map(width => [`x${width}`, float32('R', width)])),
      dims: { R: [1, 64] },
      weights: stored,
      fn: (given, weight) => Object.fromEntries(names.map(name => [name, linear(given[`x${columns(name)}`]!, weight(name))])),
    })
    const x = Object.fromEntries(widths.map(width => [`x${width}`, wholeNumbers(width + rows, [rows, width])]))
    const results = await program.run(x)
    await program.dispose()
    for (const name of names) {
      const width = columns(name)
      const tensor = stored.quantized!.get(name)
      const values = tensor ? restored(stored, tensor) : weightReader(weights)(name)!.data
      expect(difference(results[name]!, productOf(x[`x${width}`]!.data, values, width)), name).toBeLessThan(5e-6)
    }
  })

  test('a program holds only the form that it uses: products the integers, a gather and a gradient the values', async () => {
    const { checkpoint, weights } = await model
    const stored = await quantizedWeights(checkpoint, weights, { exact: true })
    const values = weightReader(weights)
    const [embedding, up] = [values('embedding')!.data, values('layers.1.up')!.data]
    const program = await Program.compile({
      name: 'both forms',
      inputs: { ids: { shape: ['R'], dtype: 'int32' }, cotangent: float32('R', 48) },
      dims: { R: [1, 64] },
      weights: stored,
      fn: ({ ids, cotangent }, weight) => {
        const rows = tf.gather(weight('embedding'), ids as tf.Tensor1D)
        const loss = (x: tf.Tensor) => tf.sum(tf.mul(linear(x, weight('layers.1.up')), cotangent!)) as tf.Scalar
        return { rows, logits: linear(rows, weight('embedding')), gradient: tf.grad(loss)(rows) }
      },
    })
    const cotangent = random(3, [2, 48])
    const { rows, logits, gradient } = await program.run({ ids: Int32Array.of(3, 39), cotangent })
    await program.dispose()
    expect([...rows!]).toEqual([...embedding.subarray(3 * 256, 4 * 256), ...embedding.subarray(39 * 256, 40 * 256)])
    // Activations and weights are both rounded to 8 bits.
    expect(difference(logits!, productOf(rows as Float32Array, embedding, 256))).toBeLessThan(0.02)
    const transposed = Float32Array.from({ length: up.length }, (_, i) => up[(i % 48) * 256 + Math.floor(i / 48)]!)
    expect(difference(gradient!, productOf(cotangent.data, transposed, 48))).toBeLessThan(1e-6)
    const onnx = readFileSync(program.path, 'latin1')
    expect(onnx).toContain('weight:embedding:integers')
    expect(onnx).not.toContain('layers.1.up:integers')
  })

  test('other devices compute with the dequantised weights', async () => {
    const { checkpoint, weights } = await model
    const { quantized, tensors } = await quantizedWeights(checkpoint, weights, { exact: true })
    const inputs = [{ name: 'x', shape: [3, 256], dtype: 'float32' as const }]
    const metas = new Map([...tensors].map(([name, { shape, dtype }]) => [name, { shape: [...shape], dtype }]))
    const graph = traceGraph(({ x }, weight) => ({ y: linear(x!, weight('embedding')) }), inputs, metas, {})
    const onnx = (device: Device) =>
      Buffer.from(lowerGraph(graph, deviceProfile(device).operators, tensors, inputs, quantized).model).toString('latin1')
    expect([onnx('cpu').includes('MatMulNBits'), onnx('webgpu').includes('MatMulNBits')]).toEqual([true, false])
  })

  test('checkpoints in floats are rounded to 8 bits, the tied head and transposed weights too', async () => {
    for (const name of ['llama-bf16', 'gpt2', 'llama-untied-bias']) {
      const { checkpoint, weights } = await opened(`test/fixtures/models/${name}`)
      const stored = await quantizedWeights(checkpoint, weights, { exact: true })
      const tied = checkpoint.config.tieWordEmbeddings
      expect([stored.quantized!.has('embedding'), stored.quantized!.has('head')]).toEqual([tied, !tied])
      for (const [weight, tensor] of stored.quantized!) {
        expect([tensor.bits, tensor.offsets]).toEqual([8, undefined])
        expect(difference(restored(stored, tensor), weightReader(weights)(weight)!.data), weight).toBeLessThan(1.001 / 254)
      }
    }
  })

  test('by default types with offsets keep their integers, as multiples, and each block moves as a whole', async () => {
    const { checkpoint, weights } = await model
    const stored = await quantizedWeights(checkpoint, weights)
    const exact = await quantizedWeights(checkpoint, weights, { exact: true })
    expect(stored.hash).not.toBe(exact.hash)
    for (const [name, tensor] of stored.quantized!) {
      expect([name, tensor.bits, tensor.offsets]).toEqual([name, name === 'layers.0.gate' ? 4 : 8, undefined])
      const found = restored(stored, tensor)
      const { data, shape } = weightReader(weights)(name)!
      expect(difference(found, data), name).toBeLessThan(1.001 / 254)
      const { offsets, rounded } = FORMS[name]!
      if (!offsets) continue
      // Where the offset dwarfs the scale, 8 bits have no room for good multiples.
      const scales = new Float32Array(bytesOf(weights, exact.quantized!.get(name)!.scales).buffer)
      let [blocks, whole] = [0, 0]
      for (let i = 0; i < (rounded ?? shape[0]!) * shape[1]!; i += BLOCK) {
        const largest = Math.max(...data.subarray(i, i + BLOCK).map(Math.abs))
        if (scales[i / BLOCK]! < (8 * largest) / 127) continue
        const moved = found.subarray(i, i + BLOCK).map((x, j) => x - data[i + j]!)
        blocks++
        if (Math.max(...moved) - Math.min(...moved) <= 1e-6 * largest) whole++
      }
      expect(whole, name).toBeGreaterThanOrEqual(0.95 * blocks)
    }
  })

  test('of the scales that there is room for, the one that moves a block least', () => {
    const block = (scale: number, offset: number) => ({
      values: Float32Array.from({ length: BLOCK }, (_, i) => scale * ((i % 16) - 8) + offset),
      stored: { scales: Float32Array.of(scale), offsets: Float32Array.of(offset) },
    })
    const chosen = (scale: number, offset: number) => {
      const { values, stored } = block(scale, offset)
      const out = new Float32Array(1)
      multipleScales(values, stored, out)
      return out[0]
    }
    // 127 / 8.3 leaves room for 15 parts, of which 10 make the offset a whole number; 14 or 7 do so with sevenths.
    expect(chosen(1, -0.3)).toBeCloseTo(0.1, 6)
    expect([7, 14]).toContain(Math.round(1 / chosen(1, -1 / 7)!))
    expect(chosen(0.5, 0)).toBeCloseTo(0.5 / 15, 6)
    // A block of equal weights, and one of nothing.
    expect(chosen(0, 2)).toBeCloseTo(2 / 127, 6)
    expect(chosen(0, 0)).toBe(0)
    fc.assert(
      fc.property(
        fc.double({ min: 0.001, max: 10, noNaN: true }),
        fc.double({ min: -1, max: 1, noNaN: true }),
        (scale, share) => {
          const part = chosen(scale, scale * share)!
          const whole = Math.abs(scale / part - Math.round(scale / part)) < 1e-3
          const anew = Math.max(...block(scale, scale * share).values.map(Math.abs)) / 127
          expect(whole || Math.abs(part / anew - 1) < 1e-6).toBe(true)
          const moved = (scale * share) / part
          expect(Math.abs(moved - Math.round(moved)) * part).toBeLessThan(scale / 24)
        },
      ),
    )
  })
})

describe('the file of quantised weights', () => {
  const inFolder = ({ folder }: WeightFile) => readdirSync(folder).filter(file => file.startsWith('quantized-'))
  const beside = ({ folder }: WeightFile) => readdirSync(dirname(folder)).filter(file => file.endsWith('.tmp'))

  test('is whole or absent: a write that fails leaves nothing, a file that was cut is written again', async () => {
    const { checkpoint, weights } = await opened('test/fixtures/models/llama-f16')
    const failing = quantizedWeights(checkpoint, weights, {
      onProgress: () => {
        throw new Error('stopped')
      },
    })
    await expect(failing).rejects.toThrow('stopped')
    expect([...inFolder(weights), ...beside(weights)]).toEqual([])

    const seen: number[] = []
    await quantizedWeights(checkpoint, weights, { onProgress: fraction => seen.push(fraction) })
    expect(seen.at(-1)).toBeCloseTo(1, 1)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    const path = join(weights.folder, inFolder(weights)[0]!)
    const whole = readFileSync(path)
    expect(whole.length).toBe(quantizedBytes(checkpoint))

    const { ino } = statSync(path)
    await quantizedWeights(checkpoint, weights, { exact: true })
    expect(statSync(path).ino).toBe(ino)
    truncateSync(path, 100)
    await quantizedWeights(checkpoint, weights, { exact: true })
    expect(readFileSync(path).equals(whole)).toBe(true)
    expect(beside(weights)).toEqual([])
  })

  test('serves two that write it at once', async () => {
    const { checkpoint, weights } = await opened('test/fixtures/models/llama-sharded')
    const [one, other] = await Promise.all([
      quantizedWeights(checkpoint, weights, { exact: true }),
      quantizedWeights(checkpoint, weights, { exact: true }),
    ])
    expect(one).toEqual(other)
    expect(existsSync(join(weights.folder, one.quantized!.get('embedding')!.integers.file))).toBe(true)
    expect(beside(weights)).toEqual([])
  })
})

describe('a linear layer over blocks of our own', () => {
  const folder = process.env.GRADPROMPT_CACHE!
  const programs: Program[] = []
  afterAll(() => Promise.all(programs.map(program => program.dispose())))

  /** A weight of random integers, scales and offsets in a file, with its values beside it. */
  function written(out: number, columns: number, bits: 4 | 8, withOffsets: boolean, seed: number) {
    const blocks = (out * columns) / BLOCK
    const scales = random(seed, [blocks]).data.map(x => Math.abs(x) + 0.01)
    const offsets = withOffsets ? random(seed + 1, [blocks], 3).data : undefined
    const half = 2 ** (bits - 1)
    const integers = random(seed + 2, [out * columns]).data.map(x => Math.floor(((x + 1) / 2) * 2 * half - half))
    const block = (i: number) => Math.floor(i / BLOCK)
    const values = integers.map((q, i) => scales[block(i)]! * q + (offsets?.[block(i)] ?? 0))
    const packed = new Uint8Array(blocks * 4 * bits)
    packIntegers(values, scales, offsets, bits, packed)
    const name = `${hashOf(out, columns, bits, withOffsets, seed)}.bin`
    const parts = [values, scales, ...(offsets ? [offsets] : []), packed].map(part => Buffer.from(part.buffer))
    writeFileSync(join(folder, name), Buffer.concat(parts))
    let offset = 0
    const next = <Dtype extends 'float32' | 'uint8'>(dtype: Dtype, shape: number[], byteLength: number) => {
      offset += byteLength
      return { file: name, offset: offset - byteLength, byteLength, shape, dtype } as ExternalTensor<Dtype>
    }
    const weight = next('float32', [out, columns], 4 * values.length)
    const perBlock = () => next('float32', [out, columns / BLOCK], 4 * blocks)
    const tensor: BlockQuantizedTensor = {
      form: 'blocks',
      bits,
      scales: perBlock(),
      ...(offsets ? { offsets: perBlock() } : {}),
      integers: next('uint8', [out, columns / BLOCK, 4 * bits], packed.length),
    }
    const file: WeightFile = {
      folder,
      hash: name,
      tensors: new Map([['w', weight]]),
      quantized: new Map([['w', tensor]]),
    }
    return { file, values, integers, scales }
  }

  test('equals the product with its values, at any shape and form', { timeout: 60_000 }, async () => {
    const cases = fc.record({
      out: fc.integer({ min: 1, max: 70 }),
      blocks: fc.integer({ min: 1, max: 9 }),
      rows: fc.integer({ min: 1, max: 20 }),
      bits: fc.constantFrom<4 | 8>(4, 8),
      offsets: fc.boolean(),
      bias: fc.boolean(),
      seed: fc.nat(1000),
    })
    const holds = async ({
      out,
      blocks,
      rows,
      bits,
      offsets,
      bias,
      seed,
    }: typeof cases extends fc.Arbitrary<infer T> ? T : never) => {
      const columns = blocks * BLOCK
      const { file, values, integers, scales } = written(out, columns, bits, offsets, seed)
      const program = await Program.compile(
        {
          name: 'one product',
          inputs: { x: float32('R', columns), ...(bias ? { bias: float32(out) } : {}) },
          dims: { R: [1, 64] },
          weights: file,
          fn: ({ x, bias }, weight) => ({ y: linear(x!, weight('w'), bias) }),
        },
        { threads: 1 },
      )
      programs.push(program)
      const x = wholeNumbers(seed, [rows, columns])
      const added = random(seed + 5, [out], 50)
      const { y } = await program.run({ x, ...(bias ? { bias: added } : {}) })
      const exact = productOf(x.data, values, columns, bias ? added.data : undefined)
      expect(difference(y!, exact, 127 * columns)).toBeLessThan(5e-6)

      // Any numbers: nothing but the rounding of activations comes in, half a step of 1/127 of a block's largest at most.
      const free = random(seed + 6, [rows, columns], 4)
      const { y: close } = await program.run({ x: free, ...(bias ? { bias: added } : {}) })
      const wanted = productOf(free.data, values, columns, bias ? added.data : undefined)
      for (const [i, value] of wanted.entries()) {
        let allowed = 5e-4 * columns
        for (let j = 0; j < columns; j += BLOCK) {
          const row = Math.floor(i / out) * columns + j
          const largest = Math.max(...free.data.subarray(row, row + BLOCK).map(Math.abs))
          const column = (i % out) * columns + j
          const weight =
            scales[column / BLOCK]! * integers.subarray(column, column + BLOCK).reduce((sum, q) => sum + Math.abs(q), 0)
          allowed += (largest / 254) * weight
        }
        expect(Math.abs((close![i] as number) - value)).toBeLessThan(allowed)
      }
    }
    await fc.assert(fc.asyncProperty(cases, holds), { numRuns: 40 })
  })

  test('integers lie in rising order, two to a byte at 4 bits, the first in the low half', () => {
    const values = Float32Array.from({ length: BLOCK }, (_, i) => 0.5 * ((i % 16) - 8) + 3)
    const packed = new Uint8Array(16)
    packIntegers(values, Float32Array.of(0.5), Float32Array.of(3), 4, packed)
    expect([...packed.subarray(0, 8)]).toEqual([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe])
    const bytes = new Uint8Array(BLOCK)
    packIntegers(
      values.map((_, i) => -2 * (i - 128 + 96)),
      Float32Array.of(-2),
      undefined,
      8,
      bytes,
    )
    expect([...bytes]).toEqual(Array.from({ length: BLOCK }, (_, i) => 96 + i))
  })

  test('a block of scale 0 is its offset; values beyond the range, or that are no numbers, stay within their bits', () => {
    const packed = new Uint8Array(BLOCK)
    packIntegers(new Float32Array(BLOCK).fill(7), Float32Array.of(0), Float32Array.of(7), 8, packed)
    expect(new Set(packed)).toEqual(new Set([128]))
    const wild = Float32Array.from({ length: BLOCK }, (_, i) => [Number.NaN, Number.POSITIVE_INFINITY, -1e30, 1e30][i % 4]!)
    packIntegers(wild, Float32Array.of(1), undefined, 8, packed)
    expect([...packed.subarray(1, 4)]).toEqual([255, 0, 255])
  })
})
