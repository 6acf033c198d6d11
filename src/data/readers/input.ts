import { open, readFile, stat } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { GradpromptError } from '../../errors.js'
import { notUtf8, wideEncoding, wideText } from './encoding.js'
import type { DataInput, DataNotice } from './reader.js'

/** Files and bytes as data readers are given them: unpacked, decoded, with their size checked first. It knows no format. */

// A JavaScript string holds half a gigabyte at most.
const largestText = 500 * 1024 * 1024
const largestUnpacked = largestText

/** Bytes in memory, with a name whose ending tells the format. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

export interface OpenInput extends DataInput {
  readonly notices: readonly DataNotice[]
}

export const isPacked = (name: string) => /\.gz$/i.test(name)

/**
 * Opens a file or bytes for a reader. What ends in `.gz` is unpacked in memory.
 * @throws GradpromptError `file-not-found`, `data-too-large`, `invalid-data` when what ends in `.gz` is not gzip
 */
export async function openInput(source: string | NamedBytes): Promise<OpenInput> {
  const name = typeof source === 'string' ? source : source.name
  if (typeof source !== 'string') return inMemory(name, isPacked(name) ? unpack(source.bytes, name) : source.bytes)
  const size = await sizeOf(source)
  if (isPacked(name)) {
    refuseLarge(name, size)
    return inMemory(name, unpack(await readFile(source), name))
  }
  return input(name, size, {
    isFile: true,
    bytes: () => readFile(source),
    async slice(start, end) {
      const file = await open(source)
      try {
        const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start))
        await file.read(bytes, 0, bytes.length, start)
        return bytes
      } finally {
        await file.close()
      }
    },
  })
}

const inMemory = (name: string, bytes: Uint8Array): OpenInput =>
  input(name, bytes.length, {
    bytes: () => Promise.resolve(bytes),
    slice: (start, end) => Promise.resolve(bytes.slice(start, end)),
  })

function input(
  name: string,
  size: number,
  { bytes, slice, isFile = false }: Pick<DataInput, 'bytes' | 'slice'> & { readonly isFile?: boolean },
): OpenInput {
  const notices: DataNotice[] = []
  return {
    name,
    size,
    bytes,
    slice,
    notices,
    announce: notice => notices.push(notice),
    async text() {
      refuseLarge(name, size)
      const content = await bytes()
      const encoding = encodingOf(content)
      const text = decode(content, encoding, name, isFile)
      if (encoding !== 'utf-8')
        notices.push({ code: 'encoding', message: `${name} is UTF-16 by its byte order mark, and read as that` })
      return text
    },
  }
}

function decode(bytes: Uint8Array, encoding: string, name: string, isFile: boolean): string {
  const wide = wideEncoding(bytes)
  if (wide !== undefined) throw wideText(name, wide, isFile)
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes)
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause
    if (encoding === 'utf-8') throw notUtf8(name, bytes, cause, { isFile })
    throw new GradpromptError('invalid-encoding', `${name} is not UTF-16, as its byte order mark says`, {
      found: 'bytes that are not UTF-16',
      expected: 'UTF-8, with or without a byte order mark, or UTF-16 with one',
      hint: 'save the file as UTF-8',
      cause,
    })
  }
}

function unpack(bytes: Uint8Array, name: string): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: largestUnpacked })
  } catch (cause) {
    if (cause instanceof RangeError) throw tooLarge(name, `more than ${largestUnpacked} bytes when unpacked`)
    throw new GradpromptError('invalid-data', `${name} cannot be unpacked`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a gzip file, as its name says',
      cause,
    })
  }
}

/** @throws GradpromptError `file-not-found` */
export async function sizeOf(path: string): Promise<number> {
  try {
    const found = await stat(path)
    if (found.isFile()) return found.size
  } catch (cause) {
    throw unreadable(path, cause)
  }
  throw new GradpromptError('file-not-found', `the data file ${path} is not a file`, { expected: 'a file' })
}

/**
 * A file's text, in UTF-8 or as its byte order mark says.
 * @param size of the whole file
 * @param options.length of the beginning that is read, in bytes; by default all
 * @param options.isExtended whether UTF-8 is to be written behind it: it is then read as that alone
 * @throws GradpromptError `invalid-encoding`, `data-too-large`
 */
export async function readText(
  path: string,
  size: number,
  { isExtended = false, length = size }: { readonly isExtended?: boolean; readonly length?: number } = {},
): Promise<string> {
  refuseLarge(path, size)
  const bytes = (await readFile(path)).subarray(0, length)
  return decode(bytes, isExtended ? 'utf-8' : encodingOf(bytes), path, true)
}

const encodingOf = ([first, second]: Uint8Array) =>
  first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8'

function refuseLarge(name: string, size: number): void {
  if (size > largestText) throw tooLarge(name, `${size} bytes`)
}

const tooLarge = (name: string, found: string) =>
  new GradpromptError('data-too-large', `${name} is too large to be read as text`, {
    found,
    expected: `at most ${largestText} bytes`,
    hint: 'split the file, or store it as .parquet',
  })

/** What could not be read of data, under its name. */
export const unreadable = (name: string, cause: unknown): GradpromptError =>
  new GradpromptError('file-not-found', `cannot read the data file ${name}`, {
    found: cause instanceof Error ? cause.message : String(cause),
    expected: 'a file',
    hint: 'paths are relative to the working directory',
    cause,
  })
