import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import { describeValue, printValue } from './json-text.js'
import type { Table } from './reader.js'
import { type DataRecord, missingColumn } from './records.js'

/**
 * Objects of any values as records of text. Without `columns`: every column that some row has, in the order they come up. A null
 * counts as absent, and is remembered as null.
 * @throws GradpromptError `invalid-data`, `missing-column`
 */
export function toTable(values: readonly unknown[], origins: readonly string[], columns?: readonly string[]): Table {
  const seen = new Set<string>()
  const structured = new Set<string>()
  const nulls: string[][] = []
  const records = values.map((value, i): DataRecord => {
    const origin = origins[i]!
    if (!isRecord(value))
      throw new GradpromptError('invalid-data', `${origin} is not an object`, {
        found: describeValue(value),
        expected: 'an object of columns',
      })
    const fields = Object.entries(value).filter(([, field]) => field !== undefined)
    const empty = fields.flatMap(([name, field]) => (field === null ? [name] : []))
    nulls.push(empty)
    const entries = fields
      .filter(([, field]) => field !== null)
      .map(([name, field]): [string, string] => {
        if (typeof field === 'object' && !(field instanceof Date)) structured.add(name)
        return [name, printValue(field, `${origin}: the value of "${name}"`)]
      })
    const record = Object.fromEntries(entries)
    for (const column of columns ?? [])
      if (!Object.hasOwn(record, column) && !empty.includes(column)) throw missingColumn(column, Object.keys(record), origin)
    for (const [name] of entries) seen.add(name)
    if (columns === undefined) return record
    return Object.fromEntries(columns.flatMap(column => (Object.hasOwn(record, column) ? [[column, record[column]!]] : [])))
  })
  // Whatever is no object was refused above.
  return { columns: [...(columns ?? seen)], records, origins, structured: [...structured], values: values as object[], nulls }
}
