/** The interface of a row format: rows, as they come, to bytes. It knows no format. */

/** Where bytes go. A promise that is pending says that no more can be taken yet. */
export interface Sink {
  write(bytes: string | Uint8Array): Promise<void>
}

export interface Column {
  readonly name: string
  readonly type: 'text' | 'number'
}

/** A row, as a table has it and as an object. */
export interface WrittenRow {
  /** One for each column; nothing where the row lacks it. */
  readonly cells: readonly (string | number | undefined)[]
  readonly object: object
}

export interface RowWriter {
  write(rows: readonly WrittenRow[]): Promise<void>
  /** Writes what is held back, and what stands at the end. */
  end(): Promise<void>
}

export interface RowFormat {
  /** Lower case, such as `csv`. */
  readonly name: string
  /** Endings of file names, without the dot. */
  readonly extensions: readonly string[]
  /** Whether it is bytes that no terminal should see. */
  readonly isBinary: boolean
  /** Whether all rows have the same columns, which are known before the first. */
  readonly isTable: boolean
  open(sink: Sink, columns: readonly Column[]): Promise<RowWriter>
}
