import { GradpromptError } from '../../errors.js'
import { shorten } from './records.js'

/**
 * JSON to values and back to text, with every digit of integers beyond 2^53, which a JavaScript number would round. Between the two
 * such an integer is a text that begins with a mark of its own. It knows nothing of rows.
 */

// From the private use area; a text that holds it all the same is not marked.
const mark = '\u{f8ff}integer:'
const marked = new RegExp(`^${mark}-?\\d+$`)

/**
 * The value of a JSON text, in which integers beyond 2^53 are marked texts for `printValue`.
 * @param line where the text begins in its file, counted from 1
 * @throws GradpromptError `invalid-data` with the line
 */
export function parseExactly(text: string, path: string, line: number): unknown {
  const value = parseJson(text, path, line)
  return /\d{16}/.test(text) && !text.includes(mark) ? JSON.parse(markIntegers(text)) : value
}

/** Puts integers that a number cannot hold in quotes, behind the mark. The text is known to be JSON. */
function markIntegers(text: string): string {
  const pieces: string[] = []
  const numbers = /"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g
  let done = 0
  for (let found = numbers.exec(text); found !== null; found = numbers.exec(text)) {
    const [token] = found
    if (token === '"') {
      numbers.lastIndex = endOfString(text, found.index + 1)
      continue
    }
    if (!/^-?\d+$/.test(token) || Number.isSafeInteger(Number(token))) continue
    pieces.push(text.slice(done, found.index), `"${mark}${token}"`)
    done = found.index + token.length
  }
  return [...pieces, text.slice(done)].join('')
}

/** The place behind the quote that ends a string. */
function endOfString(text: string, from: number): number {
  let at = from
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

/**
 * A value as text: a text as it is, all else as JSON prints it, dates in ISO 8601, integers with all their digits.
 * @param place what holds the value, for messages
 * @throws GradpromptError `invalid-data` when it cannot be printed
 */
export function printValue(value: unknown, place: string): string {
  if (typeof value === 'string') return marked.test(value) ? value.slice(mark.length) : value
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString()
  try {
    const text = JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? mark + String(inner) : inner))
    if (text === undefined) return String(value)
    return text.includes(mark) ? text.replaceAll(new RegExp(`"${mark}(-?\\d+)"`, 'g'), '$1') : text
  } catch (cause) {
    throw new GradpromptError('invalid-data', `${place} cannot be printed`, { cause })
  }
}

/** @throws GradpromptError `invalid-data` with the line */
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

/** The value of a text that may be JSON, such as a column's that holds lists or objects in some rows; a text that is none is itself. */
export function valueOfText(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return text
  try {
    return parseExactly(text, '', 1)
  } catch {
    return text
  }
}

/** A value in a few words, for messages. */
export function describeValue(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return shorten(value)
  if (typeof value !== 'object') return `the ${typeof value} ${String(value)}`
  const keys = Object.keys(value)
  const more = keys.length > 3 ? `, and ${keys.length - 3} more` : ''
  return keys.length === 0 ? 'an empty object' : `an object with ${keys.slice(0, 3).map(shorten).join(', ')}${more}`
}
