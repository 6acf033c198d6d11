import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { float16Values } from '../../src/formats/blocks/half.js'
import { encode, pieceEncoder, rounded } from '../../src/formats/encode.js'
import { openGguf } from '../../src/formats/gguf.js'
import { ggufEntry, writeGguf } from '../../src/formats/gguf-writer.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { streamSafetensors, type TensorStream, writeShards } from '../../src/formats/safetensors-writer.js'
import { problem } from '../support/problem.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-writers-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const stream = (name: string, dtype: string, values: Float32Array, pieces = 3): TensorStream => {
  const bytes = encode(dtype, values)
  return {
    name,
    dtype,
    shape: [values.length],
    byteLength: bytes.length,
    async *pieces() {
      const size = Math.ceil(bytes.length / pieces)
      for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size)
    },
  }
}

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i) * 3)

test('every half is written as it is read', () => {
  const finite = float16Values.filter(value => !Number.isNaN(value))
  expect(rounded('F16', finite)).toEqual(finite)
})

test('halves and bfloat16 are the nearest, ties to even', () => {
  const value = fc.float({ min: -65504, max: 65504, noNaN: true, noDefaultInfinity: true })
  fc.assert(
    fc.property(value, x => {
      const [near] = rounded('F16', Float32Array.of(x))
      expect(Math.abs(near! - x)).toBeLessThanOrEqual(Math.max(Math.abs(x) * 2 ** -11, 2 ** -25))
      const [brain] = rounded('BF16', Float32Array.of(x))
      expect(Math.abs(brain! - x)).toBeLessThanOrEqual(Math.max(Math.abs(x) * 2 ** -8, 2 ** -134))
    }),
  )
  expect([...rounded('F16', Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 65520, 2 ** -25, 2 ** -24, Number.NaN))]).toEqual([
    1,
    1 + 2 ** -9,
    Number.POSITIVE_INFINITY,
    0,
    2 ** -24,
    Number.NaN,
  ])
  expect([...rounded('BF16', Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, Number.NaN))]).toEqual([1, 1 + 2 ** -6, Number.NaN])
})

test('blocks of 8 bits are off by half a step', () => {
  const values = numbers(96)
  const found = rounded('Q8_0', values)
  for (const [i, x] of values.entries()) expect(Math.abs(found[i]! - x)).toBeLessThan(3 / 127)
  expect([...rounded('Q8_0', new Float32Array(32))]).toEqual(Array(32).fill(0))
  expect(problem(() => encode('Q6_K', numbers(256))).code).toBe('unsupported-dtype')
})

test('blocks are those of the package gguf, bit for bit', () => {
  const bytes = readFileSync('test/fixtures/formats/encoded.bin')
  const count = 96 * 32
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 4 * count))
  let at = 4 * count
  for (const dtype of ['Q8_0', 'Q4_0', 'Q4_1']) {
    const found = encode(dtype, values)
    expect([dtype, Buffer.from(found).equals(bytes.subarray(at, at + found.length))]).toEqual([dtype, true])
    at += found.length
  }
  expect(at).toBe(bytes.length)
})

test('tensors of several types in shards, read again', async () => {
  const values = { a: numbers(40), b: numbers(50), c: numbers(60) }
  const out = mkdtempSync(join(folder, 'shards-'))
  await writeShards(out, [stream('c', 'BF16', values.c), stream('a', 'F32', values.a), stream('b', 'F16', values.b)], 230)
  expect(readdirSync(out).sort()).toEqual([
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ])
  const file = await openSafetensors(out)
  expect(await file.read('a')).toEqual(values.a)
  expect(await file.read('b')).toEqual(rounded('F16', values.b))
  expect(await file.read('c')).toEqual(rounded('BF16', values.c))
  await file.close()
})

test('a GGUF file is read as it was written', async () => {
  const path = join(folder, 'made.gguf')
  const entries = [
    ggufEntry.string('general.architecture', 'llama'),
    ggufEntry.uint32('llama.vocab_size', 7),
    ggufEntry.boolean('tokenizer.ggml.add_bos_token', false),
    ggufEntry.strings('tokenizer.ggml.tokens', ['a', '漢', '']),
    ggufEntry.int32s('tokenizer.ggml.token_type', Int32Array.of(1, 3, 5)),
    ggufEntry.float32s('tokenizer.ggml.scores', Float32Array.of(0, -1.5, 2)),
  ]
  const tensors = [stream('one', 'F32', numbers(7)), stream('two', 'Q8_0', numbers(64))]
  await writeGguf(path, { entries, tensors, alignment: 32 })
  const file = await openGguf(path)
  expect(Object.fromEntries(file.metadata)).toEqual({
    'general.architecture': 'llama',
    'llama.vocab_size': 7,
    'tokenizer.ggml.add_bos_token': false,
    'tokenizer.ggml.tokens': ['a', '漢', ''],
    'tokenizer.ggml.token_type': Int32Array.of(1, 3, 5),
    'tokenizer.ggml.scores': Float32Array.of(0, -1.5, 2),
  })
  expect(Buffer.from(await file.rawEntry('llama.vocab_size')).equals(Buffer.from(entries[1]!))).toBe(true)
  expect(await file.read('one')).toEqual(numbers(7))
  expect(await file.read('two')).toEqual(rounded('Q8_0', numbers(64)))
  await file.close()
})

test('a tensor in pieces is never in memory whole, of few bits neither, and nor are the bytes that are made of it', async () => {
  const path = join(folder, 'pieces.gguf')
  const row = rounded('Q4_0', numbers(4096))
  const bytes = encode('Q4_0', row)
  const rows = 700
  const whole: TensorStream = {
    name: 'table',
    dtype: 'Q4_0',
    shape: [rows, 4096],
    byteLength: bytes.length * rows,
    async *pieces() {
      for (let i = 0; i < rows; i++) yield bytes
    },
  }
  await writeGguf(path, { entries: [], tensors: [whole], alignment: 32 })
  const file = await openGguf(path)
  const encoded = pieceEncoder('Q8_0')
  const memory = new Set<ArrayBufferLike>()
  let count = 0
  for await (const values of file.valuePieces('table')) {
    expect(values.byteLength).toBeLessThanOrEqual(2 ** 22)
    expect(values.subarray(-4096)).toEqual(row)
    memory.add(values.buffer).add(encoded(values).buffer)
    count += values.length / 4096
  }
  await file.close()
  expect([count, memory.size]).toEqual([rows, 2])
})

test('interrupted at any piece, no file has the name of a whole one', async () => {
  for (let most = 0; most < 5; most++) {
    const out = mkdtempSync(join(folder, 'interrupted-'))
    let written = 0
    const whole = stream('a', 'F32', numbers(40), 5)
    const torn: TensorStream = {
      ...whole,
      async *pieces() {
        for await (const piece of whole.pieces()) {
          if (written++ === most) throw new Error('interrupted')
          yield piece
        }
      },
    }
    await expect(streamSafetensors(join(out, 'model.safetensors'), [torn])).rejects.toThrow('interrupted')
    written = 0
    await expect(writeGguf(join(out, 'model.gguf'), { entries: [], tensors: [torn], alignment: 32 })).rejects.toThrow(
      'interrupted',
    )
    expect(readdirSync(out)).toEqual([])
  }
  expect(readFileSync(join(folder, 'made.gguf')).length).toBeGreaterThan(0)
})

test('a vocabulary may have more texts than a call may have arguments', async () => {
  const path = join(folder, 'vocabulary.gguf')
  const tokens = Array.from({ length: 300_000 }, (_, id) => `t${id}`)
  await writeGguf(path, { entries: [ggufEntry.strings('tokenizer.ggml.tokens', tokens)], tensors: [], alignment: 32 })
  const file = await openGguf(path)
  expect(file.metadata.get('tokenizer.ggml.tokens')).toEqual(tokens)
  await file.close()
})
