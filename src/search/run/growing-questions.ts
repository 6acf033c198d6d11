import type { DataRecord } from '../../data/readers/records.js'
import { originOf } from '../../data/readers/records.js'
import { GradpromptError } from '../../errors.js'
import type { SearchRow, TokenSpace } from '../space/token-space.js'

/** The questions of a search that makes some itself: those that come up stand behind the others, and whoever has the rows sees them. */
export class GrowingQuestions {
  readonly #records: DataRecord[]
  readonly #rows: SearchRow[]
  readonly #first: number
  readonly #space: TokenSpace
  readonly #room: number

  /**
   * @param records rows of the task, and behind them `grown`: both lists become longer
   * @param room tokens that a row may have around its prompt
   */
  constructor(records: DataRecord[], rows: SearchRow[], grown: number, space: TokenSpace, room: number) {
    this.#records = records
    this.#rows = rows
    this.#first = records.length - grown
    this.#space = space
    this.#room = room
  }

  get count(): number {
    return this.#records.length - this.#first
  }

  get records(): readonly DataRecord[] {
    return this.#records.slice(this.#first)
  }

  /** @throws GradpromptError `row-too-long`, and as `TokenSpace.row` does */
  add(records: readonly DataRecord[]): void {
    for (const record of records) {
      const row = this.#space.row(record, this.#records.length)
      const length = this.#space.lengthAround(row)
      if (length > this.#room)
        throw new GradpromptError('row-too-long', `${originOf(record, row.index)} leaves no room for a prompt`, {
          found: `${length} tokens`,
          expected: `at most ${this.#room}`,
          hint: 'shorten the text in cases.csv, or put - in the place of its label',
        })
      this.#records.push(record)
      this.#rows.push(row)
    }
  }

  /** Takes back what a step that did not end has added. */
  cut(count: number): void {
    this.#records.length = this.#first + count
    this.#rows.length = this.#first + count
  }
}
