import { isUtf8 } from 'node:buffer'
import { GradpromptError, shellWord } from '../../errors.js'

/** What to say of a file that is not UTF-8: where, what it looks like, and the command that makes UTF-8 of it. It converts nothing. */

/** Bytes around the place that are shown. */
const shown = 16
const blockBytes = 2 ** 20
/** Windows-1252 has no characters for these. */
const unusedInWindows1252 = new Set([0x81, 0x8d, 0x8f, 0x90, 0x9d])

/**
 * The error for bytes that are no UTF-8.
 * @param line number of the line with which the bytes begin
 * @param isFile whether a file of that name holds them, as they are
 */
export function notUtf8(
  name: string,
  bytes: Uint8Array,
  cause: unknown,
  { line = 1, isFile = true }: { readonly line?: number; readonly isFile?: boolean } = {},
): GradpromptError {
  const at = firstBadByte(bytes)
  const number = line + count(bytes.subarray(0, at), 10)
  const column = at - bytes.lastIndexOf(10, Math.max(0, at - 1))
  const byte = `the byte 0x${bytes[at]!.toString(16).toUpperCase().padStart(2, '0')} at byte ${column} of line ${number}`
  // Characters of several bytes before it: the file is UTF-8, and damaged there.
  const isDamaged = bytes.subarray(0, at).some(earlier => earlier >= 0x80)
  const likely = likelyEncoding(bytes)
  const around = new TextDecoder('windows-1252').decode(bytes.subarray(Math.max(0, at - shown), at + shown))
  const options = isDamaged ? '-c -f UTF-8 -t UTF-8' : `-f ${likely} -t UTF-8`
  const command = isFile ? `iconv ${options} ${shellWord(name)} > ${shellWord(converted(name))}` : `iconv ${options}`
  return new GradpromptError('invalid-encoding', `${name} is not UTF-8`, {
    found: isDamaged
      ? `${byte}, behind text that is UTF-8`
      : `${byte}, in ${JSON.stringify(around)} if that is ${likely === 'ISO-8859-1' ? 'Latin-1' : 'Windows-1252'}`,
    expected: 'UTF-8, with or without a byte order mark, or UTF-16 with one',
    hint: isDamaged
      ? `mend that line; ${command} leaves out what is no UTF-8`
      : `${command} makes UTF-8 of it, if that is its encoding; so does saving it anew as UTF-8`,
    cause,
  })
}

/** Bytes at the beginning that are looked at. */
const headBytes = 4096

/**
 * What bytes are that have units of two or four bytes, and no byte order mark of UTF-16 that says so: most characters of a table or of
 * JSON are ASCII, whose other bytes are zeros, all on one side.
 */
export function wideEncoding(bytes: Uint8Array): 'UTF-16LE' | 'UTF-16BE' | 'UTF-32LE' | 'UTF-32BE' | undefined {
  if (bytes.length < 2) return undefined
  const [a, b, c, d] = bytes
  if (a === 0xfe && b === 0xff) return undefined
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 ? 'UTF-32LE' : undefined
  if (a === 0 && b === 0) return (c === 0xfe && d === 0xff) || (c === 0 && d !== 0) ? 'UTF-32BE' : undefined
  const zeros = [0, 0, 0, 0]
  const head = bytes.subarray(0, headBytes)
  for (const [i, byte] of head.entries()) if (byte === 0) zeros[i % 4]!++
  const [first, second, third, fourth] = zeros as [number, number, number, number]
  const few = Math.max(Math.min(8, head.length / 8), head.length / 40)
  if (first === 0 && third > few && fourth > few) return 'UTF-32LE'
  if (first + third === 0 && second + fourth >= few) return 'UTF-16LE'
  return second + fourth === 0 && first + third >= few ? 'UTF-16BE' : undefined
}

/** The error for a file in one of these. */
export function wideText(name: string, encoding: NonNullable<ReturnType<typeof wideEncoding>>, isFile: boolean): GradpromptError {
  const [options, mark] = [
    `-f ${encoding} -t UTF-8`,
    encoding.startsWith('UTF-16') ? ', without the byte order mark that says so' : '',
  ]
  const command = isFile ? `iconv ${options} ${shellWord(name)} > ${shellWord(converted(name))}` : `iconv ${options}`
  return new GradpromptError('invalid-encoding', `${name} is not UTF-8`, {
    found: `zeros in most characters: it looks like ${encoding}${mark}`,
    expected: 'UTF-8, with or without a byte order mark, or UTF-16 with one',
    hint: `${command} makes UTF-8 of it; so does saving it anew as UTF-8`,
  })
}

/** `reviews.csv` to `reviews.utf8.csv`. */
const converted = (name: string) => name.replace(/(\.\w+)?$/, '.utf8$1')

/** Bytes from 0x80 to 0x9F are control characters in Latin-1, which no text has; in Windows-1252 most are dashes and quotes. */
function likelyEncoding(bytes: Uint8Array): 'ISO-8859-1' | 'WINDOWS-1252' {
  return bytes.some(byte => byte >= 0x80 && byte < 0xa0 && !unusedInWindows1252.has(byte)) ? 'WINDOWS-1252' : 'ISO-8859-1'
}

/** Where the longest beginning that is UTF-8 ends. */
function firstBadByte(bytes: Uint8Array): number {
  let good = 0
  for (;;) {
    const end = Math.min(good + blockBytes, bytes.length)
    const whole = end === bytes.length ? end : wholeCharacters(bytes, end)
    if (whole === bytes.length || whole <= good || !isUtf8(bytes.subarray(good, whole))) break
    good = whole
  }
  const start = good
  let bad = Math.min(start + blockBytes, bytes.length)
  while (bad - good > 1) {
    const middle = (good + bad) >> 1
    if (isUtf8(bytes.subarray(start, wholeCharacters(bytes, middle)))) good = middle
    else bad = middle
  }
  return Math.min(wholeCharacters(bytes, good), bytes.length - 1)
}

/** The end, not after `end`, of a character: its first byte has 11 in its highest bits where it has several, and the others 10. */
function wholeCharacters(bytes: Uint8Array, end: number): number {
  let start = end
  while (start > 0 && end - start < 3 && (bytes[start]! & 0xc0) === 0x80) start--
  return bytes[start]! >= 0xc0 ? start : end
}

function count(bytes: Uint8Array, byte: number): number {
  let found = 0
  for (let at = bytes.indexOf(byte); at !== -1; at = bytes.indexOf(byte, at + 1)) found++
  return found
}
