import { GradpromptError } from '../../errors.js'
import type { Table } from './reader.js'
import { headerHint, shorten } from './records.js'

/** Lines of fields as records under the names of their columns. It knows nothing of delimiters and quotes. */

export interface Line {
  readonly number: number
  readonly fields: readonly string[]
}

/** Lines of fields as records, with or without a header. */
export function toRecords(lines: readonly Line[], path: string, columns?: readonly string[]): Table {
  const first = lines[0]
  if (first === undefined) return { columns: [...(columns ?? [])], records: [], origins: [] }
  const hasHeader = columns === undefined || isHeader(first, columns, path)
  const names = columns ?? first.fields.map(name => name.trim())
  const repeated = names.find((name, i) => names.indexOf(name) !== i)
  if (repeated !== undefined)
    throw new GradpromptError('invalid-data', `${path}:${first.number}: two columns have the same name`, {
      found: shorten(repeated),
      expected: 'a header of names that differ',
      hint: headerHint,
    })
  const rows = hasHeader ? lines.slice(1) : lines
  const records = rows.map(({ number, fields }) => {
    if (fields.length !== names.length)
      throw new GradpromptError('invalid-data', `${path}:${number} has a wrong number of fields`, {
        found: `${fields.length} ${fields.length === 1 ? 'field' : 'fields'}`,
        expected: `${names.length}: ${names.map(shorten).join(', ')}`,
      })
    return Object.fromEntries(names.map((name, i) => [name, fields[i]!]))
  })
  return { columns: [...names], records, origins: rows.map(row => `${path}:${row.number}`) }
}

/** Whether the first line repeats the given names. One that shares a name without being equal is a header that differs. */
function isHeader(first: Line, columns: readonly string[], path: string): boolean {
  const found = first.fields.map(name => name.trim())
  if (found.length === columns.length && found.every((name, i) => name === columns[i])) return true
  if (!found.some(name => columns.includes(name))) return false
  throw new GradpromptError('header-mismatch', `${path}:${first.number}: the header differs from data.columns`, {
    found: found.map(shorten).join(', '),
    expected: columns.map(shorten).join(', '),
    hint: "leave data.columns out to use the file's own names",
  })
}
