import type { DataRecord } from './records.js'

/** The interface of a data reader: one format's way from bytes to records of text. It knows no format. */

/** Something that was guessed or mended while data were read: said to the user, never a reason to stop. */
export interface DataNotice {
  /** Kebab-case, as an error's. */
  readonly code: string
  readonly message: string
}

/** What a reader is given: a file or bytes in memory, already unpacked where the name ends in `.gz`. */
export interface DataInput {
  /** What messages call it: the path, or a name. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  bytes(): Promise<Uint8Array>
  /** The bytes `[start, end)`, without reading the rest where that can be helped. */
  slice(start: number, end: number): Promise<Uint8Array>
  /**
   * UTF-8, or UTF-16 that begins with a byte order mark (which is announced).
   * @throws GradpromptError `invalid-encoding`, `data-too-large`
   */
  text(): Promise<string>
  /** Tells the user what the reader has taken for granted. */
  announce(notice: DataNotice): void
}

export interface ReadOptions {
  /** Names of the columns of a file without a header; in formats that name their columns, those to pick. */
  readonly columns?: readonly string[] | undefined
}

/** What a reader hands over: `origins[i]` says where `records[i]` stands, for messages. */
export interface Table {
  readonly columns: string[]
  readonly records: DataRecord[]
  readonly origins: readonly string[]
  /** Columns in which some row holds a list or an object; their text is JSON. */
  readonly structured?: readonly string[]
  /** `values[i]`: the row that `records[i]` was made of, where the format has values of more kinds than text. */
  readonly values?: readonly object[]
  /** `nulls[i]`: the columns of `records[i]` that the file gives as null, and that it therefore lacks. */
  readonly nulls?: readonly (readonly string[])[]
}

/**
 * One data format. One of your own reads the files with its endings, once it is named by `data.readers` or given to `extend`.
 *
 * `read` throws a `GradpromptError` (`invalid-data`, with the line or row) for what it cannot read, whatever the bytes are; it checks
 * sizes before it allocates by them.
 */
export interface DataReader {
  /** Lower case, such as `csv`. */
  readonly name: string
  /** For the list of formats: what is read, in a few words. */
  readonly description: string
  /** Endings of file names, without the dot, in lower case. */
  readonly extensions: readonly string[]
  /** Whether a file may leave out the names of its columns, so that `columns` names them instead of picking some. */
  readonly mayLackNames?: boolean
  read(input: DataInput, options: ReadOptions): Table | Promise<Table>
}
