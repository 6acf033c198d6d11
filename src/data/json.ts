import { GradpromptError } from '../errors.js'
import type { Table } from './read.js'
import { type DataRecord, missingColumn, shorten } from './records.js'

/** One JSON object a line. Blank lines are skipped. */
export function readJsonLines(text: string, path: string, columns?: readonly string[]): Table {
  const lines = text
    .split('\n')
    .map((line, i) => ({ number: i + 1, text: line.trim() }))
    .filter(line => line.text !== '')
  const values = lines.map(line => parseJson(line.text, path, line.number))
  return toTable(
    values,
    lines.map(line => `${path}:${line.number}`),
    columns,
  )
}

/** A list of objects, or `{ "examples": [...] }`. */
export function readJson(text: string, path: string, columns?: readonly string[]): Table {
  const value = parseJson(text, path, 1)
  const list = isObject(value) && Array.isArray(value.examples) ? value.examples : value
  if (!Array.isArray(list))
    throw new GradpromptError('invalid-data', `${path} is not a list of rows`, {
      found: describe(value),
      expected: 'a list of objects, or { "examples": [...] }',
      hint: 'one object a line is .jsonl',
    })
  return toTable(
    list,
    list.map((_, i) => `${path} row ${i + 1}`),
    columns,
  )
}

/** Objects of any values as records of text. Without `columns`: every column that some row has, in the order they come up. */
export function toTable(values: readonly unknown[], origins: readonly string[], columns?: readonly string[]): Table {
  const seen = new Set<string>()
  const records = values.map((value, i): DataRecord => {
    const origin = origins[i]!
    if (!isObject(value))
      throw new GradpromptError('invalid-data', `${origin} is not an object`, {
        found: describe(value),
        expected: 'an object of columns',
      })
    const entries = Object.entries(value)
      .filter(([, field]) => field !== null && field !== undefined)
      .map(([name, field]): [string, string] => [name, printField(field, origin, name)])
    const record = Object.fromEntries(entries)
    for (const column of columns ?? [])
      if (!Object.hasOwn(record, column)) throw missingColumn(column, Object.keys(record), origin)
    for (const [name] of entries) seen.add(name)
    return columns === undefined ? record : Object.fromEntries(columns.map(column => [column, record[column]!]))
  })
  return { columns: [...(columns ?? seen)], records, origins }
}

function printField(field: unknown, origin: string, name: string): string {
  if (typeof field === 'string') return field
  if (field instanceof Date) return field.toISOString()
  try {
    return JSON.stringify(field, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value)) ?? String(field)
  } catch (cause) {
    throw new GradpromptError('invalid-data', `${origin}: the value of "${name}" cannot be printed`, { cause })
  }
}

export function parseJson(text: string, path: string, line: number): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    // V8 does not always say where; a line of its own is known all the same.
    const position = /position (\d+)/.exec(message)?.[1]
    const offset = position === undefined ? 0 : text.slice(0, Number(position)).split('\n').length - 1
    const place = position === undefined && text.includes('\n') ? path : `${path}:${line + offset}`
    throw new GradpromptError('invalid-data', `${place} is not JSON`, {
      found: message.replaceAll(/\s+/g, ' ').slice(0, 160),
      expected: 'JSON',
      cause,
    })
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const describe = (value: unknown) =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'string'
        ? shorten(value)
        : `the ${typeof value} ${value}`
