import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords, type Look } from '../own-calls.js'
import { Registry } from '../registry.js'
import { humaneval, mbpp } from './code-records.js'
import type { Table } from './readers/reader.js'
import { type DataRecord, missingColumn, shorten } from './readers/records.js'

/** How the rows of a benchmark's files are read: into the columns that its templates name. */
export interface RecordTask {
  readonly name: string
  /**
   * A row as templates take it. One that has these columns already is left as it is.
   * @param origin where the row stands, for messages
   */
  record(row: DataRecord, origin: string): DataRecord
  /** The columns that a file of this benchmark lacks, and has when it is read as one: by these it may be recognised. */
  readonly adds?: readonly string[]
  /** Whether a table is this benchmark's for certain. */
  detect?(table: Pick<Table, 'records' | 'columns'>): boolean
}

/** A GSM8K answer: the worked solution, then `#### ` and a number. */
const finalNumber = /^([\s\S]*)#### *(-?\$?(?:\d[\d,]*)?(?:\.\d+)?)\.?\s*$/

const has = (columns: readonly string[], ...names: string[]) => names.every(name => columns.includes(name))

/** BIG-Bench Hard (Suzgun et al. 2022): `question` and `answer`, which its files call `input` and `target`. */
const bbh: RecordTask = {
  name: 'bbh',
  adds: ['question', 'answer'],
  detect: ({ columns }) => columns.length === 2 && has(columns, 'input', 'target'),
  record(record, origin) {
    if (Object.hasOwn(record, 'question') && Object.hasOwn(record, 'answer')) return record
    const { input, target, ...rest } = record
    if (input === undefined || target === undefined)
      throw missingColumn(input === undefined ? 'input' : 'target', Object.keys(record), origin)
    return { question: input, answer: target, ...rest }
  },
}

/** GSM8K (Cobbe et al. 2021): `question`, `answer` (the final number alone, without commas) and `rationale` (what stands before the `####`). */
const gsm8k: RecordTask = {
  name: 'gsm8k',
  adds: ['rationale'],
  detect({ records, columns }) {
    const isWorked = (answer: string | undefined) => answer !== undefined && (finalNumber.exec(answer)?.[2] ?? '') !== ''
    return has(columns, 'question', 'answer') && records.every(({ answer }) => isWorked(answer))
  },
  record(record, origin) {
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

/** Every benchmark that is built in. */
const builtIn: readonly RecordTask[] = [bbh, gsm8k, humaneval, mbpp]

const aRecord: Look = given =>
  isRecord(given) && Object.values(given).every(value => typeof value === 'string')
    ? undefined
    : {
        found: isRecord(given)
          ? Object.entries(given)
              .map(([name, value]) => `${name}: ${inWords(value)}`)
              .join(', ')
          : inWords(given),
        expected: 'an object of texts by the names of their columns',
        hint: 'String(value) makes a text of a number',
      }

/** Benchmarks by the name of `data.task`; people's own join in. */
export const recordTasks = new Registry<RecordTask>(
  { word: 'task', exports: ['task'], name: 'name', requires: { record: 'a function' }, calls: { looks: { record: aRecord } } },
  builtIn.map((task): [string, RecordTask] => [task.name, task]),
)

/** The name of a benchmark: `bbh`, `gsm8k`, or one of people's own that is loaded. */
export type DataTask = string

/**
 * Gives a table the columns of a benchmark. Other columns stay.
 * @throws GradpromptError `unknown-task`, `missing-column`, `invalid-data` when a GSM8K answer has no final number
 */
export function taskTable(table: Table, task: DataTask): Table {
  const reader = recordTasks.get(task)
  const records = table.records.map((record, i) => reader.record(record, table.origins[i]!))
  const columns = new Set<string>()
  for (const record of records) for (const column of Object.keys(record)) columns.add(column)
  return { ...table, records, columns: [...columns] }
}

/** The benchmark that a table is for certain, as far as the built-in ones can tell. */
export const detectTask = (table: Pick<Table, 'records' | 'columns'>): DataTask | undefined =>
  builtIn.find(({ detect }) => detect?.(table))?.name

/**
 * The benchmark that a file must be meant as: it lacks a column that is needed, and as this benchmark it has it. So nothing that
 * could be read as it stands changes its meaning.
 */
export function guessTask(table: Pick<Table, 'records' | 'columns'>, needed: readonly string[]): DataTask | undefined {
  const missing = needed.filter(column => !table.columns.includes(column))
  if (missing.length === 0) return undefined
  const task = builtIn.find(({ detect }) => detect?.(table))
  return task?.adds !== undefined && missing.every(column => task.adds!.includes(column)) ? task.name : undefined
}
