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
