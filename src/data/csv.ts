import { type CsvError, parse } from 'csv-parse/sync'
import { GradpromptError } from '../errors.js'
import type { Line } from './delimited.js'

interface CsvRecord {
  readonly record: readonly string[]
  readonly info: { readonly bytes: number }
}

/** RFC 4180. Blank lines are skipped. */
export function csvLines(text: string, path: string): Line[] {
  const bytes = Buffer.from(text, 'utf8')
  let parsed: CsvRecord[]
  try {
    // With `info` each record comes with its place, which the package's types leave out.
    const options = { info: true, relax_column_count: true, skip_empty_lines: true, record_delimiter: ['\r\n', '\n'] }
    parsed = parse(bytes, options) as unknown as CsvRecord[]
  } catch (cause) {
    const { lines, message } = cause as CsvError & { lines?: number }
    throw new GradpromptError('invalid-data', `${path}:${lines ?? 1} is not CSV`, {
      found: message,
      expected: 'fields in double quotes where they hold a comma, a quote or a line break; "" for a quote',
      cause,
    })
  }
  let number = 1
  let offset = 0
  const advance = (to: number) => {
    for (; offset < to; offset++) if (bytes[offset] === 10) number++
  }
  return parsed.map(({ record, info }) => {
    while (bytes[offset] === 10 || bytes[offset] === 13) advance(offset + 1)
    const line = { number, fields: record }
    advance(info.bytes)
    return line
  })
}
