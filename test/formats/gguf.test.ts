import { closeSync, ftruncateSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { type GgufFile, openGguf } from '../../src/formats/gguf.js'
import { failure } from './failure.js'

const tinyPath = 'test/fixtures/formats/tiny.gguf'
const bundledPath = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf'
const tiny = readFileSync(tinyPath)
const written = JSON.parse(readFileSync('test/fixtures/formats/tiny.json', 'utf8')) as {
  metadata: Record<string, unknown>
  tensors: Record<string, { type: string; shape: number[]; values?: string }>
}

let folder = ''
let scratch = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-gguf-'))
  scratch = join(folder, 'scratch.gguf')
})
afterAll(() => rm(folder, { recursive: true }))

async function using<T>(path: string, work: (file: GgufFile) => T | Promise<T>): Promise<T> {
  const file = await openGguf(path)
  try {
    return await work(file)
  } finally {
    await file.close()
  }
}

/** Opens the bytes as a file and reads all of it. */
function consume(bytes: Uint8Array): Promise<void> {
  writeFileSync(scratch, bytes)
  return using(scratch, async file => {
    for (const name of file.tensors.keys()) if (name !== 'unread') await file.read(name)
  })
}

// The format's pieces, for files that no writer would write.
const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer)
const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
const entry = (key: string, type: number, ...value: Buffer[]) => Buffer.concat([text(key), u32(type), ...value])
const tensor = (name: string, dims: (number | bigint)[], type: number, offset: number | bigint) =>
  Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)])
const gguf = (entries: Buffer[], tensors: Buffer[], data = 0, version = 3) => {
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(tensors.length),
    u64(entries.length),
    ...entries,
    ...tensors,
  ])
  return Buffer.concat([header, Buffer.alloc((-header.length & 31) + data)])
}

describe('a GGUF file', () => {
  it('gives every type of metadata', () =>
    using(tinyPath, ({ version, metadata, alignment }) => {
      expect([version, alignment, metadata.get('general.architecture')]).toEqual([3, 32, 'llama'])
      const integers64 = /u?int64/
      for (const [key, expected] of Object.entries(written.metadata)) {
        const value = metadata.get(key)
        if (integers64.test(key))
          expect(ArrayBuffer.isView(value) ? [...(value as BigUint64Array)].map(String) : String(value)).toEqual(expected)
        else if (typeof expected === 'number') expect(value).toBe(key.endsWith('float32') ? Math.fround(expected) : expected)
        else if (ArrayBuffer.isView(value)) expect(value, key).toEqual(sameTypeOf(value, expected))
        else if (key !== 'test.array.nested') expect(value, key).toEqual(expected)
      }
      expect(metadata.get('test.uint64.safe')).toBe(2 ** 53 - 1)
      expect(metadata.get('test.uint64.large')).toBe(2n ** 64n - 1n)
      expect(metadata.get('test.array.int16')).toEqual(Int16Array.of(-1, 2, -3))
      expect(metadata.get('test.array.nested')).toEqual([Int32Array.of(1, 2), Int32Array.of(3), Int32Array.of(4, 5, 6)])
      expect(metadata.size).toBe(Object.keys(written.metadata).length + 1)
    }))

  it.each([2, 3])('of version %i gives its tensors as torch orders them, with the values of the reference', async version => {
    const bytes = Buffer.from(tiny)
    bytes.writeUInt32LE(version, 4)
    writeFileSync(scratch, bytes)
    await using(scratch, async file => {
      expect(file.version).toBe(version)
      expect([...file.tensors.keys()]).toEqual(Object.keys(written.tensors))
      for (const [name, { type, shape, values }] of Object.entries(written.tensors)) {
        expect(file.tensors.get(name)).toMatchObject({ name, dtype: type, shape })
        if (values === undefined) continue
        const expected = Buffer.from(values, 'base64')
        const read = await file.read(name)
        expect(Buffer.from(read.buffer).equals(expected), name).toBe(true)
        const given = new Float32Array(read.length)
        expect(await file.read(name, given)).toBe(given)
        expect(given).toEqual(read)
        const { offset, byteLength, path } = file.locate(name)
        expect(path).toBe(scratch)
        expect(Buffer.from(await file.readBytes(name)).equals(bytes.subarray(offset, offset + byteLength))).toBe(true)
      }
    })
  })

  it('may have no tensors, an alignment of its own, and gaps', async () => {
    writeFileSync(scratch, gguf([], []))
    await using(scratch, file => expect([file.tensors.size, file.metadata.size]).toEqual([0, 0]))
    writeFileSync(scratch, gguf([entry('general.alignment', 4, u32(8))], [tensor('b', [2], 0, 24), tensor('a', [], 0, 8)], 64))
    await using(scratch, file => {
      expect(file.alignment).toBe(8)
      expect([...file.tensors.values()].map(({ name, shape }) => ({ name, shape }))).toEqual([
        { name: 'b', shape: [2] },
        { name: 'a', shape: [] },
      ])
      expect(file.locate('b').offset - file.locate('a').offset).toBe(16)
    })
  })

  it('may have tensors of nothing', async () => {
    writeFileSync(scratch, gguf([], [tensor('b', [8], 0, 0), tensor('a', [0, 8], 0, 0), tensor('c', [32, 0], 8, 32)], 64))
    await using(scratch, async file => {
      expect(file.tensors.get('a')?.shape).toEqual([8, 0])
      expect(await Promise.all(['a', 'b', 'c'].map(async name => (await file.read(name)).length))).toEqual([0, 8, 0])
    })
  })

  it('reads tensors larger than its pieces, and many at once', async () => {
    const columns = 32 * 7
    const rows = 1301
    const file = gguf([], [tensor('x', [columns, rows], 8, 0)], (columns / 32) * rows * 34)
    for (let block = file.length - (columns / 32) * rows * 34, i = 0; block < file.length; block += 34, i++) {
      file.writeUInt16LE(0x3c00, block)
      file.fill(i % 128, block + 2, block + 34)
    }
    writeFileSync(scratch, file)
    await using(scratch, async opened => {
      const all = await Promise.all([1, 2, 3].map(() => opened.read('x')))
      for (const values of all) expect(values.every((value, i) => value === Math.floor(i / 32) % 128)).toBe(true)
    })
  })

  it('names the tensor and the type that cannot be read, and the nearest of a misspelt name', () =>
    using(tinyPath, async file => {
      const unread = await failure(() => file.read('unread'))
      expect(unread.code).toBe('unsupported-quantization')
      expect(unread.message).toBe('Tensor "unread" is stored as Q2_K, which cannot be read')
      expect((await file.readBytes('unread')).length).toBe(168)
      const misspelt = await failure(() => file.read('token_embed.weight'))
      expect(misspelt.code).toBe('unknown-tensor')
      expect(misspelt.hint).toContain('"token_embd.weight"')
      expect((await failure(() => file.read('odd', new Float32Array(20)))).code).toBe('shape-mismatch')
    }))
})

describe('a model in several files', () => {
  const part = (index: number, count: number, names: string[], first: Buffer[] = [], total = 3) => {
    const data = Buffer.alloc(32 * names.length)
    names.forEach((name, i) => {
      data.writeFloatLE(name.charCodeAt(0), 32 * i)
    })
    const entries = [
      ...first,
      entry('split.no', 2, Buffer.from([index, 0])),
      entry('split.count', 2, Buffer.from([count, 0])),
      entry('split.tensors.count', 5, u32(total)),
    ]
    return Buffer.concat([
      gguf(
        entries,
        names.map((name, i) => tensor(name, [8], 0, 32 * i)),
      ),
      data,
    ])
  }
  const architecture = entry('general.architecture', 8, text('llama'))
  const written = async (parts: Record<string, Buffer>) => {
    const place = await mkdtemp(join(folder, 'split-'))
    for (const [name, bytes] of Object.entries(parts)) writeFileSync(join(place, name), bytes)
    return place
  }
  const whole = () => ({
    'm-00001-of-00002.gguf': part(0, 2, ['a'], [architecture]),
    'm-00002-of-00002.gguf': part(1, 2, ['b', 'c']),
  })

  it('is opened by its first part or its folder, and reads as one', async () => {
    const place = await written(whole())
    for (const path of [place, join(place, 'm-00001-of-00002.gguf')]) {
      await using(path, async file => {
        expect([...file.tensors.keys()]).toEqual(['a', 'b', 'c'])
        expect(file.metadata.get('general.architecture')).toBe('llama')
        expect(file.paths.map(each => each.slice(-19, -14))).toEqual(['00001', '00002'])
        expect(file.locate('c').path).toContain('m-00002')
        for (const name of file.tensors.keys()) expect((await file.read(name))[0]).toBe(name.charCodeAt(0))
      })
    }
  })

  it('is refused where a part is named that is not the first, or parts are missing, mixed up or not all', async () => {
    const place = await written(whole())
    expect((await failure(() => openGguf(join(place, 'm-00002-of-00002.gguf')))).code).toBe('unsupported-gguf')
    const { 'm-00001-of-00002.gguf': first } = whole()
    const cases: [string, Record<string, Buffer>][] = [
      ['file-not-found', {}],
      ['invalid-gguf', { 'm-00002-of-00002.gguf': part(0, 2, ['b', 'c']) }],
      ['invalid-gguf', { 'm-00002-of-00002.gguf': part(1, 3, ['b', 'c']) }],
      ['invalid-gguf', { 'm-00002-of-00002.gguf': part(1, 2, ['a', 'c']) }],
      ['invalid-gguf', { 'm-00002-of-00002.gguf': part(1, 2, ['b']) }],
      ['truncated-file', { 'm-00002-of-00002.gguf': part(1, 2, ['b', 'c']).subarray(0, -8) }],
    ]
    for (const [code, others] of cases) {
      const broken = await written({ 'm-00001-of-00002.gguf': first, ...others })
      expect((await failure(() => openGguf(broken))).code, JSON.stringify(Object.keys(others))).toBe(code)
    }
  })

  it('is not told from another in one folder', async () => {
    const place = await written({ ...whole(), 'other.gguf': gguf([], []) })
    expect((await failure(() => openGguf(place))).code).toBe('unreadable-file')
  })
})

describe('the bundled model', () => {
  it('opens quickly, without its tensors being read', () =>
    using(bundledPath, ({ metadata, tensors }) => {
      expect(metadata.get('general.architecture')).toBe('llama')
      const tokens = metadata.get('tokenizer.ggml.tokens') as string[]
      expect([tokens.length, tokens[1], tokens[49151]]).toEqual([49152, '<|im_start|>', 'ectable'])
      expect(metadata.get('tokenizer.ggml.token_type')).toBeInstanceOf(Int32Array)
      const types = [...tensors.values()].map(({ dtype }) => dtype)
      expect(['Q4_1', 'Q8_0', 'F32'].map(type => types.filter(dtype => dtype === type).length)).toEqual([210, 1, 61])
      expect(tensors.get('blk.0.ffn_down.weight')?.shape).toEqual([576, 1536])
    }))
})

describe('a damaged GGUF file', () => {
  const cases: [what: string, code: string, bytes: () => Buffer][] = [
    ['nothing at all', 'truncated-file', () => Buffer.alloc(0)],
    ['another format', 'invalid-gguf', () => Buffer.from('PK\x03\x04 this is a zip archive, more or less')],
    ['version 1', 'unsupported-gguf', () => gguf([], [], 0, 1)],
    ['version 4', 'unsupported-gguf', () => gguf([], [], 0, 4)],
    ['big-endian byte order', 'unsupported-gguf', () => gguf([], [], 0, 0x03000000)],
    ['parts that its name does not tell', 'invalid-gguf', () => gguf([entry('split.count', 2, Buffer.from([3, 0]))], [])],
    ['a number of parts in words', 'invalid-gguf', () => gguf([entry('split.count', 8, text('3'))], [])],
    ['blocks of the first version', 'unsupported-gguf', () => gguf([entry('general.quantization_version', 4, u32(1))], [])],
    [
      'a tensor count beyond the file',
      'truncated-file',
      () => Buffer.concat([Buffer.from('GGUF'), u32(3), u64(2n ** 63n), u64(0)]),
    ],
    [
      'more tensors than any model',
      'invalid-gguf',
      () => Buffer.concat([Buffer.from('GGUF'), u32(3), u64(70000), u64(0), Buffer.alloc(2_000_000)]),
    ],
    ['a text longer than the file', 'truncated-file', () => gguf([entry('k', 8, u64(2 ** 40))], [], 64)],
    ['an array longer than the file', 'truncated-file', () => gguf([entry('k', 9, u32(5), u64(2n ** 61n))], [], 64)],
    ['texts more than the file', 'truncated-file', () => gguf([entry('k', 9, u32(8), u64(2 ** 30))], [], 64)],
    ['an array longer than any', 'invalid-gguf', () => gguf([entry('k', 9, u32(7), u64(2 ** 24 + 1))], [], 2 ** 24 + 64)],
    ['a value of unknown type', 'invalid-gguf', () => gguf([entry('k', 13, u32(0))], [], 64)],
    ['an array of unknown type', 'invalid-gguf', () => gguf([entry('k', 9, u32(99), u64(1))], [], 64)],
    ['a truth value of 2', 'invalid-gguf', () => gguf([entry('k', 7, Buffer.from([2]))], [], 64)],
    [
      'arrays in arrays in arrays',
      'invalid-gguf',
      () => gguf([entry('k', 9, ...Array(9).fill(Buffer.concat([u32(9), u64(1)])))], [], 64),
    ],
    [
      'a great many arrays',
      'invalid-gguf',
      () => gguf([entry('k', 9, u32(9), u64(70000), ...Array(70000).fill(Buffer.alloc(12)))], [], 64),
    ],
    ['a key twice', 'invalid-gguf', () => gguf([entry('k', 0, Buffer.from([1])), entry('k', 0, Buffer.from([1]))], [])],
    ['an empty key', 'invalid-gguf', () => gguf([entry('', 0, Buffer.from([1]))], [], 64)],
    ['a key of absurd length', 'invalid-gguf', () => gguf([entry('k'.repeat(70_000), 0, Buffer.from([1]))], [])],
    ['an alignment of 0', 'invalid-gguf', () => gguf([entry('general.alignment', 4, u32(0))], [])],
    ['an alignment of 24', 'invalid-gguf', () => gguf([entry('general.alignment', 4, u32(24))], [])],
    ['an alignment in words', 'invalid-gguf', () => gguf([entry('general.alignment', 8, text('32'))], [])],
    ['a tensor twice', 'invalid-gguf', () => gguf([], [tensor('t', [8], 0, 0), tensor('t', [8], 0, 32)], 64)],
    ['tensors that overlap', 'invalid-gguf', () => gguf([], [tensor('a', [8], 0, 32), tensor('b', [9], 0, 0)], 64)],
    ['tensors in one place', 'invalid-gguf', () => gguf([], [tensor('a', [8], 0, 0), tensor('b', [8], 0, 0)], 64)],
    ['an offset off its alignment', 'invalid-gguf', () => gguf([], [tensor('t', [8], 0, 4)], 64)],
    ['an offset beyond the file', 'truncated-file', () => gguf([], [tensor('t', [8], 0, 2 ** 52)], 64)],
    ['an offset beyond numbers', 'invalid-gguf', () => gguf([], [tensor('t', [8], 0, 2n ** 63n)], 64)],
    ['five dimensions', 'invalid-gguf', () => gguf([], [tensor('t', [1, 1, 1, 1, 1], 0, 0)], 64)],
    ['dimensions that overflow', 'truncated-file', () => gguf([], [tensor('t', [2n ** 32n, 2n ** 32n, 2n ** 32n], 0, 0)], 64)],
    ['a dimension beyond numbers', 'invalid-gguf', () => gguf([], [tensor('t', [2n ** 62n], 0, 0)], 64)],
    ['a row of half a block', 'invalid-gguf', () => gguf([], [tensor('t', [48, 2], 3, 0)], 64)],
    ['a retired type', 'unsupported-quantization', () => gguf([], [tensor('t', [32], 31, 0)], 64)],
    ['a type of the future', 'unsupported-quantization', () => gguf([], [tensor('t', [32], 4000, 0)], 64)],
  ]
  it.each(cases)('with %s is %s', async (_, code, bytes) => {
    expect((await failure(() => consume(bytes()))).code).toBe(code)
  })

  it('that is not there, or is a folder, says so', async () => {
    expect((await failure(() => openGguf(join(folder, 'none.gguf')))).code).toBe('file-not-found')
    expect((await failure(() => openGguf(join(tinyPath, 'below')))).code).toBe('file-not-found')
    expect((await failure(() => openGguf('src'))).code).toBe('unreadable-file')
    expect((await failure(() => openGguf('/dev/null'))).code).toBe('unreadable-file')
  })

  it('cut anywhere is refused', async () => {
    const end = await using(tinyPath, file => Math.max(...[...file.tensors.keys()].map(name => endOf(file, name))))
    for (let length = 0; length < end; length += 13) {
      expect((await failure(() => consume(tiny.subarray(0, length)))).code).toBe('truncated-file')
    }
    await consume(tiny.subarray(0, end))
  })

  it('cut at 50 places of a real header is refused, each time in little time', async () => {
    const dataStart = await using(bundledPath, file =>
      Math.min(...[...file.tensors.keys()].map(name => file.locate(name).offset)),
    )
    const header = Buffer.alloc(dataStart + 4096)
    const source = openSync(bundledPath, 'r')
    readSync(source, header, 0, header.length, 0)
    closeSync(source)
    writeFileSync(scratch, header)
    const copy = openSync(scratch, 'r+')
    const before = process.memoryUsage().arrayBuffers
    for (let i = 50; i >= 1; i--) {
      ftruncateSync(copy, Math.floor((header.length * i) / 50) - 1)
      expect((await failure(() => openGguf(scratch))).code).toBe('truncated-file')
    }
    closeSync(copy)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 28)
  }, 20_000)

  it('with changed bytes is read or refused, never worse', async () => {
    const at = fc.nat(tiny.length - 9)
    const byte = fc.tuple(at, fc.uint8Array({ minLength: 1, maxLength: 2 }))
    const absurd = fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n)
    const number = fc.tuple(at, absurd.map(u64))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(byte, number), { minLength: 1, maxLength: 4 }), async changes => {
        const bytes = Buffer.from(tiny)
        for (const [offset, change] of changes) bytes.set(change, offset)
        const before = process.memoryUsage().arrayBuffers
        await consume(bytes).catch((error: unknown) => {
          if (!(error instanceof GradpromptError)) throw error
        })
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
      }),
      { numRuns: 1500 },
    )
  })
})

function endOf(file: GgufFile, name: string): number {
  const { offset, byteLength } = file.locate(name)
  return offset + byteLength
}

function sameTypeOf(array: ArrayBufferView, values: unknown): unknown {
  return (array.constructor as unknown as { from(values: unknown): unknown }).from(values)
}
