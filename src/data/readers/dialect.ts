import { GradpromptError } from '../../errors.js'
import type { DataInput } from './reader.js'

/**
 * What a file of delimited fields does not say about itself: what stands between fields and what ends a line. Found from its first
 * records, quotes respected. It knows nothing of records' names.
 */
export interface Dialect {
  /** The text without a line that says `sep=`; `skippedLines` is 1 where there was one. */
  readonly text: string
  readonly skippedLines: number
  readonly delimiter: string
  readonly lineEnd: '\n' | '\r'
}

const delimiters = [',', ';', '\t', '|'] as const
const names: Readonly<Record<string, string>> = { ',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': 'vertical bars' }
const lookedAt = 200

/**
 * The dialect of a file. Its format's own delimiter stands wherever the first records agree on a number of fields with it, or with no
 * other; anything else that is found is announced.
 * @param fields how many a record has, where that is known
 * @throws GradpromptError `invalid-data` when a first line `sep=` names something that cannot delimit fields
 */
export function dialectOf(
  whole: string,
  usual: ',' | '\t',
  input: Pick<DataInput, 'name' | 'announce'>,
  fields?: number,
): Dialect {
  const lineEnd = lineEndOf(whole)
  if (lineEnd === '\r')
    input.announce({ code: 'line-ends', message: `the lines of ${input.name} end in a carriage return alone, and are read so` })
  const declared = /^sep=([^\r\n]*)(?:\r\n|\r|\n|$)/i.exec(whole)
  if (declared !== null) {
    const [line, delimiter = ''] = declared
    if ([...delimiter].length !== 1 || delimiter === '"')
      throw new GradpromptError('invalid-data', `${input.name}:1 names a delimiter that cannot be one`, {
        found: JSON.stringify(delimiter),
        expected: 'one character, such as sep=;',
      })
    input.announce({
      code: 'delimiter',
      message: `${input.name}: fields are divided by ${named(delimiter)}, as its first line (sep=) says`,
    })
    return { text: whole.slice(line.length), skippedLines: 1, delimiter, lineEnd }
  }
  const agrees = (delimiter: string, fields: number | undefined) => {
    const counts = fieldCounts(whole, delimiter, lineEnd)
    const [first = 0] = counts
    return first >= 2 && (fields === undefined || first === fields) && counts.every(count => count === first)
  }
  const fitting = (fields?: number) =>
    agrees(usual, fields) ? usual : delimiters.find(delimiter => delimiter !== usual && agrees(delimiter, fields))
  // Where the file has another number of fields than was said, that is what is wrong with it.
  const found = fitting(fields) ?? (fields !== undefined && fields >= 2 ? fitting() : undefined)
  if (found !== undefined && found !== usual)
    input.announce({
      code: 'delimiter',
      message: `${input.name}: fields are divided by ${named(found)}: its first records have equally many fields by these, and not by ${named(usual)}`,
    })
  return { text: whole, skippedLines: 0, delimiter: found ?? usual, lineEnd }
}

/** The line, counted from 1, in which a quote opens a field and none closes it. */
export function openQuoteLine(text: string, delimiter: string): number {
  let [line, began, isOpen, startsField] = [1, 0, false, true]
  for (let i = 0; i < text.length; i++) {
    const unit = text[i]!
    if (unit === '\n' || (unit === '\r' && text[i + 1] !== '\n')) line++
    if (isOpen) isOpen = unit !== '"'
    else if (unit === '"' && startsField) [isOpen, began] = [true, line]
    // The second of a doubled pair goes on with the field.
    else if (unit === '"' && text[i - 1] === '"') isOpen = true
    startsField = !isOpen && (unit === '\n' || unit === '\r' || unit === delimiter)
  }
  return began
}

const named = (delimiter: string) => names[delimiter] ?? JSON.stringify(delimiter)

/** What ends the first line; a carriage return alone counts where no line feed follows it. */
function lineEndOf(text: string): '\n' | '\r' {
  let isQuoted = false
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 34) isQuoted = !isQuoted
    else if (isQuoted) continue
    else if (unit === 10) return '\n'
    else if (unit === 13) return text.charCodeAt(i + 1) === 10 ? '\n' : '\r'
  }
  return '\n'
}

/** Fields of each of the first records that are not blank; a last one that the text does not end is counted as it stands. */
function fieldCounts(text: string, delimiter: string, lineEnd: string): number[] {
  const counts: number[] = []
  const [end, separator] = [lineEnd.charCodeAt(0), delimiter.charCodeAt(0)]
  let [fields, isQuoted, isBlank, startsField] = [1, false, true, true]
  for (let i = 0; i < text.length && counts.length < lookedAt; i++) {
    const unit = text.charCodeAt(i)
    if (isQuoted) {
      if (unit === 34) isQuoted = false
      continue
    }
    if (unit === end) {
      if (!isBlank) counts.push(fields)
      ;[fields, isBlank, startsField] = [1, true, true]
    } else if (unit === separator) {
      fields++
      ;[isBlank, startsField] = [false, true]
    } else if (unit === 34 && (startsField || text.charCodeAt(i - 1) === 34)) {
      // A quote opens a field at its beginning, or goes on after the first of a doubled pair.
      ;[isQuoted, isBlank, startsField] = [true, false, false]
    } else if (unit !== 13) [isBlank, startsField] = [false, false]
  }
  if (!isBlank && counts.length < lookedAt) counts.push(fields)
  return counts
}
