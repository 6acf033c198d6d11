import { createReadStream } from 'node:fs'
import { GradpromptError } from '../errors.js'
import { inMemory, type Rows, requireRows } from './memory-rows.js'
import { completed, type DataFile, readRecords } from './read.js'
import { csvReader } from './readers/csv.js'
import { notUtf8, wideEncoding } from './readers/encoding.js'
import { readerFor } from './readers/index.js'
import { isPacked, unreadable } from './readers/input.js'
import { jsonLinesReader, jsonReader, linesTable } from './readers/json.js'
import type { DataNotice, DataReader, Table } from './readers/reader.js'
import type { DataRecord } from './readers/records.js'
import { toTable } from './readers/values.js'

/**
 * Records that come a few at a time, so that work over them begins at once and needs no more memory for more of them: those of JSON
 * lines and of rows that a program hands over, as they are read. Other formats are read as a whole first. It does not know what the
 * records are for.
 */

export interface RecordChunk {
  readonly records: readonly DataRecord[]
  /** `values[i]`: the row as it was given, where it was an object; otherwise the record. */
  readonly values: readonly object[]
  readonly columns: readonly string[]
  readonly structured: readonly string[]
  /** Rows in all, where it is known. */
  readonly total?: number
}

export interface StreamOptions {
  readonly columns?: readonly string[] | undefined
  /**
   * Without `columns`: names that columns have where a file does not say them, each list as long as a row may be. A file that has names
   * of its own keeps these.
   */
  readonly usualColumns?: readonly (readonly string[])[] | undefined
  /** Columns that templates name. */
  readonly needed?: readonly string[] | undefined
  /** A benchmark by which rows that lack those are read. */
  readonly task?: string | undefined
  /** Rows of a chunk, at most. */
  readonly size?: number
  /** Hears what was guessed about the data. */
  readonly onNotice?: ((notice: DataNotice) => void) | undefined
}

/** What stands for standard input in the place of a path, and what messages call it. */
export const standardInput = '-'
export const standardInputName = 'standard input'

const usualSize = 256
/** Bytes that decide how a file is read. */
const headBytes = 65536
/** In bytes: a JavaScript string holds half a billion characters. */
const longestLine = 250_000_000

/**
 * The records of a file, of standard input (`-`: JSON lines, or else CSV), or of rows in memory.
 * @throws GradpromptError as `readRecords` does; `empty-data` when a file has no rows
 */
export async function* streamRecords(
  source: string | Rows,
  options: StreamOptions = {},
): AsyncGenerator<RecordChunk, void, void> {
  if (typeof source !== 'string') {
    requireRows(source, 'the data')
    yield* inChunks(source, options, (rows, first) => {
      const origins = rows.map((_, i) => `${inMemory}, row ${first + i}`)
      return chunkOf(toTable(rows, origins, options.columns), options)
    })
    return
  }
  const reader = source === standardInput ? undefined : readerFor(source)
  if (reader !== undefined && (reader !== jsonLinesReader || isPacked(source))) {
    yield* sliced(await wholeFile(source, reader, options), options)
    return
  }
  const name = reader === undefined ? standardInputName : source
  const { head, rest } = await headOf(reader === undefined ? process.stdin : createReadStream(source), name)
  const format = reader ?? formatOf(head)
  if (reader === undefined) options.onNotice?.({ code: 'format', message: `${name} is read as .${format.name}` })
  if (format !== jsonLinesReader || !startsAsLines(head)) {
    yield* sliced(await wholeFile({ name, bytes: await bytesOf(rest) }, format, options), options)
    return
  }
  let any = false
  const chunks = inChunks(linesOf(rest, name), options, (some, first) => {
    const table = linesTable(some, name, { columns: options.columns, first })
    return table.records.length === 0 ? undefined : chunkOf(table, options)
  })
  for await (const chunk of chunks) {
    any = true
    yield chunk
  }
  if (!any) throw emptyData(name)
}

async function* inChunks<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  { size = usualSize }: StreamOptions,
  make: (items: readonly Item[], first: number) => RecordChunk | undefined,
): AsyncGenerator<RecordChunk, void, void> {
  let held: Item[] = []
  let first = 1
  const flush = () => {
    const chunk = make(held, first)
    first += held.length
    held = []
    return chunk
  }
  for await (const item of items) {
    held.push(item)
    if (held.length < size) continue
    const chunk = flush()
    if (chunk !== undefined) yield chunk
  }
  const last = held.length > 0 ? flush() : undefined
  if (last !== undefined) yield last
}

/** A row may be what a benchmark needs already: its answer, which nobody needs here, may be missing. */
function chunkOf(table: Table, { task, needed = [] }: StreamOptions): RecordChunk {
  const plain = completed(table, { needed })
  const {
    records,
    columns,
    structured,
    values = records,
  } = lacks(plain.columns, needed) && task !== undefined ? completed(table, { task, needed }) : plain
  return { records, columns, structured, values }
}

async function wholeFile(
  source: Parameters<typeof readRecords>[0],
  format: DataReader,
  { columns, usualColumns = [], task, needed = [], onNotice }: StreamOptions,
): Promise<DataFile> {
  const tried = columns === undefined && format.mayLackNames === true ? usualColumns : [columns]
  const read = async (columns: readonly string[] | undefined) => {
    const plain = await readRecords(source, { columns, needed, format })
    if (task === undefined || !lacks(plain.columns, needed)) return plain
    return readRecords(source, { columns, needed, format, task })
  }
  const file = await firstThatFits(tried, read)
  for (const notice of file.notices) onNotice?.(notice)
  return file
}

/** Reads a file by the first list of names that fits its rows, or by its own. */
async function firstThatFits(
  tried: readonly (readonly string[] | undefined)[],
  read: (columns: readonly string[] | undefined) => Promise<DataFile>,
): Promise<DataFile> {
  let failure: unknown
  for (const columns of tried) {
    try {
      return await read(columns)
    } catch (error) {
      if (columns === undefined || tried.length === 1) throw error
      if (!(error instanceof GradpromptError) || !['header-mismatch', 'invalid-data'].includes(error.code)) throw error
      if (error.code === 'header-mismatch') return read(undefined)
      failure ??= error
    }
  }
  if (failure === undefined) return read(undefined)
  throw failure
}

const lacks = (columns: readonly string[], needed: readonly string[]) => needed.some(name => !columns.includes(name))

function* sliced(file: DataFile, { size = usualSize }: StreamOptions): Generator<RecordChunk> {
  const { records, columns, structured, values = records } = file
  for (let start = 0; start < records.length; start += size) {
    const some = records.slice(start, start + size)
    yield { records: some, values: values.slice(start, start + size), columns, structured, total: records.length }
  }
}

/** Standard input as a whole, and who reads it. @throws GradpromptError `empty-data` */
export async function readStandardInput(): Promise<{
  readonly name: string
  readonly bytes: Uint8Array
  readonly reader: DataReader
}> {
  const name = standardInputName
  const { head, rest } = await headOf(process.stdin, name)
  return { name, bytes: await bytesOf(rest), reader: formatOf(head) }
}

/** The first bytes of a stream, and all of them. @throws GradpromptError `file-not-found`, `empty-data` */
async function headOf(stream: AsyncIterable<Buffer>, name: string): Promise<{ head: Buffer; rest: AsyncGenerator<Buffer> }> {
  const iterator = stream[Symbol.asyncIterator]()
  const next = async () => {
    try {
      return await iterator.next()
    } catch (cause) {
      throw unreadable(name, cause)
    }
  }
  const chunks: Buffer[] = []
  let size = 0
  // What comes slowly is worked on as it comes: one whole line is enough to see.
  while (size < headBytes && chunks.at(-1)?.includes(10) !== true) {
    const { value, done } = await next()
    if (done === true) break
    chunks.push(value)
    size += value.length
  }
  if (size === 0) throw emptyData(name)
  async function* rest() {
    yield* chunks
    for (let step = await next(); step.done !== true; step = await next()) yield step.value
  }
  return { head: Buffer.concat(chunks), rest: rest() }
}

/** UTF-8 with one value a line, as far as the beginning shows; otherwise the whole file has to be seen. */
const startsAsLines = (head: Buffer) =>
  wideEncoding(head) === undefined &&
  !(head[0] === 0xff && head[1] === 0xfe) &&
  !(head[0] === 0xfe && head[1] === 0xff) &&
  !(head.includes(13) && !head.includes(10)) &&
  textOf(head)[0] !== '['

/** What standard input holds: of a file the name would say it. */
function formatOf(head: Buffer): DataReader {
  const text = textOf(head)
  if (text[0] === '[') return jsonReader
  if (text[0] !== '{') return csvReader
  const [first = '', ...others] = text.split('\n')
  return others.length > 0 && !isJson(first) ? jsonReader : jsonLinesReader
}

const textOf = (head: Buffer) =>
  head
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart()

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** The lines of a stream in UTF-8. @throws GradpromptError `invalid-encoding`, `data-too-large` */
async function* linesOf(stream: AsyncIterable<Buffer>, name: string): AsyncGenerator<string, void, void> {
  let number = 1
  const decode = (bytes: Uint8Array) => {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: number > 1 }).decode(bytes)
    } catch (cause) {
      throw notUtf8(name, bytes, cause, { line: number, isFile: name !== standardInputName })
    }
  }
  let [held, size]: [Buffer[], number] = [[], 0]
  for await (const chunk of stream) {
    // A line feed is a byte of its own in UTF-8.
    const end = chunk.lastIndexOf(10)
    const whole = end === -1 ? undefined : Buffer.concat([...held, chunk.subarray(0, end)])
    if (whole === undefined) held.push(chunk)
    else held = [chunk.subarray(end + 1)]
    size = whole === undefined ? size + chunk.length : held[0]!.length
    if (size > longestLine)
      throw new GradpromptError('data-too-large', `${name} has a line that is too long`, {
        found: `more than ${longestLine} bytes`,
        expected: 'one JSON object a line',
      })
    if (whole === undefined) continue
    const lines = decode(whole).split('\n')
    number += lines.length
    yield* lines
  }
  if (size > 0) yield decode(Buffer.concat(held))
}

async function bytesOf(stream: AsyncIterable<Buffer>): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const emptyData = (name: string) =>
  new GradpromptError('empty-data', `${name} has no rows`, { found: 'no rows', expected: 'at least one row' })
