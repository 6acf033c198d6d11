import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { linear } from '../../kernels/linear.js'
import { hadamard, LARGEST, rotationOf } from '../../kernels/linear-integer.js'
import { inputGroups } from '../../src/model/input-groups.js'
import { integerWeights } from '../../src/model/integer-weights.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { balance, roundingOf, roundRows } from '../../src/model/round-rows.js'
import { multipliesBytes } from '../../src/program/byte-products.js'
import { hashOf } from '../../src/program/cache.js'
import type { ExternalTensor, RowQuantizedTensor } from '../../src/program/lower.js'
import { type InputSpec, Program, type WeightFile } from '../../src/program/program.js'
import { ownCache } from '../support/cache.js'
import { difference, dot, random, relativeError } from '../support/numbers.js'
import { weightReader } from '../support/weights.js'

ownCache()

/** Products are held against exact ones only where the processor has them. */
const exactly = test.runIf(await multipliesBytes())

const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })

/** x [R, in] times a rotation of its columns in blocks. */
function rotated(x: Float32Array, side: number): Float32Array {
  const matrix = hadamard(side)
  const column = (i: number) => Array.from({ length: side }, (_, j) => matrix[j * side + i]!)
  return x.map((_, at) => dot(x.subarray(at - (at % side), at - (at % side) + side), column(at % side)))
}

/** x weightᵀ in double precision. */
const productOf = (x: Float32Array, weight: Float32Array, columns: number) =>
  Float64Array.from({ length: (x.length / columns) * (weight.length / columns) }, (_, at) => {
    const [row, out] = [Math.floor(at / (weight.length / columns)), at % (weight.length / columns)]
    return dot(x.subarray(row * columns, (row + 1) * columns), weight.subarray(out * columns, (out + 1) * columns))
  })

describe('rounding rows', () => {
  test.each([16, 32, 64])('the rotation of %i columns is orthogonal and its own inverse', side => {
    const matrix = hadamard(side)
    const row = (i: number) => matrix.slice(i * side, (i + 1) * side)
    for (let i = 0; i < side; i++)
      for (let j = 0; j < side; j++) {
        expect(matrix[i * side + j]).toBe(matrix[j * side + i])
        expect(dot(row(i), row(j))).toBeCloseTo(i === j ? 1 : 0, 12)
      }
  })

  test('the widest rotation that divides the columns', () => {
    expect([576, 96, 48, 24].map(rotationOf)).toEqual([64, 32, 16, undefined])
  })

  test('keeps what is scaled and rotated to a number at most, and products with the inputs far better', () => {
    const [rows, columns, rotation] = [70, 128, 64]
    const weight = random(1, [rows, columns]).data
    const columnScales = random(2, [columns]).data.map(x => 1.5 + x)
    // Inputs along three directions, and a little besides.
    const along = random(3, [3, columns]).data
    const inputs = random(4, [40, columns], 0.02).data.map((x, i) => {
      const shares = random(5 + Math.floor(i / columns), [3]).data
      return x + shares.reduce((sum, share, d) => sum + share * along[d * columns + (i % columns)]!, 0)
    })
    const wanted = rotated(
      weight.map((x, i) => x * columnScales[i % columns]!),
      rotation,
    )
    const { integers, scales } = roundRows(weight.slice(), roundingOf(inputs.slice(), columnScales, rotation, 4))
    const scaleOf = (i: number) => scales[Math.floor(i / columns)]!
    const found = wanted.map((_, i) => integers[(i % columns) * rows + Math.floor(i / columns)]! * scaleOf(i))
    expect(integers.some(x => Math.abs(x) === LARGEST)).toBe(true)
    for (const [i, value] of found.entries()) expect(Math.abs(value - wanted[i]!)).toBeLessThan(1.001 * scaleOf(i))
    const given = rotated(
      inputs.map((x, i) => x / columnScales[i % columns]!),
      rotation,
    )
    const plain = wanted.map((x, i) => Math.round(x / scaleOf(i)) * scaleOf(i))
    const exact = productOf(given, wanted, columns)
    const errorOf = (rounded: Float32Array) => relativeError(productOf(given, rounded, columns), exact)
    expect(errorOf(found)).toBeLessThan(0.3 * errorOf(plain))
  })

  test('a row of zeros stays one, whatever the inputs', () => {
    const rounding = roundingOf(new Float32Array(64), new Float32Array(32).fill(1), 32, 4)
    const { integers, scales } = roundRows(new Float32Array(64), rounding)
    expect([...integers, ...scales].every(x => x === 0)).toBe(true)
  })

  test('columns are balanced: as large in the input as in the weight', () => {
    const inputs = Float32Array.of(100, 1, 0.02, -100, 1, -0.02)
    const weight = Float32Array.of(1, 2, 3, 1, -2, 3)
    const scales = balance(inputs, [weight, weight], 3)
    for (let i = 0; i < 3; i++) expect(inputs[i]! / scales[i]!).toBeCloseTo(weight[i]! * scales[i]!, 4)
    expect(balance(new Float32Array(3), [new Float32Array(3)], 3).every(Number.isFinite)).toBe(true)
  })
})

const MODELS = ['llama-f16', 'gpt2'].map(name => `test/fixtures/models/${name}`)

describe.each(MODELS)('the weights of %s as whole numbers', path => {
  const opened = LanguageModel.load(path)

  test('weights that take one input are found together', async () => {
    const model = await opened
    const groups = await inputGroups(model, {})
    const names = groups.flatMap(({ names }) => names)
    expect(new Set(names).size).toBe(names.length)
    for (const { names, columns, rows, ofLogits } of groups) {
      for (const name of names) {
        expect(model.weights.tensors.get(name)!.shape[1]).toBe(columns)
        expect(ofLogits).toBe(name === 'head' || name === 'embedding')
      }
      expect(rows.length % columns).toBe(0)
      expect(rows.every(Number.isFinite)).toBe(true)
    }
    expect(groups.filter(({ ofLogits }) => ofLogits)).toHaveLength(1)
  })

  exactly('linear layers come near their products, at any number of rows', async () => {
    const model = await opened
    const weights = await integerWeights(model)
    const names = [...weights.quantized!.keys()]
    const columns = (name: string) => weights.tensors.get(name)!.shape[1]!
    const widths = [...new Set(names.map(columns))]
    const program = await Program.compile({
      name: 'integer products',
      inputs: Object.fromEntries(widths.map(width => [`x${width}`, float32('R', width)])),
      dims: { R: [1, 64] },
      weights,
      fn: (given, weight) => Object.fromEntries(names.map(name => [name, linear(given[`x${columns(name)}`]!, weight(name))])),
    })
    const values = weightReader(weights)
    for (const rows of [1, 2, 33]) {
      const x = Object.fromEntries(widths.map(width => [`x${width}`, random(width + rows, [rows, width])]))
      const results = await program.run(x)
      for (const name of names) {
        const wanted = productOf(x[`x${columns(name)}`]!.data, values(name)!.data, columns(name))
        expect(relativeError(results[name] as Float32Array, wanted), name).toBeLessThan(0.02)
      }
      // A row is the same whatever stands beside it, but for numbers half between two.
      const first = Object.fromEntries(widths.map(width => [`x${width}`, x[`x${width}`]!.data.slice(0, width)]))
      const alone = await program.run(first)
      for (const name of names)
        expect(difference(alone[name]!, results[name]!.slice(0, alone[name]!.length), 1e-3)).toBeLessThan(2e-3)
    }
    await program.dispose()
  })

  test('the file is whole or absent, and is written once', async () => {
    const model = await opened
    const { folder } = model.weights
    const inFolder = () => readdirSync(folder).filter(file => file.startsWith('integer-'))
    for (const file of inFolder()) truncateSync(join(folder, file), 10)
    const stopped = integerWeights(model, {
      onProgress: () => {
        throw new Error('stopped')
      },
    })
    await expect(stopped).rejects.toThrow('stopped')
    const seen: number[] = []
    const [one, other] = await Promise.all([
      integerWeights(model, { onProgress: fraction => seen.push(fraction) }),
      integerWeights(model),
    ])
    expect(one).toEqual(other)
    expect(seen.length).toBeGreaterThan(0)
    const [bin] = inFolder()
      .filter(file => file.endsWith('.bin'))
      .map(file => join(folder, file))
    const { ino } = statSync(bin!)
    await integerWeights(model)
    expect(statSync(bin!).ino).toBe(ino)
    expect(readdirSync(dirname(folder)).filter(file => file.endsWith('.tmp'))).toEqual([])
  })
})

describe('a linear layer over whole numbers', () => {
  exactly('equals the product of what was rounded, at any shape', async () => {
    const folder = process.env.GRADPROMPT_CACHE!
    const cases = fc.record({
      out: fc.integer({ min: 1, max: 70 }),
      blocks: fc.integer({ min: 1, max: 5 }),
      side: fc.constantFrom(16, 32, 64),
      rows: fc.integer({ min: 1, max: 20 }),
      bias: fc.boolean(),
      inputBits: fc.constantFrom<8 | 16>(8, 16),
      seed: fc.nat(1000),
    })
    const holds = async ({
      out,
      blocks,
      side,
      rows,
      bias,
      inputBits,
      seed,
    }: typeof cases extends fc.Arbitrary<infer Case> ? Case : never) => {
      const columns = blocks * side
      const rotation = rotationOf(columns)!
      const weight = random(seed, [out, columns]).data
      const columnScales = random(seed + 1, [columns]).data.map(x => 1.2 + x)
      const file = written(folder, { weight, columnScales, rotation, inputBits })
      const x = random(seed + 2, [rows, columns], 3)
      const b = random(seed + 3, [out])
      const program = await Program.compile({
        name: 'one product',
        inputs: { x: float32('R', columns), b: float32(out) },
        dims: { R: [1, 64] },
        weights: file,
        fn: ({ x, b }, weight) => ({ y: linear(x!, weight('w'), bias ? b : undefined) }),
      })
      const { y } = await program.run({ x, b })
      await program.dispose()
      // The same rounding of the input, by hand.
      const scaled = rotated(
        x.data.map((value, i) => value / columnScales[i % columns]!),
        rotation,
      )
      const scaleOf = Array.from({ length: rows }, (_, i) => {
        const row = scaled.subarray(i * columns, (i + 1) * columns)
        return row.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / LARGEST
      })
      const rounded = scaled.map((value, i) => {
        const scale = scaleOf[Math.floor(i / columns)]! / (inputBits === 8 ? 1 : 2 * LARGEST)
        return Math.round(value / scale) * scale
      })
      const wanted = productOf(rounded, restored(file, file.quantized.get('w')!), columns).map(
        (value, i) => value + (bias ? b.data[i % out]! : 0),
      )
      // Numbers half between two may be rounded either way; a product may be small beside what it is made of.
      const lengths = (values: Float32Array) =>
        Array.from({ length: values.length / columns }, (_, i) => {
          const row = values.subarray(i * columns, (i + 1) * columns)
          return Math.sqrt(dot(row, row))
        })
      const [ofRows, ofWeights] = [lengths(scaled), lengths(restored(file, file.quantized.get('w')!))]
      for (const [i, value] of wanted.entries()) {
        const size = ofRows[Math.floor(i / out)]! * ofWeights[i % out]!
        expect(Math.abs((y as Float32Array)[i]! - value)).toBeLessThan((inputBits === 8 ? 1e-2 : 4e-5) * size)
      }
    }
    await fc.assert(fc.asyncProperty(cases, holds), { numRuns: 25 })
  })
})

/** A weight in a file of its own, rounded. */
function written(
  folder: string,
  given: { weight: Float32Array; columnScales: Float32Array; rotation: number; inputBits: 8 | 16 },
) {
  const { weight, columnScales, rotation, inputBits } = given
  const columns = columnScales.length
  const out = weight.length / columns
  const name = hashOf([...weight], inputBits)
  const { integers, scales } = roundRows(weight.slice(), roundingOf(new Float32Array(columns), columnScales, rotation, 4))
  const parts = [weight, columnScales.map(x => 1 / x), scales, integers].map(part => Buffer.from(part.buffer))
  writeFileSync(join(folder, `${name}.bin`), Buffer.concat(parts))
  let end = 0
  const next = <Dtype extends 'float32' | 'int8'>(dtype: Dtype, ...shape: number[]): ExternalTensor<Dtype> => {
    const byteLength = shape.reduce((a, b) => a * b) * (dtype === 'int8' ? 1 : 4)
    end += byteLength
    return { file: `${name}.bin`, offset: end - byteLength, byteLength, shape, dtype }
  }
  const tensors = new Map([['w', next('float32', out, columns)]])
  const [inputScales, ownScales] = [next('float32', columns), next('float32', out)]
  const tensor: RowQuantizedTensor = {
    form: 'rows',
    rotation,
    inputBits,
    inputScales,
    scales: ownScales,
    integers: next('int8', columns, out),
  }
  return { folder, hash: name, tensors, quantized: new Map([['w', tensor]]) }
}

/** A rounded weight as the definition has it, scaled and rotated: [out, in]. */
function restored({ folder }: WeightFile, { integers, scales }: RowQuantizedTensor): Float32Array {
  const bytes = (tensor: ExternalTensor<'int8' | 'float32'>) =>
    Uint8Array.from(readFileSync(join(folder, tensor.file)).subarray(tensor.offset, tensor.offset + tensor.byteLength)).buffer
  const [columns, out] = integers.shape as [number, number]
  const [numbers, scale] = [new Int8Array(bytes(integers)), new Float32Array(bytes(scales))]
  return Float32Array.from({ length: numbers.length }, (_, i) => {
    const row = Math.floor(i / columns)
    return numbers[(i % columns) * out + row]! * scale[row]!
  })
}
