import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readRecords } from '../../src/data/read.js'
import { GradpromptError } from '../../src/errors.js'

const unheard: unknown[] = []
const hear = (reason: unknown) => unheard.push(reason)
beforeAll(() => process.on('unhandledRejection', hear))
afterAll(() => process.off('unhandledRejection', hear))

/** Bytes with some of them overwritten, cut out or repeated. */
const mutations = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'set', 'set', 'cut', 'repeat', 'extreme'),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    value: fc.nat(255),
    length: fc.integer({ min: 1, max: 9 }),
  }),
  { minLength: 1, maxLength: 6 },
)

function mutated(bytes: Uint8Array, changes: typeof mutations extends fc.Arbitrary<infer Changes> ? Changes : never): Uint8Array {
  let all = [...bytes]
  for (const { kind, at, value, length } of changes) {
    const place = Math.floor(at * all.length)
    const here = all.slice(place, place + length)
    if (kind === 'set') all[place] = value
    else if (kind === 'extreme') all[place] = value % 2 === 0 ? 0xff : 0x7f
    else if (kind === 'cut') all.splice(place, length)
    else all = [...all.slice(0, place), ...here, ...all.slice(place)]
  }
  return Uint8Array.from(all)
}

const text = (content: string) => Promise.resolve(new TextEncoder().encode(content))
const rows = [
  { text: 'a "good" film', label: 1, big: 1234567890123456, l: [{ a: null }] },
  { text: 'été 😀', label: true, big: -1, l: [] },
]

describe.each([
  ['parquet', 'snappy', readFile('test/fixtures/data/reviews-snappy.parquet')],
  ['parquet', 'zstd', readFile('test/fixtures/data/reviews-zstd.parquet')],
  ['parquet', 'lz4', readFile('test/fixtures/data/reviews-lz4.parquet')],
  ['parquet', 'nested', readFile('test/fixtures/data/nested.parquet')],
  ['csv', 'quoted', text('text;label\r\n"a ""b"" c";1\r\n"x\ny";2\r\n')],
  ['tsv', 'quoted', text('text\tlabel\n"a ""b"" c"\t1\nx "y"\t2\n')],
  ['json', 'rows', text(JSON.stringify({ data: rows }))],
  ['json', 'columns', text('{"toString": {"0": 1, "1": 2}, "b": {"0": "x", "1": null}}')],
  [
    'jsonl',
    'rows',
    text(
      rows
        .map(row => JSON.stringify(row))
        .join('\n')
        .replace('-1', '98765432109876543210'),
    ),
  ],
])('%s (%s)', (format, _, content) => {
  test('whatever becomes of the bytes: rows or a typed error, soon', async () => {
    const bytes = await content
    await fc.assert(
      fc.asyncProperty(mutations, async changes => {
        const started = performance.now()
        try {
          const { records } = await readRecords({ name: `a.${format}`, bytes: mutated(bytes, changes) }, { needed: ['l[0].a'] })
          expect(records.length).toBeGreaterThan(0)
        } catch (error) {
          expect(error).toBeInstanceOf(GradpromptError)
        }
        expect(performance.now() - started).toBeLessThan(2000)
      }),
      { numRuns: 12000, seed: 1 },
    )
    // A rejection is heard of after the microtasks of its turn.
    await new Promise(resolve => setImmediate(resolve))
    expect(unheard).toEqual([])
  })
})
