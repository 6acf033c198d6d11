import { writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openGguf } from '../../src/formats/gguf.js'
import { failure } from './failure.js'
import {
  bundledPath,
  entry,
  folder,
  gguf,
  scratch,
  tensor,
  text,
  tiny,
  tinyPath,
  u32,
  using,
  written,
} from './support/gguf-bytes.js'

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
      expect(unread.message).toBe('Tensor "unread" is stored as IQ2_XS, which cannot be read')
      expect((await file.readBytes('unread')).length).toBe(148)
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

function sameTypeOf(array: ArrayBufferView, values: unknown): unknown {
  return (array.constructor as unknown as { from(values: unknown): unknown }).from(values)
}
