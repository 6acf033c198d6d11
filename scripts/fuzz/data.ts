import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describeColumns } from '../../src/data/describe/columns.js'
import { suggestTask } from '../../src/data/describe/suggest.js'
import { readRecords } from '../../src/data/read.js'
import { type Chance, type Json, mutateBytes, mutateJson, mutateText } from './mutate.js'
import type { FuzzTarget } from './run.js'

const fixtures = 'test/fixtures/data'
const needed = ['text', 'l[0].a', 'messages.answer', 'meta.id']

/** Reads bytes as a file of this name, and looks at all that is in them. */
async function use(name: string, bytes: Uint8Array): Promise<void> {
  const file = await readRecords({ name, bytes }, { needed })
  describeColumns(file)
  suggestTask(file)
}

const delimited = [
  'text;label\r\n"a ""b"" c";1\r\n"x\ny";2\r\n',
  'sep=|\ntext|label\na|b\n',
  'text\tlabel\n"a ""b"" c"\t1\nx "y"\t2\n',
  '\ufefftext,label\rgood film,pos\rbad film,neg\r',
]
const pieces = ['"', '""', ',', ';', '\t', '|', '\r', '\r\n', '\n', 'sep=', '\ufeff', 'text', '"\n"']

/** CSV and TSV, as text and as bytes, in UTF-8 and UTF-16, packed or not. */
export const csv: FuzzTarget = {
  name: 'csv',
  prepare: async () => async chance => {
    const name = chance.pick(['a.csv', 'a.tsv', 'a.csv.gz'])
    const text = chance.below(4) === 0 ? chance.pick(delimited) : mutateText(chance, chance.pick(delimited), pieces)
    const bytes = Buffer.from(text, chance.pick(['utf8', 'utf8', 'utf16le'] as const))
    const packed = name.endsWith('.gz') ? gzipSync(bytes) : bytes
    await use(name, chance.below(2) === 0 ? packed : mutateBytes(chance, packed, [packed]))
  },
}

const rows = [
  { text: 'a "good" film', label: 1, big: 1234567890123456, l: [{ a: null }], meta: { id: 3 } },
  { text: 'été 😀', label: true, big: -1, l: [], messages: [{ role: 'user', content: 'a' }] },
]
const conversation = [
  { role: 'user', content: [{ type: 'text', text: 'a' }] },
  { from: 'gpt', value: 'b' },
]
const documents: readonly Json[] = [
  rows as unknown as Json,
  { data: rows as unknown as Json },
  { text: { 0: 'a', 1: 'b' }, label: { 0: 1, 1: null } },
  { text: ['a', 'b'], messages: [conversation, conversation] as unknown as Json },
]
const keys = ['text', 'label', 'messages', 'answer', 'role', 'content', 'data', 'examples', '__proto__', 'toString', '0']

/** A document or lines, changed as values or as text. */
export const json: FuzzTarget = {
  name: 'json',
  prepare: async () => async chance => {
    const whole = mutateJson(chance, JSON.parse(JSON.stringify(chance.pick(documents))) as Json, keys)
    const lines = chance.below(2) === 0 && Array.isArray(whole)
    const text = lines ? whole.map(row => JSON.stringify(row)).join('\n') : JSON.stringify(whole)
    const digits = chance.below(3) === 0 ? text.replaceAll(/\d/g, '$&2345678901234567890') : text
    const changed =
      chance.below(2) === 0 ? digits : mutateText(chance, digits, ['{', '}', '[', ']', '"', '\\', '\n', 'null', ',', ':'])
    await use(chance.pick(['a.json', 'a.jsonl']), Buffer.from(changed))
  },
}

/** Files of every compression, with flat and nested columns. */
export const parquet: FuzzTarget = {
  name: 'parquet',
  async prepare() {
    const names = (await readdir(fixtures)).filter(name => name.endsWith('.parquet')).sort()
    const files = await Promise.all(names.map(name => readFile(join(fixtures, name))))
    return async (chance: Chance) => use('a.parquet', mutateBytes(chance, chance.pick(files), files))
  },
}
