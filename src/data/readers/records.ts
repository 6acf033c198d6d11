import { didYouMean, GradpromptError } from '../../errors.js'

/** One row of a data file: column -> text. */
export type DataRecord = Readonly<Record<string, string>>

const origins = new WeakMap<DataRecord, string>()

/** Remembers where a record came from, for messages. */
export function setOrigin(record: DataRecord, origin: string): void {
  origins.set(record, origin)
}

/** Where a record came from: `train.tsv:17`, or `row 17` of a record that no file holds. `index` counts from 0. */
export function originOf(record: DataRecord, index: number): string {
  return origins.get(record) ?? `row ${index + 1}`
}

const nulls = new WeakMap<DataRecord, readonly string[]>()

/** Remembers which columns a file gives as null, for messages: the record lacks them. */
export function setNulls(record: DataRecord, columns: readonly string[]): void {
  if (columns.length > 0) nulls.set(record, columns)
}

/** Whether the file gives a record's column as null. */
export const isNull = (record: DataRecord, column: string): boolean => nulls.get(record)?.includes(column) ?? false

/** A copy of a record with other values in some columns; it stays known where it came from. */
export function changedRecord(record: DataRecord, index: number, values: Readonly<Record<string, string>>): DataRecord {
  const changed = { ...record, ...values }
  setOrigin(changed, originOf(record, index))
  setNulls(
    changed,
    (nulls.get(record) ?? []).filter(column => !Object.hasOwn(values, column)),
  )
  return changed
}

/**
 * A record's value.
 * @throws GradpromptError `null-value` where the file has a null; `missing-column`, with the columns there
 */
export function columnValue(record: DataRecord, column: string, index: number): string {
  const value = Object.hasOwn(record, column) ? record[column] : undefined
  if (value !== undefined) return value
  if (isNull(record, column)) throw nullValue(column, originOf(record, index))
  const head = /^[^.[]+(?=[.[])/.exec(column)?.[0]
  if (head !== undefined && Object.hasOwn(record, head)) throw emptyPath(column, record[head]!, originOf(record, index))
  throw missingColumn(column, Object.keys(record), originOf(record, index))
}

const emptyPath = (path: string, value: string, origin: string) =>
  new GradpromptError('missing-column', `${origin} has nothing at {${path}}`, {
    found: shorten(value),
    expected: 'a value there',
    hint: path.endsWith('.answer')
      ? "the answer of a conversation is its last turn, when that is the assistant's: mend the row, or drop it"
      : 'mend the row, or drop it',
  })

const nullValue = (column: string, origin: string) =>
  new GradpromptError('null-value', `${origin} has a null in the column "${column}"`, {
    found: 'null',
    expected: 'a value',
    hint: 'fill it in, or drop the row',
  })

export function missingColumn(column: string, there: readonly string[], origin: string): GradpromptError {
  const hint = didYouMean(column, there, name => `"${name}"`) ?? (mayLackHeader(origin) ? headerHint : undefined)
  return new GradpromptError('missing-column', `${origin} has no column "${column}"`, {
    found: there.length === 0 ? 'no columns' : `the columns ${there.map(shorten).join(', ')}`,
    expected: `a column "${column}"`,
    ...(hint !== undefined && { hint }),
  })
}

/** Whether what a message is about may be a file of lines, whose header may be missing. @param where what it is called: `train.tsv:17` */
export const mayLackHeader = (where: string): boolean => !/\.(jsonl|ndjson|json|parquet)\b|^(inputs\[|rows? )/i.test(where)

/** How the columns of a file without a header are named. */
export const headerHint =
  'if the file has no header, name its columns in order: data.columns, or --columns of evaluate, predict and generate'

/** A value in quotes, cut to what fits a message. */
export function shorten(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text)
}
