import { unknownName } from '../errors.js'
import { changedRecord, type DataRecord } from './readers/records.js'

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

/** The name in the data of a column of the template. */
export const nameInData = ({ meant }: Pick<ColumnNames, 'meant'>, column: string): string =>
  Object.hasOwn(meant, column) ? meant[column]! : column

/** @throws GradpromptError `invalid-option` where a name is given for a column that the template does not have */
export function refuseUnmeant({ meant }: Pick<ColumnNames, 'meant'>, needed: readonly string[]): void {
  const unknown = Object.keys(meant).find(name => !needed.includes(name))
  if (unknown === undefined) return
  throw unknownName('invalid-option', 'columns names a column that the template does not have', unknown, needed)
}

/**
 * The records with the columns of the template, under whose names the data have them.
 * @param first place of the first record in the data
 */
export function withMeant(
  records: readonly DataRecord[],
  { meant }: Pick<ColumnNames, 'meant'>,
  first = 0,
): readonly DataRecord[] {
  const names = Object.entries(meant)
  if (names.length === 0) return records
  return records.map((record, i) => {
    const values = names.flatMap(([name, column]) => (Object.hasOwn(record, column) ? [[name, record[column]!]] : []))
    return changedRecord(record, first + i, Object.fromEntries(values))
  })
}

/** The same of a table, whose columns those of the template then are as well. */
export function tableWithMeant<Table extends MeantTable>(table: Table, given: Pick<ColumnNames, 'meant'>): Table & MeantTable {
  const under = (names: readonly string[]) => [
    ...new Set([...names, ...Object.keys(given.meant).filter(name => names.includes(given.meant[name]!))]),
  ]
  const { records, columns, structured } = table
  return { ...table, records: withMeant(records, given), columns: under(columns), structured: under(structured) }
}

interface MeantTable {
  readonly records: readonly DataRecord[]
  readonly columns: readonly string[]
  readonly structured: readonly string[]
}
