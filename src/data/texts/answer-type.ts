import { type DataRecord, shorten } from '../readers/records.js'

/**
 * Whether answers are classes, each a value that many rows share, or free text. Nothing in a file says it; what is found here from the
 * values is said to the user, who can decide it (`answerType`).
 */

export const answerTypes = ['auto', 'classes', 'text'] as const
export type AnswerType = (typeof answerTypes)[number]

/** Few values; beyond them classes have to look like names and stand in more rows. */
const few = 50
const many = 500
/** Rows that a value has on average: of classes at least, of many classes, and of classes whatever they look like. */
const [leastRows, leastRowsOfMany, plentyOfRows] = [2, 3, 8]

/** How many records have each value of a column. */
export function countValues(records: readonly DataRecord[], column: string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const record of records)
    if (Object.hasOwn(record, column)) counts.set(record[column]!, (counts.get(record[column]!) ?? 0) + 1)
  return counts
}

/**
 * Judges the answers of the training rows. They are free text when a value stands for fewer than two rows on average, or when more than a
 * tenth of the values are sentences and none stands for many rows. Up to 50 values are classes otherwise; up to 500, when each
 * stands for three rows and they are not numbers.
 * @param counts rows of each value, at least one
 */
export function judgeAnswers(
  counts: ReadonlyMap<string, number>,
  column: string,
): { readonly areClasses: boolean; readonly message: string } {
  const values = [...counts.keys()]
  const rows = [...counts.values()].reduce((a, b) => a + b, 0)
  const each = rows / values.length
  const sentences = values.filter(isSentence).length
  const found = `"${column}" has ${values.length} ${values.length === 1 ? 'value' : 'values'} in ${rows} rows`
  const text = (because: string) => ({
    areClasses: false,
    message: `answers are taken for free text: ${found}${because}. answerType: classes scores each row among these values instead`,
  })
  if (each < leastRows) return text(', most of them once')
  if (sentences > values.length / 10 && each < plentyOfRows) return text(`, of which ${sentences} read like sentences`)
  if (values.length > few) {
    if (values.length > many || sentences > 0) return text('')
    if (each < leastRowsOfMany) return text(', few of them often')
    if (values.every(value => /^[-+$€£\d.,\s%]+$/.test(value))) return text(', all of them numbers')
  }
  const shown = [...values].sort().slice(0, 5).map(shorten).join(', ')
  const more = values.length > 5 ? `, and ${values.length - 5} more` : ''
  return {
    areClasses: true,
    message: `answers are taken for ${values.length} ${values.length === 1 ? 'class' : 'classes'} (${shown}${more}): ${found}. answerType: text learns them as free text instead`,
  }
}

/** The rule of versions without `answerType`, which their runs keep: at most 50 values that stand for two rows on average. */
export function judgeAsBefore(counts: ReadonlyMap<string, number>): boolean {
  const rows = [...counts.values()].reduce((a, b) => a + b, 0)
  return counts.size <= few && counts.size * 2 <= rows
}

const isSentence = (value: string): boolean => {
  const words = value.trim().split(/\s+/).length
  return words >= 5 || value.length > 60 || value.trim().includes('\n') || (words >= 2 && /[.!?]$/.test(value.trim()))
}
