import { didYouMean, GradpromptError } from '../errors.js'

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

/** A record's value, or a `missing-column` error that lists the columns there. */
export function columnValue(record: DataRecord, column: string, index: number): string {
  const value = Object.hasOwn(record, column) ? record[column] : undefined
  if (value === undefined) throw missingColumn(column, Object.keys(record), originOf(record, index))
  return value
}

export function missingColumn(column: string, there: readonly string[], origin: string): GradpromptError {
  return new GradpromptError('missing-column', `${origin} has no column "${column}"`, {
    found: there.length === 0 ? 'no columns' : `the columns ${there.map(shorten).join(', ')}`,
    expected: `a column "${column}"`,
    hint:
      didYouMean(column, there, name => `"${name}"`) ?? 'if the file has no header, name its columns in order with data.columns',
  })
}

/** A value in quotes, cut to what fits a message. */
export function shorten(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text)
}
