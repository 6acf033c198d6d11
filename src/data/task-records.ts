import { GradpromptError } from '../errors.js'
import type { Table } from './readers/reader.js'
import { type DataRecord, missingColumn, shorten } from './records.js'

/** Benchmarks whose files are read into the columns `question` and `answer`. */
export const dataTasks = ['bbh', 'gsm8k'] as const
export type DataTask = (typeof dataTasks)[number]

/** A GSM8K answer: the worked solution, then `#### ` and a number. */
const finalNumber = /^([\s\S]*)#### *(-?\$?(?:\d[\d,]*)?(?:\.\d+)?)\.?\s*$/

/**
 * Gives a table the columns of a benchmark:
 *
 * - `bbh`: `question` and `answer`, which the file of BIG-Bench Hard (Suzgun et al. 2022) calls `input` and `target`;
 * - `gsm8k`: `question`, `answer` (the final number alone, without commas) and `rationale` (what stands before the `####`;
 *   Cobbe et al. 2021).
 *
 * Other columns stay. A table that has these columns already is left as it is.
 * @throws GradpromptError `missing-column`, `invalid-data` when a GSM8K answer has no final number
 */
export function taskTable(table: Table, task: DataTask): Table {
  const records = table.records.map((record, i) => readers[task](record, table.origins[i]!))
  const columns = new Set<string>()
  for (const record of records) for (const column of Object.keys(record)) columns.add(column)
  return { ...table, records, columns: [...columns] }
}

/**
 * The benchmark that a table is for certain. Of BBH: two columns, `input` and `target`. Of GSM8K: every answer ends in `####` and a
 * number.
 */
export function detectTask({ records, columns }: Pick<Table, 'records' | 'columns'>): DataTask | undefined {
  const has = (...names: string[]) => names.every(name => columns.includes(name))
  if (columns.length === 2 && has('input', 'target')) return 'bbh'
  const isWorked = (answer: string | undefined) => answer !== undefined && (finalNumber.exec(answer)?.[2] ?? '') !== ''
  if (has('question', 'answer') && records.every(({ answer }) => isWorked(answer))) return 'gsm8k'
  return undefined
}

/**
 * The benchmark that a file must be meant as: it lacks a column that is needed, and as this benchmark it has it. So nothing that
 * could be read as it stands changes its meaning.
 */
export function guessTask(table: Pick<Table, 'records' | 'columns'>, needed: readonly string[]): DataTask | undefined {
  const missing = needed.filter(column => !table.columns.includes(column))
  if (missing.length === 0) return undefined
  const task = detectTask(table)
  return task !== undefined && missing.every(column => added[task].includes(column)) ? task : undefined
}

const added: Readonly<Record<DataTask, readonly string[]>> = { bbh: ['question', 'answer'], gsm8k: ['rationale'] }

const readers: Readonly<Record<DataTask, (record: DataRecord, origin: string) => DataRecord>> = {
  bbh(record, origin) {
    if (Object.hasOwn(record, 'question') && Object.hasOwn(record, 'answer')) return record
    const { input, target, ...rest } = record
    if (input === undefined || target === undefined)
      throw missingColumn(input === undefined ? 'input' : 'target', Object.keys(record), origin)
    return { question: input, answer: target, ...rest }
  },

  gsm8k(record, origin) {
    const { question, answer, ...rest } = record
    if (question === undefined || answer === undefined)
      throw missingColumn(question === undefined ? 'question' : 'answer', Object.keys(record), origin)
    if (Object.hasOwn(record, 'rationale')) return record
    const [, rationale = '', number = ''] = finalNumber.exec(answer) ?? []
    if (number === '')
      throw new GradpromptError('invalid-data', `${origin} has no final number`, {
        found: `answer: ${shorten(answer.slice(-37))}`,
        expected: 'an answer that ends in #### and a number',
        hint: 'if the answers are plain text, leave data.task out',
      })
    return { question, answer: number.replaceAll(/[,$]/g, ''), rationale: rationale.trimEnd(), ...rest }
  },
}
