import { GradpromptError, nearest } from '../../errors.js'
import { csvReader } from './csv.js'
import { isPacked } from './input.js'
import { jsonLinesReader, jsonReader } from './json.js'
import { parquetReader } from './parquet.js'
import type { DataReader } from './reader.js'
import { tsvReader } from './tsv.js'

/** The registry of data readers: which format a file has by its name, and who reads it. Open to people's own. */

export type { DataInput, DataNotice, DataReader, ReadOptions, Table } from './reader.js'

const readers = new Map<string, DataReader>(
  [tsvReader, csvReader, jsonLinesReader, jsonReader, parquetReader].map(reader => [reader.name, reader]),
)

/** Every reader there is, by its name. */
export const dataReaders: ReadonlyMap<string, DataReader> = readers

/**
 * Adds a reader; files with its endings are then read by it.
 * @throws GradpromptError `invalid-reader` when it is incomplete, or its name or an ending belongs to another
 */
export function registerDataReader(reader: DataReader): void {
  const { name, extensions } = reader
  const refuse = (found: string, expected: string) => {
    throw new GradpromptError('invalid-reader', 'the data reader cannot be registered', { found, expected })
  }
  if (typeof name !== 'string' || name === '' || typeof reader.read !== 'function' || !Array.isArray(extensions))
    refuse('a reader that lacks one of its parts', '{ name, description, extensions, read }')
  if (readers.has(name)) refuse(`the name ${name}, which is taken`, `a name that is none of ${[...readers.keys()].join(', ')}`)
  const taken = extensions.find(extension => readerOf(extension) !== undefined)
  if (taken !== undefined) refuse(`the ending .${taken}, which ${readerOf(taken)!.name} has`, 'endings that no other reader has')
  readers.set(name, reader)
}

const readerOf = (extension: string): DataReader | undefined =>
  [...readers.values()].find(({ extensions }) => extensions.includes(extension))

/** The endings that are known, without the dot. */
export const knownExtensions = (): string[] => [...readers.values()].flatMap(({ extensions }) => extensions)

/** Whether a file's name ends as one of a known format does. */
export const isDataName = (path: string): boolean => readerOf(extensionOf(path)) !== undefined

const extensionOf = (path: string): string => {
  const name = isPacked(path) ? path.slice(0, -'.gz'.length) : path
  return /\.([^./\\]*)$/.exec(name)?.[1]?.toLowerCase() ?? ''
}

/**
 * Who reads a file of this name.
 * @throws GradpromptError `unknown-format`, listing the endings there are
 */
export function readerFor(path: string): DataReader {
  const extension = extensionOf(path)
  const reader = readerOf(extension)
  if (reader !== undefined) return reader
  const known = knownExtensions()
  const meant = nearest(extension, known)
  throw new GradpromptError('unknown-format', `the format of ${path} is not known`, {
    found: extension === '' ? 'a name without an extension' : `.${extension}`,
    expected: `one of ${known.map(ending => `.${ending}`).join(' ')}, each also with .gz behind it`,
    ...(meant === undefined ? {} : { hint: `did you mean .${meant}?` }),
  })
}
