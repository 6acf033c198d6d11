import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { linear } from '../../kernels/linear.js'
import { QUANTIZATION_BLOCK as BLOCK } from '../../kernels/linear-quantized.js'
import { tf } from '../../kernels/tf.js'
import { multipleScales, quantizedWeights } from '../../src/model/weights/quantized-weights.js'
import { type Device, deviceProfile } from '../../src/program/devices.js'
import { traceGraph } from '../../src/program/graph.js'
import { lowerGraph } from '../../src/program/lower.js'
import { Program } from '../../src/program/program.js'
import { difference, random } from '../support/numbers.js'
import { weightReader } from '../support/weights.js'
import { bytesOf, CODE_FORMS, FORMS, float32, opened, productOf, restored, wholeNumbers } from './support/quantized.js'

describe.each([
  ['mixed.gguf', FORMS],
  ['codes.gguf', CODE_FORMS],
])('weights of %s at their stored width', (file, forms) => {
  const model = opened(`test/fixtures/quantized/${file}`)

  test('the form of each follows from the types of its parts; rows that do not fill blocks stay in float32', async () => {
    const { checkpoint, weights } = await model
    const { quantized, hash, tensors } = await quantizedWeights(checkpoint, weights, { exact: true })
    expect([...quantized!.keys()].sort()).toEqual(Object.keys(forms).sort())
    for (const [name, { bits, offsets }] of Object.entries(forms)) {
      const tensor = quantized!.get(name)!
      expect([name, tensor.bits, tensor.offsets !== undefined]).toEqual([name, bits, offsets])
      const [rows, columns] = tensors.get(name)!.shape as [number, number]
      expect(tensor.integers.shape).toEqual([rows, columns / BLOCK, 4 * bits])
      expect(tensor.scales.shape).toEqual([rows, columns / BLOCK])
    }
    expect(hash).not.toBe(weights.hash)
  })

  test.each(Object.entries(forms))('%s has the stored values', async (name, { rounded }) => {
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
})

describe('weights at their stored width', () => {
  const model = opened()

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
    const metas = new Map([...tensors].map(([name, { shape }]) => [name, { shape: [...shape], dtype: 'float32' as const }]))
    const graph = traceGraph(({ x }, weight) => ({ y: linear(x!, weight('embedding')) }), inputs, metas, {})
    const onnx = (device: Device) =>
      Buffer.from(lowerGraph(graph, deviceProfile(device), tensors, inputs, quantized).model).toString('latin1')
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
