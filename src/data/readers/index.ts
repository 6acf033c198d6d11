import { didYouMean, GradpromptError } from '../../errors.js'
import { inWords } from '../../own-calls.js'
import { Registry } from '../../registry.js'
import { csvReader } from './csv.js'
import { isPacked } from './input.js'
import { jsonLinesReader, jsonReader } from './json.js'
import { parquetReader } from './parquet.js'
import type { DataReader } from './reader.js'
import { readerCalls } from './reader-calls.js'
import { tsvReader } from './tsv.js'

/** The registry of data readers: which format a file has by its name, and who reads it. Open to people's own. */

export type { DataInput, DataNotice, DataReader, ReadOptions, Table } from './reader.js'

/** Every reader that is built in. A new one is a file beside `csv.ts`, and a word here. */
const builtIn: readonly DataReader[] = [tsvReader, csvReader, jsonLinesReader, jsonReader, parquetReader]

/** Every reader by its name; people's own join in, and read the files with their endings. */
export const dataReaders = new Registry<DataReader>(
  {
    word: 'reader',
    exports: ['reader'],
    name: 'name',
    requires: { extensions: 'a list', read: 'a function' },
    calls: readerCalls,
    prepare: reader => {
      const other = reader.extensions.find(ending => typeof ending !== 'string' || !/^[^.\s/\\A-Z]+$/.test(ending))
      if (other === undefined && reader.extensions.length > 0) return reader
      throw new GradpromptError('invalid-reader', `the reader ${reader.name} reads no file`, {
        found: `extensions: ${reader.extensions.length === 0 ? 'an empty list' : inWords(other)}`,
        expected: 'endings of file names without the dot, in lower case, such as stanzas',
      })
    },
    complete: given => (typeof given === 'object' && given !== null ? { description: 'a format of your own', ...given } : given),
  },
  builtIn.map((reader): [string, DataReader] => [reader.name, reader]),
)

/** Of people's own the last that was given. */
const readerOf = (extension: string): DataReader | undefined =>
  [...dataReaders.own.map(([, reader]) => reader), ...builtIn].find(({ extensions }) => extensions.includes(extension))

/** The endings that are known, without the dot. */
export const knownExtensions = (): string[] => dataReaders.values().flatMap(({ extensions }) => extensions)

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
  const hint = didYouMean(extension, known, ending => `.${ending}`)
  throw new GradpromptError('unknown-format', `the format of ${path} is not known`, {
    found: extension === '' ? 'a name without an extension' : `.${extension}`,
    expected: `one of ${known.map(ending => `.${ending}`).join(' ')}, each also with .gz behind it`,
    ...(hint !== undefined && { hint }),
  })
}
