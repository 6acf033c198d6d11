import { readFileSync, writeFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { openSafetensors, type SafetensorsFile, writeSafetensors } from '../../src/formats/safetensors.js'
import { failure } from './failure.js'

const fixtures = 'test/fixtures/formats'
const single = readFileSync(join(fixtures, 'single.safetensors'))
const expectedValues = JSON.parse(readFileSync(join(fixtures, 'single.json'), 'utf8')) as Record<
  string,
  { shape: number[]; values: string }
>

let folder = ''
let scratch = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-safetensors-'))
  scratch = join(folder, 'scratch.safetensors')
})
afterAll(() => rm(folder, { recursive: true }))

async function using<T>(path: string, work: (file: SafetensorsFile) => T | Promise<T>): Promise<T> {
  const file = await openSafetensors(path)
  try {
    return await work(file)
  } finally {
    await file.close()
  }
}

/** Opens the bytes as a file and reads all that can be read. */
function consume(bytes: Uint8Array): Promise<void> {
  writeFileSync(scratch, bytes)
  return using(scratch, async file => {
    for (const { name, dtype } of file.tensors.values()) if (/^B?F(16|32)$/.test(dtype)) await file.read(name)
  })
}

/** A file of this header text, honest about its length unless told otherwise, and `data` zero bytes. */
function file(header: string, data = 0, length: number | bigint = Buffer.byteLength(header)): Buffer {
  return Buffer.concat([Buffer.from(BigUint64Array.of(BigInt(length)).buffer), Buffer.from(header), Buffer.alloc(data)])
}
const f32 = (name: string, begin: number, end: number, shape = [(end - begin) / 4]) =>
  `"${name}":{"dtype":"F32","shape":[${shape}],"data_offsets":[${begin},${end}]}`

describe('a safetensors file', () => {
  it('gives the tensors of the reference as float32, and its metadata', () =>
    using(join(fixtures, 'single.safetensors'), async opened => {
      expect([...opened.tensors.keys()].sort()).toEqual(['a.weight', 'b.half', 'c.brain', 'd.positions', 'e.empty'])
      expect(opened.metadata).toEqual(new Map([['format', 'pt']]))
      expect(opened.tensors.get('c.brain')?.dtype).toBe('BF16')
      for (const [name, { shape, values }] of Object.entries(expectedValues)) {
        expect(opened.tensors.get(name)?.shape).toEqual(shape)
        const read = await opened.read(name)
        expect(Buffer.from(read.buffer).toString('base64')).toBe(values)
        const given = new Float32Array(read.length)
        expect(await opened.read(name, given)).toBe(given)
        const { path, offset, byteLength } = opened.locate(name)
        const bytes = readFileSync(path).subarray(offset, offset + byteLength)
        expect(Buffer.from(await opened.readBytes(name)).equals(bytes)).toBe(true)
      }
    }))

  it('refuses to read integers, unknown names and wrong lengths', () =>
    using(join(fixtures, 'single.safetensors'), async opened => {
      const integers = await failure(() => opened.read('d.positions'))
      expect([integers.code, integers.found, integers.expected]).toEqual([
        'unsupported-dtype',
        '"I64"',
        'one of F32, F16, BF16, F8_E4M3, F8_E5M2',
      ])
      expect((await failure(() => opened.read('a.wieght'))).hint).toContain('"a.weight"')
      expect((await failure(() => opened.read('a.weight', new Float32Array(3)))).code).toBe('shape-mismatch')
    }))

  it('may be empty, and may name a tensor anything', async () => {
    await consume(file('{}'))
    await consume(file('{"__metadata__":{}}   '))
    await consume(file('{"__metadata__":null}'))
    writeFileSync(scratch, file(`{${f32('__proto__', 0, 4)},${f32('\\"a\\": {', 4, 8)}}`, 8))
    await using(scratch, opened => expect([...opened.tensors.keys()]).toEqual(['__proto__', '"a": {']))
  })

  it('is found in its folder, alone or as shards', async () => {
    const alone = join(folder, 'alone')
    await mkdir(alone)
    await cp(join(fixtures, 'single.safetensors'), join(alone, 'model.safetensors'))
    await using(alone, opened => expect(opened.tensors.size).toBe(5))
    await using(join(fixtures, 'sharded'), async opened => {
      expect([...opened.tensors.keys()].sort()).toEqual(['first', 'second', 'third'])
      expect(await opened.read('first')).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5))
      expect(await opened.read('second')).toEqual(Float32Array.of(1, 1))
      expect(await opened.read('third')).toEqual(new Float32Array(4).fill(-0.5))
      expect(opened.locate('third').path).toBe(join(fixtures, 'sharded', 'model-00002-of-00002.safetensors'))
      expect(opened.metadata.get('format')).toBe('pt')
    })
  })
})

describe('a damaged safetensors file', () => {
  const cases: [what: string, code: string, bytes: Buffer][] = [
    ['nothing at all', 'truncated-file', Buffer.alloc(0)],
    ['seven bytes', 'truncated-file', Buffer.alloc(7)],
    ['no header', 'invalid-safetensors', file('')],
    ['a header longer than the file', 'truncated-file', file('{}', 0, 3)],
    ['a header longer than allowed', 'invalid-safetensors', file('{}', 0, 100_000_001)],
    ['a header longer than numbers', 'invalid-safetensors', file('{}', 0, 2n ** 64n - 1n)],
    ['a header that is not JSON', 'invalid-safetensors', file(`{${f32('a', 0, 4)},}`, 4)],
    ['a header that is not UTF-8', 'invalid-safetensors', Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff])],
    ['a header that is a list', 'invalid-safetensors', file('[]')],
    [
      'a header of a million entries',
      'invalid-safetensors',
      file(
        `{${Array.from({ length: 1_000_000 }, (_, i) => `"${i}":{}`).join(',')},"a":{},"b":{${'"c":0,'.repeat(50_000)}"d":0}}`,
      ),
    ],
    ['a header of a million brackets', 'invalid-safetensors', file('['.repeat(1_000_000))],
    ['a tensor twice', 'invalid-safetensors', file(`{${f32('a', 0, 4)},${f32('a', 0, 4)}}`, 4)],
    ['a tensor twice, once in disguise', 'invalid-safetensors', file(`{${f32('a', 0, 4)},${f32('\\u0061', 4, 8)}}`, 8)],
    ['a dtype twice', 'invalid-safetensors', file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4)],
    ['metadata that is not text', 'invalid-safetensors', file('{"__metadata__":{"a":1}}')],
    ['metadata that is a text', 'invalid-safetensors', file('{"__metadata__":"a"}')],
    ['a tensor that is a number', 'invalid-safetensors', file('{"a":1}')],
    ['a tensor without a type', 'invalid-safetensors', file('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4)],
    [
      'a tensor with more than is known',
      'invalid-safetensors',
      file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4),
    ],
    ['a type of the future', 'unsupported-dtype', file('{"a":{"dtype":"F2","shape":[1],"data_offsets":[0,4]}}', 4)],
    ['three offsets', 'invalid-safetensors', file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', 8)],
    ['offsets in reverse', 'invalid-safetensors', file(`{${f32('a', 4, 0, [1])}}`, 4)],
    ['a negative offset', 'invalid-safetensors', file(`{${f32('a', -4, 0)}}`, 4)],
    ['a fractional offset', 'invalid-safetensors', file(`{${f32('a', 0.5, 4.5)}}`, 8)],
    ['a negative dimension', 'invalid-safetensors', file(`{${f32('a', 0, 4, [-1, -1])}}`, 4)],
    ['more bytes than its shape', 'invalid-safetensors', file(`{${f32('a', 0, 8, [1])}}`, 8)],
    ['fewer bytes than its shape', 'invalid-safetensors', file(`{${f32('a', 0, 4, [1_000_000, 1_000_000])}}`, 4)],
    ['a shape beyond numbers', 'invalid-safetensors', file(`{${f32('a', 0, 4, Array(40).fill(2 ** 30))}}`, 4)],
    ['a shape of zero times infinity', 'invalid-safetensors', file(`{${f32('a', 0, 4, [...Array(40).fill(2 ** 52), 0])}}`, 4)],
    ['more dimensions than any array', 'invalid-safetensors', file(`{${f32('a', 0, 4, Array(100_000).fill(1))}}`, 4)],
    ['a tensor beyond the file', 'truncated-file', file(`{${f32('a', 0, 4_000_000_000_000)}}`, 4)],
    ['tensors that overlap', 'invalid-safetensors', file(`{${f32('a', 0, 8)},${f32('b', 4, 12)}}`, 12)],
    ['tensors in one place', 'invalid-safetensors', file(`{${f32('a', 0, 8)},${f32('b', 0, 8)}}`, 8)],
    ['a gap at the front', 'invalid-safetensors', file(`{${f32('a', 4, 8)}}`, 8)],
    ['a gap in the middle', 'invalid-safetensors', file(`{${f32('a', 0, 4)},${f32('b', 8, 12)}}`, 12)],
    ['bytes after the last tensor', 'invalid-safetensors', file(`{${f32('a', 0, 4)}}`, 8)],
  ]
  it.each(cases)('with %s is %s', async (_, code, bytes) => {
    expect((await failure(() => consume(bytes))).code).toBe(code)
  })

  it('that is not there, or a folder without one, says so', async () => {
    expect((await failure(() => openSafetensors(join(folder, 'none.safetensors')))).code).toBe('file-not-found')
    const error = await failure(() => openSafetensors(folder))
    expect([error.code, error.expected]).toEqual([
      'file-not-found',
      'model.safetensors, or model.safetensors.index.json with its shards',
    ])
  })

  it('cut anywhere is refused', async () => {
    for (let length = 0; length < single.length; length++) {
      expect((await failure(() => consume(single.subarray(0, length)))).code).toBe('truncated-file')
    }
    await consume(single)
  })

  it('with changed bytes is read or refused, never worse', async () => {
    const change = fc.tuple(fc.nat(single.length - 3), fc.uint8Array({ minLength: 1, maxLength: 2 }))
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async changes => {
        const bytes = Buffer.from(single)
        for (const [offset, values] of changes) bytes.set(values, offset)
        const before = process.memoryUsage().arrayBuffers
        await consume(bytes).catch((error: unknown) => {
          if (!(error instanceof GradpromptError)) throw error
        })
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('a folder of shards', () => {
  const place = async (index: string) => {
    const path = await mkdtemp(join(folder, 'sharded-'))
    await cp(join(fixtures, 'sharded'), path, { recursive: true })
    writeFileSync(join(path, 'model.safetensors.index.json'), index)
    return path
  }

  it.each(['../scratch.safetensors', '/etc/passwd', 'a/b.safetensors', 'a\\\\b.safetensors', '..', 'weights.bin', ''])(
    'never leaves for "%s"',
    async shard => {
      const path = await place(`{"weight_map":{"first":"${shard}"}}`)
      expect((await failure(() => openSafetensors(path))).code).toBe('invalid-safetensors')
    },
  )

  it.each([
    ['no weight_map', 'invalid-safetensors', '{}'],
    ['a shard that is a number', 'invalid-safetensors', '{"weight_map":{"first":1}}'],
    ['a tensor in two shards', 'invalid-safetensors', '{"weight_map":{"first":"a.safetensors","first":"b.safetensors"}}'],
    ['a tensor that its shard lacks', 'invalid-safetensors', '{"weight_map":{"third":"model-00001-of-00002.safetensors"}}'],
    ['a shard that is missing', 'file-not-found', '{"weight_map":{"first":"model-00003-of-00003.safetensors"}}'],
    ['no JSON', 'invalid-safetensors', 'weights'],
  ])('with %s is %s', async (_, code, index) => {
    const path = await place(index)
    expect((await failure(() => openSafetensors(path))).code).toBe(code)
  })
})

it('names a shard that is missing with what it holds, and reads all of one that holds more than the index says', async () => {
  const path = join(fixtures, 'sharded')
  const index = JSON.parse(readFileSync(join(path, 'model.safetensors.index.json'), 'utf8'))
  const names = Object.keys(index.weight_map)
  const copy = await mkdtemp(join(folder, 'sharded-'))
  await cp(path, copy, { recursive: true })
  delete index.weight_map.first
  writeFileSync(join(copy, 'model.safetensors.index.json'), JSON.stringify(index))
  await using(copy, opened => expect([...opened.tensors.keys()].sort()).toEqual(names.sort()))
  await rm(join(copy, 'model-00002-of-00002.safetensors'))
  const { code, message, expected } = await failure(() => openSafetensors(copy))
  expect(code).toBe('file-not-found')
  expect(message).toMatch(/model-00002-of-00002\.safetensors, which model\.safetensors\.index\.json names$/)
  expect(expected).toBe('the shard of tensor "third"')
})

describe('writeSafetensors', () => {
  it('gives the bytes of the reference, whatever the order', async () => {
    const path = join(fixtures, 'plain.safetensors')
    const tensors = await using(path, opened =>
      Promise.all([...opened.tensors.values()].map(async ({ name, shape }) => ({ name, shape, data: await opened.read(name) }))),
    )
    for (const order of [tensors, tensors.toReversed()]) {
      await writeSafetensors(scratch, order, { format: 'pt' })
      expect(readFileSync(scratch).equals(readFileSync(path))).toBe(true)
    }
  })

  it('is read back as it was written', async () => {
    const tensor = fc
      .record({ shape: fc.array(fc.nat(4), { maxLength: 4 }), seed: fc.double({ noNaN: true }) })
      .map(({ shape, seed }) => ({
        shape,
        data: new Float32Array(shape.reduce((a, b) => a * b, 1)).map((_, i) => seed * (i + 1)),
      }))
    const name = fc.string({ unit: 'grapheme' }).filter(text => text !== '__metadata__')
    const metadata = fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true })
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.tuple(name, tensor), { selector: ([key]) => key }), metadata, async (pairs, texts) => {
        await writeSafetensors(
          scratch,
          pairs.map(([key, value]) => ({ name: key, ...value })),
          texts,
        )
        expect(readFileSync(scratch).readUInt32LE(0) % 8).toBe(0)
        await using(scratch, async opened => {
          expect(opened.metadata).toEqual(new Map(Object.entries(texts)))
          expect(opened.tensors.size).toBe(pairs.length)
          for (const [key, { shape, data }] of pairs) {
            expect(opened.tensors.get(key)?.shape).toEqual(shape)
            expect(await opened.read(key)).toEqual(data)
          }
        })
      }),
      { numRuns: 150 },
    )
  })

  it('writes part of a larger array', async () => {
    const data = Float32Array.of(1, 2, 3, 4, 5).subarray(1, 4)
    await writeSafetensors(scratch, [{ name: 'part', shape: [3], data }])
    await using(scratch, async opened => expect(await opened.read('part')).toEqual(data))
  })

  it('refuses what cannot be read back, and leaves nothing behind', async () => {
    const own = await mkdtemp(join(folder, 'refused-'))
    const path = join(own, 'prompt.safetensors')
    const data = Float32Array.of(1, 2)
    const tensor = { name: 'a', shape: [2], data }
    expect((await failure(() => writeSafetensors(path, [tensor, tensor]))).code).toBe('invalid-tensor-name')
    expect((await failure(() => writeSafetensors(path, [{ ...tensor, name: '__metadata__' }]))).code).toBe('invalid-tensor-name')
    expect((await failure(() => writeSafetensors(path, [{ ...tensor, shape: [3] }]))).code).toBe('shape-mismatch')
    expect((await failure(() => writeSafetensors(path, [{ ...tensor, shape: [-1, -2] }]))).code).toBe('shape-mismatch')
    expect((await failure(() => writeSafetensors(join(own, 'none', 'x.safetensors'), [tensor]))).code).toBe('unwritable-file')
    await mkdir(path)
    expect((await failure(() => writeSafetensors(path, [tensor]))).code).toBe('unwritable-file')
    expect(await readdir(own)).toEqual(['prompt.safetensors'])
    expect(await readdir(path)).toEqual([])
  })

  it('replaces a file whole', async () => {
    const own = await mkdtemp(join(folder, 'replaced-'))
    const path = join(own, 'prompt.safetensors')
    await writeSafetensors(path, [{ name: 'a', shape: [2], data: Float32Array.of(1, 2) }])
    await writeSafetensors(path, [{ name: 'a', shape: [1], data: Float32Array.of(3) }])
    await using(path, async opened => expect(await opened.read('a')).toEqual(Float32Array.of(3)))
    expect(await readdir(own)).toEqual(['prompt.safetensors'])
  })
})
