import { join } from 'node:path'
import { readRecords } from '../../data/read.js'
import { changedRecord, type DataRecord, originOf } from '../../data/readers/records.js'
import { rowFormatFor } from '../../data/writers/index.js'
import { textOfRows } from '../../data/writers/text.js'
import { GradpromptError } from '../../errors.js'
import { exists } from '../../files.js'
import { ownCommand } from '../../own-command.js'
import { replaceText } from '../../store/atomic.js'
import type { CaseBook, WrittenCase } from '../moves/writer.js'
import { type CaseColumns, ownColumns } from '../writing/case-columns.js'

/**
 * `cases.csv` in a run's folder: the questions that a search has made, with the columns of its template and its answer, so that it can be the
 * training rows of another run. A person fills its labels in; what stands there is never made again.
 */

/** What stands in the place of a label where a text is of no use. */
export const NO_USE = '-'

export class CaseFile implements CaseBook {
  readonly #path: string
  readonly #folder: string
  readonly #columns: CaseColumns
  readonly #add: (records: readonly DataRecord[]) => void
  readonly #say: (code: string, message: string) => void

  /**
   * @param add takes questions in
   * @param say hears of batches that nothing came of
   */
  constructor(
    folder: string,
    columns: CaseColumns,
    add: (records: readonly DataRecord[]) => void,
    say: (code: string, message: string) => void,
  ) {
    this.#path = join(folder, 'cases.csv')
    this.#folder = folder
    this.#columns = columns
    this.#add = add
    this.#say = say
  }

  async texts(): Promise<string[]> {
    return (await this.#read()).map(row => row[this.#columns.text]!).filter(text => text.trim() !== '')
  }

  async keep(batch: number, write: () => Promise<readonly WrittenCase[]>): Promise<number> {
    // Rows that a person has added were asked for by nobody: they are none of the texts that are made.
    const known = (await this.#read()).filter(row => row.batch === String(batch) && row.asked !== '').length
    if (known > 0) return known
    const { text, labels } = this.#columns
    const written = await write()
    const rows = written.map(one => ({ [text]: one.text, [labels.column]: '', batch: String(batch), asked: one.asked }))
    if (rows.length > 0) await this.#write([...(await this.#read()), ...rows])
    else this.#say('no-cases', `batch ${batch}: no text that is new and of use was written, so that there is no new question`)
    return rows.length
  }

  async settle(
    batch: number,
    label?: (texts: readonly string[]) => Promise<readonly (string | undefined)[]>,
  ): Promise<{ readonly added: number; readonly left: number }> {
    const { text, labels } = this.#columns
    const read = await this.#read()
    // Whoever adds a row leaves its batch empty: it is of the one at hand, and stays so when the search goes on.
    let rows = read.map((row, i) => (row.batch === '' ? changedRecord(row, i, { batch: String(batch) }) : row))
    if (rows.some((row, i) => row !== read[i])) await this.#write(rows)
    const isOwn = (row: DataRecord) => row.batch === String(batch)
    const unsaid = rows.filter(row => isOwn(row) && row[labels.column]!.trim() === '')
    if (unsaid.length > 0 && label === undefined) throw this.#labelsNeeded(unsaid.length, rows.filter(isOwn).length)
    if (unsaid.length > 0) {
      const said = await label!(unsaid.map(row => row[text]!))
      if (said.every(word => word === undefined))
        this.#say(
          'cases-left-out',
          `batch ${batch}: the judge named no class for any of the texts that had no label (${said.length}); they are left out, with ${NO_USE} in ${this.#path}`,
        )
      const valueFor = (word: string | undefined) => [...labels.words].find(([, own]) => own === word)?.[0] ?? NO_USE
      rows = rows.map(row => {
        const place = unsaid.indexOf(row)
        return place < 0 ? row : { ...row, [labels.column]: valueFor(said[place]) }
      })
      await this.#write(rows)
    }
    const settled = rows.filter(isOwn)
    const records = settled.flatMap(row => {
      const value = this.#valueIn(row)
      return value === undefined ? [] : [{ [text]: row[text]!, [labels.column]: value }]
    })
    this.#add(records)
    return { added: records.length, left: settled.length - records.length }
  }

  /** The value of a row's label, of which people may also write the word. @throws GradpromptError `unknown-label` */
  #valueIn(row: DataRecord): string | undefined {
    const { labels, text } = this.#columns
    const said = row[labels.column]!.trim()
    if (said === NO_USE) return undefined
    const pairs = [...labels.words]
    const exact = pairs.find(([value]) => value === said) ?? pairs.find(([, word]) => word === said)
    if (exact !== undefined) return exact[0]
    const alike = pairs.filter(names => names.some(name => name.toLowerCase() === said.toLowerCase()))
    const classes = new Set(alike.map(([, word]) => word))
    if (classes.size === 1) return alike[0]![0]
    throw new GradpromptError('unknown-label', `${this.#path} has a label outside the set`, {
      found: `${JSON.stringify(said)}${classes.size > 1 ? `, which may be ${[...classes].join(' or ')},` : ''} of ${JSON.stringify(row[text]!.slice(0, 60))}`,
      expected: `one of ${labels.candidates.join(', ')}, or ${NO_USE} for a text that is of no use`,
      hint: `mend it, then ${ownCommand`resume ${this.#folder}`}`,
    })
  }

  #labelsNeeded(unsaid: number, all: number): GradpromptError {
    const { labels } = this.#columns
    return new GradpromptError('labels-needed', 'the search waits for your labels, and goes on behind them', {
      found: `${unsaid} of ${all} new texts without a label in ${this.#path}`,
      expected: `in its column "${labels.column}" one of ${labels.candidates.join(', ')}, or ${NO_USE} for a text that is of no use`,
      hint: `fill them in, in any editor or spreadsheet, and then: ${ownCommand`resume ${this.#folder}`}`,
      exitCode: 1,
    })
  }

  async #read(): Promise<DataRecord[]> {
    if (!(await exists(this.#path))) return []
    const { text, labels } = this.#columns
    const { records } = await readRecords(this.#path, { needed: [text, labels.column, ...ownColumns] })
    for (const name of [text, labels.column, 'batch'])
      if (records.some(record => record[name] === undefined))
        throw new GradpromptError('run-corrupt', `${this.#path} cannot be gone on with`, {
          found: `no column "${name}"`,
          expected: `the columns ${[text, labels.column, ...ownColumns].join(', ')}, as they were written`,
          hint: 'put the line with their names back',
        })
    return records.flatMap((record, i) => {
      // Lines that a spreadsheet has left behind.
      if (Object.values(record).every(value => value.trim() === '')) return []
      if (record[text]!.trim() === '' && record[labels.column]!.trim() !== NO_USE)
        throw this.#wrongRow(originOf(record, i), {
          found: `no text in the column "${text}"`,
          expected: `the text that the label is of, or ${NO_USE} in the place of the label`,
        })
      const batch = record.batch!.trim()
      // A spreadsheet may have made 1.0 of 1.
      const number = /^0*([1-9]\d*)(?:[.,]0*)?$/.exec(batch)?.[1]
      if (number === undefined && batch !== '')
        throw this.#wrongRow(originOf(record, i), {
          found: `batch: ${JSON.stringify(batch)}`,
          expected: 'the number that was written there; of a row that you have added, nothing',
        })
      return [record.batch === (number ?? '') ? record : changedRecord(record, i, { batch: number ?? '' })]
    })
  }

  #wrongRow(line: string, { found, expected }: { readonly found: string; readonly expected: string }): GradpromptError {
    return new GradpromptError('run-corrupt', `${line} cannot be gone on with`, {
      found,
      expected,
      hint: `mend it, then ${ownCommand`resume ${this.#folder}`}`,
    })
  }

  async #write(rows: readonly DataRecord[]): Promise<void> {
    const names = [this.#columns.text, this.#columns.labels.column, ...ownColumns]
    const columns = names.map(name => ({ name, type: 'text' as const }))
    const cells = rows.map(row => ({ cells: names.map(name => row[name] ?? ''), object: row }))
    await replaceText(this.#path, await textOfRows(rowFormatFor(this.#path), columns, cells))
  }
}
