import type { DataFile } from '../read.js'
import { isNull } from '../readers/records.js'
import { conversationColumn } from '../texts/conversation.js'
import { type Lengths, lengthsOf } from './describe.js'

/** What the columns of a file hold, before anything says what they are for. */
export interface ColumnDescription {
  readonly name: string
  readonly kind: 'text' | 'numbers' | 'lists or objects' | 'conversations'
  /** Values that differ. */
  readonly different: number
  readonly empty: number
  readonly nulls: number
  /** Rows that do not have the column, nulls not counted. */
  readonly absent: number
  /** Characters of a value. */
  readonly length?: Lengths
  /** The most frequent values, where there are few. */
  readonly values?: readonly { readonly value: string; readonly rows: number }[]
}

const fewValues = 20
const isNumber = (text: string) => text.trim() !== '' && Number.isFinite(Number(text))

export function describeColumns({
  records,
  columns,
  structured,
}: Pick<DataFile, 'records' | 'columns' | 'structured'>): ColumnDescription[] {
  return columns.map(name => {
    const values = records.flatMap(record => (Object.hasOwn(record, name) ? [record[name]!] : []))
    const counts = new Map<string, number>()
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
    const nulls = records.filter(record => isNull(record, name)).length
    const kind = !structured.includes(name)
      ? values.length > 0 && values.every(isNumber)
        ? 'numbers'
        : 'text'
      : conversationColumn(new Map([[name, values.slice(0, 100)]])) === undefined
        ? 'lists or objects'
        : 'conversations'
    const ranked = [...counts].map(([value, rows]) => ({ value, rows })).sort((a, b) => b.rows - a.rows)
    return {
      name,
      kind,
      different: counts.size,
      empty: values.filter(value => value.trim() === '').length,
      nulls,
      absent: records.length - values.length - nulls,
      ...(values.length > 0 && { length: lengthsOf(values.map(value => value.length)) }),
      ...(kind !== 'conversations' && counts.size <= fewValues && counts.size * 2 <= values.length && { values: ranked }),
    }
  })
}
