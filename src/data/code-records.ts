import { GradpromptError } from '../errors.js'
import { valueOfText } from './readers/json-text.js'
import { type DataRecord, missingColumn } from './readers/records.js'
import type { RecordTask } from './task-records.js'

/** Rows of tasks whose answers are programs: `question`, `answer`, `tests` (a program that runs behind the answer), and `prefix` before it. */

/** @throws GradpromptError `missing-column` */
function needed(record: DataRecord, column: string, origin: string): string {
  const value = record[column]
  if (value === undefined) throw missingColumn(column, Object.keys(record), origin)
  return value
}

const isRead = (record: DataRecord) => Object.hasOwn(record, 'question') && Object.hasOwn(record, 'tests')

/** HumanEval (Chen et al. 2021): `task_id`, `prompt`, `entry_point`, `canonical_solution`, and `test` that defines `check`. */
export const humaneval: RecordTask = {
  name: 'humaneval',
  record(record, origin) {
    if (isRead(record)) return record
    const prompt = needed(record, 'prompt', origin)
    const tests = `${needed(record, 'test', origin)}\n\ncheck(${needed(record, 'entry_point', origin)})`
    return { ...record, question: prompt, answer: record.canonical_solution ?? '', prefix: prompt, tests }
  },
}

/** MBPP (Austin et al. 2021): `text` (sanitized: `prompt`), `code`, `test_list`; `shown` are the tests as a prompt shows them. */
export const mbpp: RecordTask = {
  name: 'mbpp',
  record(record, origin) {
    if (isRead(record)) return record
    const question = record.text ?? needed(record, 'prompt', origin)
    const shown = lines(needed(record, 'test_list', origin), 'test_list', origin)
    const before = [lines(record.test_imports ?? '[]', 'test_imports', origin), record.test_setup_code ?? '']
    const tests = [...before, shown].filter(part => part !== '').join('\n')
    return { ...record, question, answer: record.code ?? '', shown, tests }
  },
}

/** A list of lines, as a file of JSON gives it. */
function lines(text: string, column: string, origin: string): string {
  const value = valueOfText(text)
  if (Array.isArray(value) && value.every(line => typeof line === 'string')) return value.join('\n')
  throw new GradpromptError('invalid-data', `${origin}: ${column} is no list of texts`, {
    found: text.slice(0, 60),
    expected: 'a list such as ["assert f(1) == 2"]',
  })
}
