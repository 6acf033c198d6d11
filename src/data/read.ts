import { GradpromptError, unknownName } from '../errors.js'
import { localFiles } from './hub-data.js'
import { dataReaders, readerFor } from './readers/index.js'
import { type NamedBytes, openInput } from './readers/input.js'
import type { DataNotice, DataReader, Table } from './readers/reader.js'
import { type DataRecord, setNulls, setOrigin } from './readers/records.js'
import { toTable } from './readers/values.js'
import { type DataTask, guessTask, taskTable } from './task-records.js'
import { withPaths } from './texts/paths.js'

/** Data files to records of text, whatever their format. It knows no format itself: the readers do. */

export { readText, sizeOf } from './readers/input.js'
export type { DataNotice, DataReader, Table } from './readers/reader.js'

export interface DataFile {
  readonly records: DataRecord[]
  readonly columns: string[]
  /** The name of the reader. */
  readonly format: string
  /** The benchmark that it was read as. */
  readonly task?: DataTask
  /** Columns in which some row holds a list or an object, as JSON text. */
  readonly structured: readonly string[]
  /** `values[i]`: the row that `records[i]` was made of, where the format has values of more kinds than text. */
  readonly values?: readonly object[]
  /** What was guessed while it was read. */
  readonly notices: readonly DataNotice[]
}

/**
 * Reads a data file: `.tsv` (quotes are text, unless the file quotes its fields), `.csv` (RFC 4180; other delimiters are recognised),
 * `.jsonl`/`.ndjson`, `.json` (a list of objects, an object with such a list, or an object of columns), `.parquet`, or what a
 * registered reader reads; each also packed as `.gz`. Every value becomes text: numbers and booleans as JSON prints them, integers with
 * all their digits, lists and objects as JSON; a null counts as absent.
 *
 * `columns` names the columns of a `.tsv` or `.csv` without a header; a first line that equals them is a header all the same.
 * Without `columns` the first line is the header. In the other formats `columns` picks columns, which every row must have.
 *
 * `needed` are the columns that templates name. One that is a path into a column of lists or objects (`input.body`,
 * `answers.text[0]`) becomes a column of its own. `task` gives the rows the columns of a benchmark (see `taskTable`); without it a file
 * that lacks a needed column and has it as a benchmark is read as that (see `guessTask`).
 * @param given a path, those of the parts of one file, a split of a data set of the Hub (see `localFiles`), or bytes under a name whose ending says the format
 * @param format a reader or its name, where the ending does not say it
 * @throws GradpromptError `file-not-found`, `unknown-format`, `data-too-large`, `invalid-encoding`, `empty-data`, `invalid-data`
 *   (with the line), `missing-column`, `header-mismatch`
 */
export async function readRecords(
  given: string | readonly string[] | NamedBytes,
  {
    columns,
    task,
    needed = [],
    format,
    onNotice,
  }: {
    columns?: readonly string[] | undefined
    task?: DataTask | undefined
    needed?: readonly string[] | undefined
    format?: string | DataReader | undefined
    /** Hears of each of `notices`, once all is read. */
    onNotice?: ((notice: DataNotice) => void) | undefined
  } = {},
): Promise<DataFile> {
  const sources = typeof given === 'string' ? await localFiles(given) : isList(given) ? given : [given]
  const tables: Table[] = []
  const notices: DataNotice[] = []
  let reader: DataReader | undefined
  for (const source of sources) {
    const name = typeof source === 'string' ? source : source.name
    reader ??= typeof format === 'object' ? format : format === undefined ? readerFor(name) : readerNamed(format)
    const input = await openInput(source)
    if (input.size === 0) throw emptyData(name)
    // Of a path only the column at its head stands in the file.
    const read = await reader.read(input, { columns })
    if (read.records.length === 0) throw emptyData(name)
    tables.push(read)
    notices.push(...input.notices)
  }
  const read = tables.length === 1 ? tables[0]! : joined(tables, sources.map(String))
  const { task: meant, ...table } = completed(read, { task, needed })
  for (const notice of notices) onNotice?.(notice)
  return {
    ...table,
    format: reader!.name,
    notices,
    ...(meant && { task: meant }),
  }
}

const isList = (given: unknown): given is readonly string[] => Array.isArray(given)

/** The rows of the parts of one file. @throws GradpromptError `invalid-data` where they have other columns */
function joined(tables: readonly Table[], names: readonly string[]): Table {
  const { columns } = tables[0]!
  const other = tables.findIndex(table => [...table.columns].sort().join() !== [...columns].sort().join())
  if (other >= 0)
    throw new GradpromptError('invalid-data', `${names[other]} has other columns than the part before it`, {
      found: tables[other]!.columns.join(', '),
      expected: columns.join(', '),
      hint: 'name one of the parts by its path, or choose the columns: data.columns',
    })
  return {
    columns,
    records: tables.flatMap(({ records }) => records),
    origins: tables.flatMap(({ origins }) => origins),
    structured: [...new Set(tables.flatMap(({ structured }) => structured ?? []))],
    ...(tables.every(({ values }) => values) && { values: tables.flatMap(({ values }) => values!) }),
    nulls: tables.flatMap(({ records, nulls }) => nulls ?? records.map(() => [])),
  }
}

/** What a reader has handed over, with the columns of a benchmark and those that paths reach. */
export function completed(
  read: Table,
  { task, needed = [] }: { task?: DataTask | undefined; needed?: readonly string[] | undefined },
): Pick<DataFile, 'records' | 'columns' | 'structured' | 'values' | 'task'> {
  const meant = task ?? guessTask(read, needed)
  const table = meant === undefined ? read : taskTable(read, meant)
  remember(table)
  return {
    ...withPaths(table, needed),
    structured: table.structured ?? [],
    ...(table.values && { values: table.values }),
    ...(meant && { task: meant }),
  }
}

/**
 * Rows in memory as a file's would be read: values become text, and needed paths columns of their own.
 * @throws GradpromptError `invalid-data`
 */
export function tableOf(
  rows: readonly Readonly<Record<string, unknown>>[],
  needed: readonly string[] = [],
): Pick<DataFile, 'records' | 'columns' | 'structured'> {
  const table = toTable(
    rows,
    rows.map((_, i) => `row ${i + 1}`),
  )
  remember(table)
  return { ...withPaths(table, needed), structured: table.structured ?? [] }
}

/** Where each record stands, and which of its values are null. */
function remember({ records, origins, nulls }: Table): void {
  for (const [i, record] of records.entries()) {
    setOrigin(record, origins[i]!)
    setNulls(record, nulls?.[i] ?? [])
  }
}

function readerNamed(name: string): DataReader {
  const reader = dataReaders.find(name)
  if (reader !== undefined) return reader
  throw unknownName('unknown-format', `there is no data format ${name}`, name, dataReaders.keys())
}

const emptyData = (path: string) =>
  new GradpromptError('empty-data', `${path} has no rows`, { found: 'no rows', expected: 'at least one row' })
