import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import { describeValue, parseExactly } from './json-text.js'
import type { DataInput, DataReader, ReadOptions, Table } from './reader.js'
import { toTable } from './values.js'

/** JSON: a document of rows, or one object a line. Either is read where the other was announced by the file's name, and that is said. */

/** A list of objects; an object that holds such a list; or an object of columns, each a list or an object of values. */
export const jsonReader: DataReader = {
  name: 'json',
  description: 'a list of objects, an object with such a list (data, rows, examples), or an object of columns',
  extensions: ['json'],
  async read(input, options) {
    const text = await input.text()
    if (isLines(text)) {
      input.announce({ code: 'json-lines', message: `${input.name} holds one object a line, and is read as .jsonl` })
      return readLines(text, input.name, options)
    }
    return readDocument(text, input, options)
  },
}

/** One object a line; blank lines are skipped. */
export const jsonLinesReader: DataReader = {
  name: 'jsonl',
  description: 'one JSON object a line',
  extensions: ['jsonl', 'ndjson'],
  async read(input, options) {
    const text = await input.text()
    if (/^\s*\[/.test(text) && !isLines(text) && parses(text)) {
      input.announce({ code: 'json-document', message: `${input.name} holds one list, and is read as .json` })
      return readDocument(text, input, options)
    }
    return readLines(text, input.name, options)
  },
}

function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Whether a text is several values, each on a line of its own. */
function isLines(text: string): boolean {
  const lines = text.split(/\r\n|\n|\r/, 100).filter(line => line.trim() !== '')
  return lines.length >= 2 && lines.slice(0, 2).every(line => line.trimStart().startsWith('{') && parses(line))
}

function readLines(text: string, path: string, { columns }: ReadOptions): Table {
  const lines = text.split(text.includes('\n') ? '\n' : '\r')
  return linesTable(lines, path, { columns })
}

/**
 * Some of the lines of a file, each an object; blank ones are skipped.
 * @param first the number of the first of them, counted from 1
 * @throws GradpromptError `invalid-data` with the line
 */
export function linesTable(
  lines: readonly string[],
  path: string,
  { columns, first = 1 }: ReadOptions & { readonly first?: number },
): Table {
  const filled = lines.map((line, i) => ({ number: first + i, text: line.trim() })).filter(line => line.text !== '')
  const values = filled.map(line => parseExactly(line.text, path, line.number))
  const origins = filled.map(line => `${path}:${line.number}`)
  return toTable(values, origins, columns)
}

function readDocument(text: string, input: DataInput, { columns }: ReadOptions): Table {
  const { rows, key } = rowsOf(parseExactly(text, input.name, 1), input)
  const within = key === undefined ? '' : ` of "${key}"`
  return toTable(
    rows,
    rows.map((_, i) => `${input.name} row ${i + 1}${within}`),
    columns,
  )
}

/** Where BIG-Bench Hard has its rows; nothing is said about this one. */
const usualKey = 'examples'

function rowsOf(value: unknown, input: DataInput): { rows: readonly unknown[]; key?: string } {
  if (Array.isArray(value)) return { rows: value as unknown[] }
  if (isRecord(value)) {
    if (Array.isArray(value[usualKey])) return { rows: value[usualKey] as unknown[] }
    const lists = Object.entries(value).filter(
      (entry): entry is [string, unknown[]] => Array.isArray(entry[1]) && entry[1].every(isRecord),
    )
    const [list] = lists
    if (lists.length === 1 && list !== undefined) {
      input.announce({ code: 'rows-within', message: `the rows of ${input.name} are the list under its key "${list[0]}"` })
      return { rows: list[1], key: list[0] }
    }
    const rows = rowsOfColumns(value)
    if (rows !== undefined) {
      input.announce({
        code: 'columns-of-values',
        message: `${input.name} is an object of columns, and is read as ${rows.length} rows`,
      })
      return { rows }
    }
  }
  throw new GradpromptError('invalid-data', `${input.name} is not a list of rows`, {
    found: describeValue(value),
    expected: 'a list of objects, an object with one list of objects, or an object of columns with equally many values each',
    hint: 'one object a line is .jsonl',
  })
}

/** `{ "text": ["a", "b"] }` or `{ "text": { "0": "a", "1": "b" } }` as rows; nothing when the columns do not fit together. */
function rowsOfColumns(value: Record<string, unknown>): Record<string, unknown>[] | undefined {
  const entries = Object.entries(value)
  const [first] = entries
  if (first === undefined) return undefined
  const isList = Array.isArray(first[1])
  if (!entries.every(([, column]) => (isList ? Array.isArray(column) : isRecord(column)))) return undefined
  const keys = Object.keys(first[1] as object)
  if (keys.length === 0) return undefined
  const columns = entries.map(([name, column]) => [name, column as Record<string, unknown>] as const)
  const fits = columns.every(
    ([, column]) => Object.keys(column).length === keys.length && keys.every(key => Object.hasOwn(column, key)),
  )
  return fits ? keys.map(key => Object.fromEntries(columns.map(([name, column]) => [name, column[key]]))) : undefined
}
