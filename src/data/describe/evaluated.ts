import { findOverlaps, rowKeys } from '../checks.js'
import type { DataNotice } from '../readers/reader.js'
import type { DataRecord } from '../readers/records.js'
import type { TaskTexts } from '../task-columns.js'

/** What is to be said of rows before they are scored: above all whether a prompt was learned from them. */

/**
 * Rows that a prompt was learned from, among those to be scored. Nothing when its training data are no longer there or no longer read
 * as they did: that is no reason not to score.
 * @param learnedFrom reads the rows
 */
export async function learnedRows(
  learnedFrom: () => Promise<readonly DataRecord[]>,
  records: readonly DataRecord[],
  texts: TaskTexts,
): Promise<DataNotice[]> {
  const keysOf = rowKeys(texts.template, texts.answer)
  try {
    const [overlap] = findOverlaps({ train: await learnedFrom(), scored: records }, keysOf)
    if (overlap === undefined) return []
    const { rows, conflicting } = overlap
    return [
      {
        code: 'overlapping-rows',
        message:
          `${rows} of ${records.length} ${records.length === 1 ? 'row' : 'rows'} to be scored ask what rows that the prompt was learned from ask as well` +
          (conflicting > 0 ? `, ${conflicting} of them with another answer` : ''),
      },
    ]
  } catch {
    return []
  }
}
