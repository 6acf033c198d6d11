import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readRecords } from '../../src/data/read.js'
import { originOf } from '../../src/data/readers/records.js'
import { GradpromptError } from '../../src/errors.js'
import { problemOf } from '../support/problem.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-data-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}
const read = async (name: string, content: string | Uint8Array, columns?: string[]) =>
  readRecords(await file(name, content), { columns })
const refused = (name: string, content: string | Uint8Array, columns?: string[]) => problemOf(read(name, content, columns))

describe('SST-2', () => {
  test('without a header', async () => {
    const { records, columns, format } = await readRecords('examples/sst2/train.tsv', { columns: ['text', 'label'] })
    expect({ rows: records.length, columns, format }).toEqual({ rows: 6920, columns: ['text', 'label'], format: 'tsv' })
    expect(records[1]).toEqual({
      text: 'apparently reassembled from the cutting room floor of any given daytime soap',
      label: '0',
    })
    expect(new Set(records.map(record => record.label))).toEqual(new Set(['0', '1']))
    expect(originOf(records[6919]!, 0)).toBe('examples/sst2/train.tsv:6920')
  })

  test('with a header', async () => {
    for (const columns of [undefined, ['sentence', 'label']]) {
      const { records } = await readRecords('examples/sst2/16-shot/seed-13/train.tsv', { columns })
      expect(records).toHaveLength(32)
      expect(records[0]).toEqual({ sentence: 'nothing happens , and it happens to flat characters .', label: '0' })
      expect(originOf(records[0]!, 0)).toBe('examples/sst2/16-shot/seed-13/train.tsv:2')
    }
  })

  test('with a header that differs from the columns', async () => {
    expect(await problemOf(readRecords('examples/sst2/16-shot/seed-13/train.tsv', { columns: ['text', 'label'] }))).toMatchObject(
      {
        code: 'header-mismatch',
        found: '"sentence", "label"',
        expected: '"text", "label"',
      },
    )
  })
})

describe('TSV', () => {
  test('quotes are text; CRLF, a byte order mark, blank lines and a missing last line break are no matter', async () => {
    const wanted = [
      { a: '"x', b: ' y"y ' },
      { a: "'", b: '' },
    ]
    for (const text of ['a\tb\n"x\t y"y \n\'\t\n', '\ufeffa\tb\r\n"x\t y"y \r\n\r\n\'\t', 'a \tb\n\n"x\t y"y \n\'\t\n\n'])
      expect((await read('a.tsv', text)).records).toEqual(wanted)
  })

  test('any fields without tabs and line breaks come back', async () => {
    // Without quotes: a file may show that it quotes its fields.
    const field = fc.string({ unit: 'grapheme' }).filter(text => !/[\t\n\r"]/.test(text))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(field, field), { minLength: 1, maxLength: 5 }), async rows => {
        const kept = rows.filter(row => row.join('\t').trim() !== '')
        fc.pre(
          kept.length > 0 &&
            kept[0]?.every(value => value.trim() !== 'a' && value.trim() !== 'b') === true &&
            !kept[0][0].startsWith('\ufeff'),
        )
        const { records } = await read('b.tsv', rows.map(row => row.join('\t')).join('\n'), ['a', 'b'])
        expect(records).toEqual(kept.map(([a, b]) => ({ a, b })))
      }),
      { numRuns: 50 },
    )
  })
})

describe('CSV', () => {
  test('quoted fields hold commas, quotes and line breaks; lines are those of the file', async () => {
    const { records } = await read('a.csv', '\ufeffa,b\r\n"x,\r\ny","2"\r\n\r\n3, 4 \n"say ""hi""",\n')
    expect(records).toEqual([
      { a: 'x,\r\ny', b: '2' },
      { a: '3', b: ' 4 ' },
      { a: 'say "hi"', b: '' },
    ])
    expect(records.map(originOf)).toEqual([2, 5, 6].map(line => `${join(folder, 'a.csv')}:${line}`))
  })

  test('a quote behind a space opens no field, and is said to be one', async () => {
    const problem = await problemOf(read('spaced.csv', 'a,b\n"x, y", "z"\n'))
    expect(problem.message).toMatch(/spaced\.csv:2 is not CSV/)
    expect(problem.hint).toContain('take out the space between them')
    expect((await problemOf(read('within.csv', 'a,b\nx "y",z\n'))).hint).toBeUndefined()
  })

  test('any fields come back', async () => {
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
    const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r\n', ' ', 'é', '\t') })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(field, field), { minLength: 1, maxLength: 5 }),
        fc.constantFrom('\n', '\r\n'),
        async (rows, end) => {
          const text = [['one', 'two'], ...rows].map(row => row.map(quote).join(',')).join(end)
          expect((await read('b.csv', text)).records).toEqual(rows.map(([one, two]) => ({ one, two })))
        },
      ),
      { numRuns: 50 },
    )
  })

  test.each(['a,b\n1,2"3\n', 'a,b\n1,"23\n', 'a,b\n"x"y,1\n'])('%j is refused', async text => {
    expect(await refused('c.csv', text)).toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining('c.csv:2 is not CSV'),
    })
  })

  test('a field that goes on to the end is told by the line in which it begins', async () => {
    const long = `a,b\n"x ""y""\nz",1\nc,"he said ""no\n${'d,2\n'.repeat(50)}`
    expect(await refused('c.csv', long)).toMatchObject({
      message: expect.stringContaining('c.csv:4 is not CSV'),
      found: 'a field that a quote opens, and none closes',
    })
    expect(await refused('c.csv', 'a,b\nx "y",1\n')).toMatchObject({ found: expect.stringContaining('a quote within a field') })
  })

  test('too few names for a file of semicolons are too few, and its quotes are none of the matter', async () => {
    const text = 'the first;"a; b";0\nthe second;"c; d";1\n'
    expect(await refused('c.csv', text, ['text', 'label'])).toMatchObject({
      message: expect.stringContaining('c.csv:1 has a wrong number of fields'),
      found: '3 fields',
    })
  })
})

describe('JSON', () => {
  test('values become text as JSON prints them; null is absent', async () => {
    const { records, columns } = await read(
      'a.jsonl',
      '{"a": "x", "n": 1.50, "t": true, "z": null}\r\n\n{"a": "y", "l": [1, {"b": 2}], "n": 1e3}',
    )
    expect(records).toEqual([
      { a: 'x', n: '1.5', t: 'true' },
      { a: 'y', l: '[1,{"b":2}]', n: '1000' },
    ])
    expect(columns).toEqual(['a', 'n', 't', 'l'])
    expect(originOf(records[1]!, 0)).toBe(`${join(folder, 'a.jsonl')}:3`)
  })

  test('a list, the examples of BIG-Bench Hard, .ndjson', async () => {
    const examples = [{ input: 'not ( True ) is', target: 'False' }]
    for (const [name, value] of [
      ['a.json', examples],
      ['b.json', { canary: 'x', examples }],
      ['c.ndjson', examples[0]],
    ] as const)
      expect((await read(name, JSON.stringify(value))).records).toEqual(examples)
  })

  test('columns picks columns', async () => {
    expect((await read('d.jsonl', '{"a": 1, "b": 2, "c": 3}', ['c', 'a'])).records).toEqual([{ c: '3', a: '1' }])
    expect(await refused('d.jsonl', '{"a": 1, "b": 2}\n{"a": 1, "bb": 2}', ['a', 'b'])).toMatchObject({
      code: 'missing-column',
      message: `${join(folder, 'd.jsonl')}:2 has no column "b"`,
      found: 'the columns "a", "bb"',
    })
    // Only a file of lines may lack a header.
    expect(await refused('d.jsonl', '{"a": 1}', ['a', 'question'])).toMatchObject({ hint: undefined })
    expect(await refused('d.csv', 'a,a\n1,2')).toMatchObject({ hint: expect.stringContaining('--columns') })
  })

  test.each([
    ['a.jsonl', '{"a": 1}\n{"a": }\n', /a\.jsonl:2 is not JSON/],
    ['b.jsonl', '{"a": 1}\n[1]\n', /b\.jsonl:2 is not an object/],
    ['c.json', '[\n{"a": 1},\n{"a": 1,}\n]', /c\.json:3 is not JSON/],
    ['g.json', '{"a": [{}], "b": [{}, {}]}', /g\.json is not a list of rows/],
    ['h.json', '{"toString": 0}', /h\.json is not a list of rows/],
    ['i.json', '3', /i\.json is not a list of rows/],
    ['e.json', '[1]', /e\.json row 1 is not an object/],
    ['f.json', '[{"a": 1}', /f\.json:1 is not JSON/],
  ])('%s: %j is refused', async (name, text, message) => {
    const error = await refused(name, text)
    expect(error.code).toBe('invalid-data')
    expect(error.message).toMatch(message)
  })

  test('a column may have any name', async () => {
    const [record] = (await read('g.jsonl', '{"__proto__": "x", "constructor": "y"}')).records
    expect(Object.entries(record!)).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })

  test('deep nesting is an error, not a crash', async () => {
    const error = await refused('h.jsonl', `{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`)
    expect(error.code).toBe('invalid-data')
  })
})

describe('Parquet', () => {
  const wanted = [
    { text: 'a "good" film', label: '1', score: '0.5', id: '1152921504606846977', tags: '["a","b"]' },
    { text: 'bad, film', label: '0', score: '1', id: '2', tags: '[]' },
    { text: 'été 😀', label: '1', id: '3', tags: '["c"]' },
  ]
  const fixture = (compression: string) => `test/fixtures/data/reviews-${compression}.parquet`

  test.each(['uncompressed', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4'])('%s', async compression => {
    const { records, columns, format } = await readRecords(fixture(compression))
    expect(records).toEqual(wanted)
    expect({ columns, format }).toEqual({ columns: ['text', 'label', 'score', 'id', 'tags'], format: 'parquet' })
    expect(originOf(records[2]!, 0)).toBe(`${fixture(compression)} row 3`)
  })

  test('columns picks columns', async () => {
    const { records } = await readRecords(fixture('snappy'), { columns: ['label', 'text'] })
    expect(records[1]).toEqual({ label: '0', text: 'bad, film' })
    expect(await problemOf(readRecords(fixture('snappy'), { columns: ['labels'] }))).toMatchObject({
      code: 'missing-column',
      hint: 'did you mean "label"?',
    })
  })

  test('nested integers keep their digits, and paths reach them', async () => {
    const path = 'test/fixtures/data/nested.parquet'
    const { records, structured } = await readRecords(path, { needed: ['meta.id', 'ids[-1]'] })
    expect(records).toEqual([
      {
        text: 'a',
        ids: '[9007199254740993,3]',
        meta: '{"id":9007199254740995,"tags":["x"]}',
        'meta.id': '9007199254740995',
        'ids[-1]': '3',
      },
      {
        text: 'b',
        ids: '[-1152921504606846977]',
        meta: '{"id":4,"tags":[]}',
        'meta.id': '4',
        'ids[-1]': '-1152921504606846977',
      },
    ])
    expect(structured).toEqual(['ids', 'meta'])
  })

  test('a truncated or damaged file is an error', async () => {
    const bytes = await readFile(fixture('snappy'))
    for (const length of [1, 4, 11, 12, 100, 500, 1000, bytes.length - 1])
      expect((await refused('a.parquet', bytes.subarray(0, length))).code).toBe('invalid-data')
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), async (at, value) => {
        const damaged = Uint8Array.from(bytes)
        damaged[at] = value
        const outcome = await read('b.parquet', damaged).catch((error: unknown) => error)
        // Of the decoder's own variables nobody learns anything.
        if (outcome instanceof GradpromptError) expect(outcome.found).not.toMatch(/reading '|not a function|not iterable/)
        expect(outcome).toHaveProperty(outcome instanceof Error ? 'code' : 'records')
      }),
      { numRuns: 200 },
    )
  })
})

describe('mistakes', () => {
  test('a missing file, a folder', async () => {
    expect(await problemOf(readRecords('none.tsv'))).toMatchObject({ code: 'file-not-found', exitCode: 2 })
    expect(await problemOf(readRecords(folder, { format: 'tsv' }))).toMatchObject({ code: 'file-not-found' })
  })

  test('an unknown format', async () => {
    expect(await refused('a.parqet', 'x')).toMatchObject({
      code: 'unknown-format',
      found: '.parqet',
      hint: 'did you mean .parquet?',
    })
    expect((await refused('a', 'x')).found).toBe('a name without an extension')
    expect((await readRecords(await file('a.txt', 'a\n1\n'), { format: 'tsv' })).records).toEqual([{ a: '1' }])
  })

  test.each([
    ['a.tsv', ''],
    ['b.tsv', 'text\tlabel\n'],
    ['c.csv', '\n\n'],
    ['d.jsonl', '\n'],
    ['e.json', '[]'],
    ['f.json', '{"examples": []}'],
  ])('%s: %j is empty', async (name, text) => {
    expect(await refused(name, text)).toMatchObject({ code: 'empty-data', exitCode: 2 })
  })

  test('a wrong number of fields names the line', async () => {
    for (const [name, text] of [
      ['a.tsv', 'a\tb\n1\t2\n\n3\n'],
      ['a.csv', 'a,b\n1,2\n\n3,4,5\n'],
    ] as const)
      expect(await refused(name, text)).toMatchObject({
        code: 'invalid-data',
        message: `${join(folder, name)}:4 has a wrong number of fields`,
      })
    expect(await refused('b.tsv', '1\t2\t3\n', ['text', 'label'])).toMatchObject({
      found: '3 fields',
      expected: '2: "text", "label"',
    })
  })

  test('two columns of one name', async () => {
    expect(await refused('a.tsv', 'a\ta\n1\t2\n')).toMatchObject({ code: 'invalid-data', found: '"a"' })
  })
})
