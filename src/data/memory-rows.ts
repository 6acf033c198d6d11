import { createHash } from 'node:crypto'
import { GradpromptError } from '../errors.js'
import { inWords } from '../own-calls.js'
import { readRecords } from './read.js'
import type { NamedBytes } from './readers/input.js'
import { type DataRecord, setOrigin } from './readers/records.js'

/**
 * Rows that a program hands over instead of a file: they become the lines of one, so that everything behind reads them as it reads a
 * file. It does not know what they are for.
 */

/** A row: values by the names of their columns. */
export type Row = object
/** Rows in memory, or that come one after the other. */
export type Rows = Iterable<Row> | AsyncIterable<Row>

/** What a config says in the place of a file's path. */
export const inMemory = 'rows in memory'

/** Rows as a file of JSON lines, read once. */
export interface MemoryRows extends NamedBytes {
  readonly count: number
  readonly sha256: string
}

/**
 * Takes all rows.
 * @param what names them in messages: `train`
 * @throws GradpromptError `invalid-data` where there are none to be had, where one is no object of values, or cannot be written as JSON
 */
export async function takeRows(rows: Rows, what: string): Promise<MemoryRows> {
  if (!isRows(rows))
    throw new GradpromptError('invalid-data', `${what} are neither a file nor rows`, {
      found: inWords(rows),
      expected: 'the path of a file, or an iterable of objects, such as a list of them',
    })
  const lines: string[] = []
  for await (const row of rows) {
    const origin = `${what}, row ${lines.length + 1},`
    if (typeof row !== 'object' || row === null || Array.isArray(row))
      throw new GradpromptError('invalid-data', `${origin} is not an object`, {
        found: row === null ? 'null' : Array.isArray(row) ? 'a list' : `${typeof row} ${String(row).slice(0, 40)}`,
        expected: 'an object of columns, such as { text: "a delight", label: "1" }',
      })
    try {
      lines.push(`${JSON.stringify(row)}\n`)
    } catch (cause) {
      throw new GradpromptError('invalid-data', `${origin} cannot be written as JSON`, {
        found: cause instanceof Error ? cause.message : String(cause),
        expected: 'texts, numbers and booleans by the names of their columns',
        cause,
      })
    }
  }
  const bytes = Buffer.from(lines.join(''))
  return {
    name: `${what} in memory.jsonl`,
    bytes,
    count: lines.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }
}

/** Whether a value is rows and no path. */
export const isRows = (value: unknown): value is Rows =>
  typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)

/** As `readRecords`; messages name rows by their number. No rows at all are none, and no error. */
export async function readMemoryRows(
  rows: MemoryRows,
  options: Parameters<typeof readRecords>[1],
): Promise<{ readonly records: readonly DataRecord[] }> {
  if (rows.count === 0) return { records: [] }
  const file = await readRecords(rows, options)
  for (const [i, record] of file.records.entries()) setOrigin(record, `row ${i + 1}`)
  return file
}
