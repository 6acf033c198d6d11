import { closeSync, ftruncateSync, openSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { type GgufFile, openGguf } from '../../src/formats/gguf.js'
import { failure } from './failure.js'
import {
  bundledPath,
  consume,
  entry,
  folder,
  gguf,
  scratch,
  tensor,
  text,
  tiny,
  tinyPath,
  u32,
  u64,
  using,
} from './support/gguf-bytes.js'

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
