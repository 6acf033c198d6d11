import { type CsvError, parse } from 'csv-parse/sync'
import { GradpromptError } from '../../errors.js'
import { type Line, toRecords } from './delimited.js'
import { type Dialect, dialectOf, openQuoteLine } from './dialect.js'
import type { DataReader } from './reader.js'

/** CSV after RFC 4180, with whatever delimiter and line ends a file is found to have. Blank lines are skipped. */
export const csvReader: DataReader = {
  name: 'csv',
  description: 'RFC 4180; semicolons, tabs and vertical bars are recognised, and a first line sep=',
  extensions: ['csv'],
  mayLackNames: true,
  async read(input, { columns }) {
    const dialect = dialectOf(await input.text(), ',', input, columns?.length)
    return toRecords(quotedLines(dialect, input.name), input.name, columns)
  },
}

const said: Readonly<Record<string, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'a field that a quote opens, and none closes',
  INVALID_OPENING_QUOTE: 'a quote within a field that does not begin with one',
  CSV_INVALID_CLOSING_QUOTE: 'more behind the quote that closes a field',
}

const behindSpace =
  'a quote opens a field only where it stands right behind the delimiter: take out the space between them, as in "a","b"'

/** Whether a line has a field whose quote stands behind spaces alone, as in `"a", "b"`. */
function isQuotedBehindSpace(text: string, delimiter: string, line: number): boolean {
  const fields = text.split(/\r\n|\r|\n/)[line - 1]?.split(delimiter) ?? []
  return fields.some(field => /^[ \t]+"/.test(field))
}

interface CsvRecord {
  readonly record: readonly string[]
  readonly info: { readonly bytes: number }
}

/**
 * Lines of fields that may stand in quotes.
 * @param relaxed whether a quote within a field that does not begin with one is text
 * @throws GradpromptError `invalid-data` with the line
 */
export function quotedLines({ text, skippedLines, delimiter, lineEnd }: Dialect, path: string, relaxed = false): Line[] {
  const bytes = Buffer.from(text, 'utf8')
  let parsed: CsvRecord[]
  try {
    // With `info` each record comes with its place, which the package's types leave out.
    const options = {
      info: true,
      relax_column_count: true,
      relax_quotes: relaxed,
      skip_empty_lines: true,
      delimiter,
      record_delimiter: lineEnd === '\n' ? ['\r\n', '\n'] : ['\r'],
    }
    parsed = parse(bytes, options) as unknown as CsvRecord[]
  } catch (cause) {
    const { lines = 1, message, code } = cause as CsvError & { lines?: number }
    // The parser names the last line, to which the field goes on.
    const line = code === 'CSV_QUOTE_NOT_CLOSED' ? openQuoteLine(text, delimiter) : lines
    throw new GradpromptError('invalid-data', `${path}:${line + skippedLines} is not CSV`, {
      found: said[code] ?? message,
      expected: 'fields in double quotes where they hold a delimiter, a quote or a line break; "" for a quote',
      ...(code === 'INVALID_OPENING_QUOTE' && isQuotedBehindSpace(text, delimiter, lines) && { hint: behindSpace }),
      cause,
    })
  }
  const newline = lineEnd.charCodeAt(0)
  let number = 1 + skippedLines
  let offset = 0
  const advance = (to: number) => {
    for (; offset < to; offset++) if (bytes[offset] === newline) number++
  }
  return parsed.map(({ record, info }) => {
    while (bytes[offset] === 10 || bytes[offset] === 13) advance(offset + 1)
    const line = { number, fields: record }
    advance(info.bytes)
    return line
  })
}
