import { GradpromptError } from '../../errors.js'
import { quotedLines } from './csv.js'
import { type Line, toRecords } from './delimited.js'
import { type Dialect, dialectOf } from './dialect.js'
import type { DataReader } from './reader.js'

/**
 * Fields between tabs. A quote is text, as corpora have it, unless the file shows that it was written with fields in quotes, as
 * spreadsheets do it: by quotes doubled within such a field, by every field standing in quotes, or by lines that only fit together so.
 */
export const tsvReader: DataReader = {
  name: 'tsv',
  description: 'fields between tabs; quotes are text, unless the file shows that it quotes its fields',
  extensions: ['tsv'],
  mayLackNames: true,
  async read(input, { columns }) {
    const dialect = dialectOf(await input.text(), '\t', input, columns?.length)
    if (dialect.delimiter !== '\t') return toRecords(quotedLines(dialect, input.name), input.name, columns)
    const plain = plainLines(dialect)
    const quoted = mayBeQuoted(plain) ? linesInQuotes(dialect, input.name) : undefined
    if (quoted !== undefined)
      input.announce({ code: 'quotes', message: `${input.name} has fields in quotes, which are read without them` })
    return toRecords(quoted ?? plain, input.name, columns)
  },
}

/** Every quote is text. Blank lines are skipped. */
function plainLines({ text, skippedLines, lineEnd }: Dialect): Line[] {
  return text
    .split(lineEnd)
    .map((line, i) => ({ number: i + 1 + skippedLines, text: line.endsWith('\r') ? line.slice(0, -1) : line }))
    .filter(line => line.text.trim() !== '')
    .map(line => ({ number: line.number, fields: line.text.split('\t') }))
}

const isEven = (lines: readonly Line[]) => lines.every(({ fields }) => fields.length === lines[0]!.fields.length)
const isInQuotes = (field: string) => field.length >= 2 && field.startsWith('"') && field.endsWith('"')

/** `"say ""hi"""`: in quotes, and every quote within is doubled. */
function hasDoubledQuotes(field: string): boolean {
  if (!isInQuotes(field)) return false
  const inner = field.slice(1, -1)
  const rest = inner.replaceAll('""', '')
  return rest.length < inner.length && !rest.includes('"')
}

function mayBeQuoted(lines: readonly Line[]): boolean {
  if (lines.some(({ fields }) => fields.some(hasDoubledQuotes))) return true
  if (lines.length > 0 && lines.every(({ fields }) => fields.every(isInQuotes))) return true
  return !isEven(lines) && lines.some(({ fields }) => fields.some(field => field.startsWith('"')))
}

/** The lines with their fields out of quotes; nothing when they do not fit together that way. */
function linesInQuotes(dialect: Dialect, path: string): Line[] | undefined {
  try {
    const lines = quotedLines(dialect, path, true)
    return isEven(lines) ? lines : undefined
  } catch (error) {
    if (error instanceof GradpromptError) return undefined
    throw error
  }
}
