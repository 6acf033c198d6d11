import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { linear } from '../../kernels/linear.js'
import { QUANTIZATION_BLOCK as BLOCK } from '../../kernels/linear-quantized.js'
import { packIntegers, quantizedBytes, quantizedWeights } from '../../src/model/weights/quantized-weights.js'
import { hashOf } from '../../src/program/cache.js'
import type { BlockQuantizedTensor, ExternalTensor } from '../../src/program/lower.js'
import { Program, type WeightFile } from '../../src/program/program.js'
import { sealedLength } from '../../src/program/seals.js'
import { ownCache } from '../support/cache.js'
import { difference, random } from '../support/numbers.js'
import { float32, opened, productOf, wholeNumbers } from './support/quantized.js'

// Another file may have written what is looked for here.
ownCache()

describe('the file of quantised weights', () => {
  const inFolder = ({ folder }: WeightFile) => readdirSync(folder).filter(file => /^quantized-.*\.bin$/.test(file))
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
    expect(whole.length).toBe(sealedLength(quantizedBytes(checkpoint)))

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

  test('equals the product with its values, at any shape and form', async () => {
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
