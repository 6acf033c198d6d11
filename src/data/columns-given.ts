/** What a call says of the columns of data: their names, where a file has none, or which of them a template means. */

/** `['text', 'label']`, or for a column of the template the one of the data: `{ text: 'review' }`. */
export type ColumnsGiven = readonly string[] | Readonly<Record<string, string>>

export interface ColumnNames {
  /** Of a file without a header. */
  readonly names: readonly string[] | undefined
  /** Column of the template -> column of the data. */
  readonly meant: Readonly<Record<string, string>>
}

export const columnsGiven = (given: ColumnsGiven | undefined): ColumnNames =>
  given === undefined || isList(given) ? { names: given, meant: {} } : { names: undefined, meant: given }

const isList = (given: ColumnsGiven): given is readonly string[] => Array.isArray(given)
