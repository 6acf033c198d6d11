import { GradpromptError } from '../../errors.js'
import { changedRecord, columnValue, type DataRecord, originOf } from '../readers/records.js'
import { lastTurns } from '../texts/conversation.js'
import type { Encoder } from '../texts/encoder.js'

/** How a row that is too long is shortened: the end of its longest text goes, or the first turns of its conversation. */

export interface Shortening {
  /** The size that the record has now; 0 is the least. */
  readonly size: number
  /** The record with less of it. */
  to(size: number): DataRecord
}

/**
 * @param columns those that may be cut
 * @param conversations those among them that hold conversations: of these whole turns go, a system turn and the last one never
 */
export function shorteningOf(
  record: DataRecord,
  index: number,
  columns: readonly string[],
  conversations: readonly string[],
): Shortening | undefined {
  const sizes = columns.map(column => columnValue(record, column, index).length)
  const column = columns[sizes.indexOf(Math.max(...sizes))]
  if (column === undefined) return undefined
  const value = columnValue(record, column, index)
  if (conversations.includes(column)) {
    const { most, keep } = lastTurns(value, originOf(record, index))
    return { size: most, to: size => changedRecord(record, index, { [column]: keep(size) }) }
  }
  return { size: value.length, to: size => changedRecord(record, index, { [column]: beginning(value, size) }) }
}

/** Characters that a token is reckoned to have at least, where a vocabulary has none that is longer. */
const fewCharacters = 16

/** A text with more characters than this has more tokens than there is room for: none has more characters than the longest. */
export const mostCharacters = (
  room: number,
  { longestToken = Number.POSITIVE_INFINITY }: Pick<Encoder, 'longestToken'>,
): number => room * Math.max(fewCharacters, longestToken)

/** The largest size below `tooMuch` that fits; 0 does. */
export function largestFit(tooMuch: number, fits: (size: number) => boolean): number {
  let [size, above] = [0, tooMuch]
  while (above - size > 1) {
    const middle = (size + above) >> 1
    if (fits(middle)) size = middle
    else above = middle
  }
  return size
}

/** The first `size` UTF-16 units, less a half of a surrogate pair. */
function beginning(text: string, size: number): string {
  const last = text.charCodeAt(size - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? size - 1 : size)
}

export const rowTooLong = (origin: string, found: string, contextLength: number, hint: string): GradpromptError =>
  new GradpromptError('row-too-long', `${origin} is longer than the model's context`, {
    found,
    expected: `at most ${contextLength}`,
    hint,
  })
