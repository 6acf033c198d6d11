import { takeRows } from '../../data/memory-rows.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { type DataRecord, originOf } from '../../data/readers/records.js'
import { drawExamples } from '../../data/rows/examples.js'
import { limitRecords } from '../../data/split.js'
import { type DataSource, type Part, parts, readTask, type TaskRows } from '../../data/task.js'
import { namedColumns } from '../../data/task-columns.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import { needsOf, noRows, type SearchConfig, taskConfig } from '../config.js'
import { refuseUnprivate } from './private-rows.js'

/** The rows of a search: disjoint parts, drawn by seed. */
export interface SearchTask {
  /** Training rows that prompts are scored on. */
  readonly questions: readonly DataRecord[]
  /** Training rows that the first prompt shows; none of them is a question. */
  readonly shots: readonly DataRecord[]
  /** A row with the columns of the task: a question, or where there are none yet one that says nothing. */
  readonly shape: DataRecord
  readonly dev: readonly DataRecord[]
  readonly test: readonly DataRecord[]
  readonly labels: LabelSet | undefined
  readonly sources: Readonly<Partial<Record<Part, DataSource>>>
  /** Rows of a split file that were left out, since they stand in a part that is judged. */
  readonly repeated: number
  /** What was guessed about the data, and what may be wrong with them. */
  readonly notices: readonly DataNotice[]
}

const NAMED_ROWS = 3

/**
 * Reads a search's data and draws its questions.
 * @throws GradpromptError `overlapping-rows`, `too-many-shots`, as `refuseUnprivate` does, and as `readTask` does
 */
export async function readSearchTask(config: SearchConfig, rows: TaskRows = {}): Promise<SearchTask> {
  const columns = namedColumns(taskConfig(config, ''))
  const isBare = config.data.train === noRows
  const given = isBare ? { ...rows, train: await takeRows(bareRows(config, columns), 'train') } : rows
  const { labels, sources, train: read, scored, test: tested, notices: heard } = await readTask(taskConfig(config, ''), given)
  const all = isBare ? [] : read
  // Nobody has written the rows that these are of.
  const said = isBare ? [] : heard
  const { train, dev, test } = withoutRepeats({ train: all, dev: scored, test: tested }, sources, columns)
  const shots = needsOf(config).shots?.count ?? 0
  const shown = new Set(drawExamples(train, labels, shots, config.seed))
  if (shown.size > 0 && shown.size >= train.length)
    throw new GradpromptError('too-many-shots', 'search.shots leaves no training row to score prompts on', {
      found: `${shots} shots of ${train.length} training rows`,
      expected: 'fewer shots than rows',
    })
  const left = train.filter((_, i) => !shown.has(i))
  const questions = limitRecords(left, config.search.questions, config.seed)
  const shape = questions[0] ?? read[0]!
  const task = { questions, shots: [...shown].map(i => train[i]!), shape, dev, test, labels, sources }
  refuseOverlap(task, columns)
  // Rows in two parts are left out or refused here.
  const notices = [...said.filter(({ code }) => code !== 'overlapping-rows'), ...refuseUnprivate(config, task)]
  const repeated = all.length + scored.length + tested.length - train.length - dev.length - test.length
  return { ...task, repeated, notices }
}

/** Rows in the place of those that there are none of yet: a label each. */
function bareRows({ data: { labels = {} } }: SearchConfig, columns: readonly string[]): Record<string, string>[] {
  const [answers, ...texts] = [...columns].reverse()
  return Object.keys(labels).map(value => ({ ...Object.fromEntries(texts.map(name => [name, 'text'])), [answers!]: value }))
}

const keyOf = (record: DataRecord, columns: readonly string[]) => JSON.stringify(columns.map(column => record[column]))

/**
 * A file may hold a row twice. Where its rows are split, a copy counts for the part that is judged: test before dev, dev before train.
 * (Rows that two files share are the user's to sort out.)
 */
function withoutRepeats(
  all: Readonly<Record<Part, readonly DataRecord[]>>,
  sources: SearchTask['sources'],
  columns: readonly string[],
): Record<Part, readonly DataRecord[]> {
  const isSplit = (part: Part) => part === 'train' || sources[part] === undefined
  const left = { ...all }
  const seen = new Set<string>()
  for (const part of [...parts].reverse()) {
    if (!isSplit(part)) continue
    left[part] = left[part].filter(record => !seen.has(keyOf(record, columns)))
    for (const record of left[part]) seen.add(keyOf(record, columns))
  }
  return left
}

/** A row that two parts share would make one of them worthless: prompts are chosen on dev, and judged on test. */
function refuseOverlap(task: Omit<SearchTask, 'repeated' | 'notices'>, columns: readonly string[]): void {
  const all = { train: [...task.questions, ...task.shots], dev: task.dev, test: task.test }
  const seen = new Map<string, { part: Part; origin: string }>()
  const pairs: string[] = []
  for (const part of parts)
    for (const [i, record] of all[part].entries()) {
      const key = keyOf(record, columns)
      const other = seen.get(key)
      if (other === undefined) seen.set(key, { part, origin: originOf(record, i) })
      else if (other.part !== part) pairs.push(`${part} ${originOf(record, i)} = ${other.part} ${other.origin}`)
    }
  if (pairs.length === 0) return
  throw new GradpromptError('overlapping-rows', 'train, dev and test share rows', {
    found: pairs.slice(0, NAMED_ROWS).join('; ') + (pairs.length > NAMED_ROWS ? `; and ${pairs.length - NAMED_ROWS} more` : ''),
    expected: 'parts without a row in common',
    hint: 'take the rows out of one file, or set parts of train aside with data.split',
  })
}
