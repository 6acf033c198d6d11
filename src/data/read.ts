import { readFile, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { GradpromptError, nearest } from '../errors.js'
import { toRecords, tsvLines } from './delimited.js'
import { readJson, readJsonLines } from './json.js'
import { readParquet } from './parquet.js'
import { type DataRecord, setOrigin } from './records.js'
import { type DataTask, guessTask, taskTable } from './task-records.js'

export const dataFormats = ['tsv', 'csv', 'jsonl', 'json', 'parquet'] as const
export type DataFormat = (typeof dataFormats)[number]

/** What one format's reader hands over: `origins[i]` says where `records[i]` stands, for messages. */
export interface Table {
  readonly columns: string[]
  readonly records: DataRecord[]
  readonly origins: readonly string[]
}

export interface DataFile {
  readonly records: DataRecord[]
  readonly columns: string[]
  readonly format: DataFormat
  /** The benchmark that it was read as. */
  readonly task?: DataTask
}

/** Bytes in memory, with a name whose ending tells the format: JSON lines. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

// A JavaScript string holds half a gigabyte at most.
const largestText = 500 * 1024 * 1024

/**
 * Reads a data file: `.tsv` (quotes are text), `.csv` (RFC 4180), `.jsonl`/`.ndjson`, `.json` (a list of objects, or
 * `{ "examples": [...] }` as in BIG-Bench Hard) or `.parquet`. Every value becomes text: numbers and booleans as JSON prints them,
 * lists and objects as JSON; a null counts as absent.
 *
 * `columns` names the columns of a `.tsv` or `.csv` without a header; a first line that equals them is a header all the same.
 * Without `columns` the first line is the header. In the other formats `columns` picks columns, which every row must have.
 *
 * `task` gives the rows the columns of a benchmark (see `taskTable`). Without it a file that lacks one of the columns `needed` and
 * has it as a benchmark is read as that (see `guessTask`).
 * @throws GradpromptError `file-not-found`, `unknown-format`, `data-too-large`, `invalid-encoding`, `empty-data`, `invalid-data`
 *   (with the line), `missing-column`, `header-mismatch`
 */
export async function readRecords(
  source: string | NamedBytes,
  {
    columns,
    task,
    needed = [],
    format = formatOf(nameOf(source)),
  }: {
    columns?: readonly string[] | undefined
    task?: DataTask | undefined
    needed?: readonly string[] | undefined
    format?: DataFormat | undefined
  } = {},
): Promise<DataFile> {
  const path = nameOf(source)
  const read =
    typeof source === 'string' ? await readFileAs(source, format, columns) : readJsonLines(textOf(source), path, columns)
  if (read.records.length === 0) throw emptyData(path)
  const meant = task ?? guessTask(read, needed)
  const table = meant === undefined ? read : taskTable(read, meant)
  table.records.forEach((record, i) => {
    setOrigin(record, table.origins[i]!)
  })
  return { records: table.records, columns: table.columns, format, ...(meant && { task: meant }) }
}

const nameOf = (source: string | NamedBytes) => (typeof source === 'string' ? source : source.name)
const textOf = ({ bytes }: NamedBytes) => new TextDecoder('utf-8', { fatal: true }).decode(bytes)

async function readFileAs(path: string, format: DataFormat, columns: readonly string[] | undefined): Promise<Table> {
  const size = await sizeOf(path)
  if (size === 0) throw emptyData(path)
  if (format === 'parquet') return readParquet(path, size, columns)
  return parse(await readText(path, size), path, format, columns)
}

type TextFormat = Exclude<DataFormat, 'parquet'>

async function parse(text: string, path: string, format: TextFormat, columns: readonly string[] | undefined): Promise<Table> {
  if (format === 'jsonl') return readJsonLines(text, path, columns)
  if (format === 'json') return readJson(text, path, columns)
  const lines = format === 'tsv' ? tsvLines(text) : (await import('./csv.js')).csvLines(text, path)
  return toRecords(lines, path, columns)
}

function formatOf(path: string): DataFormat {
  const extension = extname(path).slice(1).toLowerCase()
  const known = [...dataFormats, 'ndjson']
  if (extension === 'ndjson') return 'jsonl'
  if ((dataFormats as readonly string[]).includes(extension)) return extension as DataFormat
  const meant = nearest(extension, known)
  throw new GradpromptError('unknown-format', `the format of ${path} is not known`, {
    found: extension === '' ? 'a name without an extension' : `.${extension}`,
    expected: `one of ${known.map(name => `.${name}`).join(' ')}`,
    ...(meant === undefined ? {} : { hint: `did you mean .${meant}?` }),
  })
}

export async function sizeOf(path: string): Promise<number> {
  try {
    const found = await stat(path)
    if (found.isFile()) return found.size
  } catch (cause) {
    throw new GradpromptError('file-not-found', `cannot read the data file ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a file',
      hint: 'paths are relative to the working directory',
      cause,
    })
  }
  throw new GradpromptError('file-not-found', `the data file ${path} is not a file`, { expected: 'a file' })
}

export async function readText(path: string, size: number): Promise<string> {
  if (size > largestText)
    throw new GradpromptError('data-too-large', `${path} is too large to be read as text`, {
      found: `${size} bytes`,
      expected: `at most ${largestText} bytes`,
      hint: 'split the file, or store it as .parquet',
    })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause
    throw new GradpromptError('invalid-encoding', `${path} is not UTF-8`, {
      found: 'bytes that are not UTF-8',
      expected: 'UTF-8, with or without a byte order mark',
      hint: 'save the file as UTF-8',
      cause,
    })
  }
}

const emptyData = (path: string) =>
  new GradpromptError('empty-data', `${path} has no rows`, { found: 'no rows', expected: 'at least one row' })
