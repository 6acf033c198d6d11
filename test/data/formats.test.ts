import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readRecords, readText } from '../../src/data/read.js'
import { dataReaders, readerFor } from '../../src/data/readers/index.js'
import { problem, problemOf } from '../support/problem.js'

const read = (name: string, content: string | Uint8Array, options: Parameters<typeof readRecords>[1] = {}) =>
  readRecords({ name, bytes: typeof content === 'string' ? Buffer.from(content) : content }, options)
const codes = ({ notices }: Awaited<ReturnType<typeof read>>) => notices.map(({ code }) => code)

const wanted = [
  { text: 'good, really', label: 'pos' },
  { text: 'bad', label: 'neg' },
]

describe('CSV as it comes', () => {
  test.each([
    ['semicolons', 'text;label\ngood, really;pos\nbad;neg\n', /divided by semicolons/],
    ['tabs', 'text\tlabel\ngood, really\tpos\nbad\tneg\n', /divided by tabs/],
    ['vertical bars', 'text|label\ngood, really|pos\nbad|neg\n', /divided by vertical bars/],
    ['sep=', 'sep=~\r\ntext~label\r\ngood, really~pos\r\nbad~neg\r\n', /divided by "~", as its first line/],
    ['semicolons and quotes', '"text";"label"\n"good, really";pos\n"bad";neg\n', /divided by semicolons/],
  ])('%s', async (_, text, message) => {
    const file = await read('a.csv', text)
    expect(file.records).toEqual(wanted)
    expect(file.notices).toMatchObject([{ code: 'delimiter', message: expect.stringMatching(message) }])
  })

  test('commas stay where they fit, whatever else the fields hold', async () => {
    for (const text of ['a,b\nx;y,1\nx|z,2\n', 'a,b\n"x;y",1\n"p\nq;r",2\n', 'text\nso; so\nwell; well\n']) {
      const file = await read('a.csv', text)
      expect([file.notices, file.records.length]).toEqual([[], 2])
    }
  })

  test('without a header the number of columns decides', async () => {
    const columns = ['text', 'label']
    expect((await read('a.csv', 'good, really;pos\nbad;neg\n', { columns })).records[0]).toEqual(wanted[0])
    expect((await read('a.csv', 'a;b,1\nc;d,2\n', { columns })).records[0]).toEqual({ text: 'a;b', label: '1' })
  })

  test('lines are counted behind sep=, and by carriage returns', async () => {
    expect((await problemOf(read('a.csv', 'sep=;\na;b\n1;2\n3\n'))).message).toBe('a.csv:4 has a wrong number of fields')
    expect((await problemOf(read('a.csv', 'a,b\r1,2\r"x\ry",2\r3\r'))).message).toBe('a.csv:5 has a wrong number of fields')
    expect(await problemOf(read('a.csv', 'sep=;;\na;b\n'))).toMatchObject({ code: 'invalid-data', found: '";;"' })
  })

  test('carriage returns end lines where nothing else does', async () => {
    for (const name of ['a.csv', 'a.tsv']) {
      const [comma] = name === 'a.csv' ? [','] : ['\t']
      const file = await read(name, ['text,label', 'good,pos', 'bad,neg', ''].join('\r').replaceAll(',', comma!))
      expect(file.records.map(({ label }) => label)).toEqual(['pos', 'neg'])
      expect(codes(file)).toEqual(['line-ends'])
    }
  })

  test('UTF-16 with a byte order mark, either way round', async () => {
    const little = Buffer.from('\ufefftext,label\ngood é,pos\n', 'utf16le')
    for (const bytes of [little, Buffer.from(little).swap16()]) {
      const file = await read('a.csv', bytes)
      expect([file.records, codes(file)]).toEqual([[{ text: 'good é', label: 'pos' }], ['encoding']])
    }
  })
})

test('a text that is no table may be UTF-16 as well, unless UTF-8 is to be written behind it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gradprompt-text-'))
  const path = join(folder, 'plain.txt')
  const bytes = Buffer.from('\ufeffgood é', 'utf16le')
  await writeFile(path, bytes)
  expect(await readText(path, bytes.length)).toBe('good é')
  expect(await problemOf(readText(path, bytes.length, { isExtended: true }))).toMatchObject({ code: 'invalid-encoding' })
  await rm(folder, { recursive: true })
})

describe('TSV with quotes', () => {
  test('of fields, where quotes within are doubled', async () => {
    const file = await read('a.tsv', 'text\tlabel\r\n"quoted ""x"" here"\ta\r\nhe said "hi"\tb\r\n')
    expect(file.records).toEqual([
      { text: 'quoted "x" here', label: 'a' },
      { text: 'he said "hi"', label: 'b' },
    ])
    expect(codes(file)).toEqual(['quotes'])
  })

  test('of all fields, and of fields with tabs and line breaks', async () => {
    expect((await read('a.tsv', '"a"\t"b"\n"1"\t"2"\n')).records).toEqual([{ a: '1', b: '2' }])
    const file = await read('a.tsv', 'a\tb\n"one\ntwo\tthree"\t2\n"x"\t3\n')
    expect(file.records).toEqual([
      { a: 'one\ntwo\tthree', b: '2' },
      { a: 'x', b: '3' },
    ])
  })

  test('are text where nothing shows otherwise', async () => {
    for (const field of ['"fine"', '"', 'a "b" c', '"x" and "y"', '"a"b"']) {
      const file = await read('a.tsv', `a\tb\n${field}\t1\nplain\t2\n`)
      expect([file.records[0]!.a, file.notices]).toEqual([field, []])
    }
  })
})

describe('JSON as it comes', () => {
  test.each([
    ['lists', '{"text": ["good, really", "bad"], "label": ["pos", "neg"]}', 'columns-of-values'],
    ['objects', '{"text": {"0": "good, really", "5": "bad"}, "label": {"0": "pos", "5": "neg"}}', 'columns-of-values'],
    ['data', `{"version": "1", "data": ${JSON.stringify(wanted)}}`, 'rows-within'],
    ['lines in .json', wanted.map(row => JSON.stringify(row)).join('\n'), 'json-lines'],
  ])('%s', async (_, text, code) => {
    const file = await read('a.json', text)
    expect([file.records, codes(file)]).toEqual([wanted, [code]])
  })

  test('a list in .jsonl', async () => {
    const file = await read('a.jsonl', JSON.stringify(wanted, null, 2))
    expect([file.records, codes(file)]).toEqual([wanted, ['json-document']])
  })

  test('integers keep their digits, at any depth', async () => {
    const row =
      '{"id": 9007199254740993, "l": [12345678901234567890, {"n": -9007199254740993}], "s": "9007199254740993", "f": 1.50}'
    const expected = {
      id: '9007199254740993',
      l: '[12345678901234567890,{"n":-9007199254740993}]',
      s: '9007199254740993',
      f: '1.5',
    }
    expect((await read('a.jsonl', `${row}\n`)).records).toEqual([expected])
    expect((await read('a.json', `[${row}]`, { needed: ['l[1].n'] })).records).toEqual([
      { ...expected, 'l[1].n': '-9007199254740993' },
    ])
  })

  test('columns of lists and objects are known', async () => {
    expect((await read('a.jsonl', '{"a": 1, "b": null}\n{"a": [1], "b": {"c": 2}, "d": "x"}')).structured).toEqual(['a', 'b'])
  })
})

describe('packed', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradprompt-packed-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('any format, from a file and from memory', async () => {
    const path = join(folder, 'a.csv.gz')
    await writeFile(path, gzipSync('text;label\ngood, really;pos\nbad;neg\n'))
    expect(await readRecords(path)).toMatchObject({ records: wanted, format: 'csv' })
    expect((await read('a.JSONL.GZ', gzipSync('{"a": 1}'))).records).toEqual([{ a: '1' }])
  })

  test('what is not gzip, or has no format below', async () => {
    expect(await problemOf(read('a.csv.gz', 'text,label\n'))).toMatchObject({ code: 'invalid-data' })
    expect(await problemOf(read('a.gz', gzipSync('a')))).toMatchObject({ code: 'unknown-format' })
  })
})

describe('the registry', () => {
  test('every reader has endings of its own', () => {
    for (const [name, { extensions, description }] of dataReaders) {
      expect(description.length).toBeGreaterThan(10)
      for (const extension of extensions) expect(readerFor(`x/y.${extension.toUpperCase()}`).name).toBe(name)
    }
  })

  test("a reader of one's own, given or registered", async () => {
    const lines = {
      name: 'lines',
      description: 'one text a line',
      extensions: ['lines'],
      async read(input: { name: string; text(): Promise<string>; announce(notice: { code: string; message: string }): void }) {
        input.announce({ code: 'lines', message: 'texts alone' })
        const texts = (await input.text()).split('\n')
        return {
          columns: ['text'],
          records: texts.map(text => ({ text })),
          origins: texts.map((_, i) => `${input.name}:${i + 1}`),
        }
      },
    }
    const given = await read('a.what', 'x\ny', { format: lines })
    expect(given).toMatchObject({ records: [{ text: 'x' }, { text: 'y' }], format: 'lines', notices: [{ code: 'lines' }] })
    dataReaders.add(lines)
    expect((await read('a.lines', 'x')).records).toEqual([{ text: 'x' }])
    expect(problem(() => dataReaders.add({ ...lines, name: 'csv' })).code).toBe('name-taken')
    expect(problem(() => dataReaders.add({ name: 'other', read: () => [] })).code).toBe('invalid-reader')
    dataReaders.add({ ...lines, name: 'other', read: () => ({ columns: ['a'], records: [{ a: '1' }], origins: ['1'] }) })
    expect((await read('a.lines', 'x')).records).toEqual([{ a: '1' }])
    expect(await problemOf(read('a.csv', 'x', { format: 'excel' }))).toMatchObject({ code: 'unknown-format', found: 'excel' })
  })
})
