import { didYouMean, GradpromptError } from '../../errors.js'
import { columnValue, type DataRecord, isNull, originOf, shorten } from '../readers/records.js'
import type { AnswerEnd } from '../texts/answer-end.js'
import { type LabelSet, labelWord } from '../texts/labels.js'
import type { SoftVocabulary } from '../texts/soft-tokens.js'
import type { Template } from '../texts/template.js'

/** What rows are and what they are made by. How they are made stands in `rows.ts`. */

export interface Segment {
  /** `end`: what ends the answer, learned as the label is. */
  readonly role: 'context' | 'label' | 'end'
  readonly ids: number[]
  /** What the ids read as, without the special tokens that the tokenizer adds. */
  readonly text: string
}

export interface TrainingRow {
  readonly index: number
  /** `[length]`: the joint text's ids, without the soft prompt. */
  readonly ids: number[]
  /** `[length]`: `ids[i]` where the loss is taken, -100 elsewhere. */
  readonly labels: number[]
  /** The ids in order, cut at the border of the answer; an empty context is left out. */
  readonly segments: Segment[]
  /** Whether text was cut to fit the context. */
  readonly truncated: boolean
  /** Index of its task, where a column tells tasks apart. */
  readonly task?: number
  /** Where the task has preferences: whether people liked the answer, or preferred it to the other. */
  readonly liked?: boolean
}

export interface ScoringRow {
  readonly index: number
  /** The ids that all candidates begin with. */
  readonly context: number[]
  /**
   * What each candidate adds to them, at least one id: the words of the label set, class after class. Without a label set: the row's own
   * answer, and in pairs the one that was rejected behind it. `task`: where answers belong to tasks.
   */
  readonly candidates: { readonly label: string; readonly ids: number[]; readonly task?: number }[]
  /** Index into the label set's candidates; -1 when the row has no label. */
  readonly target: number
  /** Whether text was cut to fit the context. */
  readonly truncated: boolean
  /** The label set's candidates that the row's task has, by their index; undefined: all. */
  readonly among?: readonly number[]
  /** Index of its task, where a column tells tasks apart. */
  readonly task?: number
  /** Where single answers have thumbs: whether people liked it. */
  readonly liked?: boolean
}

export interface RowOptions {
  readonly template: Template
  readonly answer: string
  /** In pairs the other answer of each record. Both then have the same text before them, cut alike and parted from them at the same place. */
  readonly other?: string | undefined
  /** Whether people preferred `answer` to the other, or the column that says whether they liked it. */
  readonly liked?: boolean | { readonly column: string } | undefined
  /** The closed set of answers; without one, answers are free text. */
  readonly labels?: LabelSet | undefined
  /** The positions that the model has, soft prompt included. */
  readonly contextLength: number
  readonly numVirtualTokens: number
  /** Cut the text of rows that are too long. */
  readonly truncate?: boolean
  /**
   * How answers end. It is learned and scored with free text; with labels where one's tokens begin another's, and then with all of them:
   * what is compared is the probability of the whole answer.
   */
  readonly end?: AnswerEnd | undefined
  /** Somebody has named the end: it is learned with labels that need none, too. */
  readonly isEndNamed?: boolean
  /** The soft tokens of the template; without them the words that these start from stand in their places. */
  readonly soft?: SoftVocabulary | undefined
  /** Several tasks. */
  readonly tasks?: RowTasks | undefined
}

/** Tasks whose rows stand in one file. */
export interface RowTasks {
  /** The column that names a row's task; undefined where answers belong to tasks, and not rows. */
  readonly column?: string | undefined
  /** Which task a label word belongs to: each candidate of a row is then scored under its own. */
  readonly ofAnswer?: ((word: string) => number) | undefined
  readonly names: readonly string[]
  /** Rows whose column is empty are of no task, and so is this share of the rows of a step, drawn anew each time that they are learned from. */
  readonly genericShare?: number | undefined
  /** Of a task the labels that its rows are scored among; by default all. */
  readonly labels?: Readonly<Record<string, readonly string[]>> | undefined
}

/**
 * The task of a row that is learned from: the one that its column names, or that its own answer belongs to.
 * @throws GradpromptError as `taskIndex` and `labelWord` do
 */
export function rowTask(
  record: DataRecord,
  index: number,
  { tasks, labels }: Pick<RowOptions, 'tasks' | 'labels'>,
): { readonly task?: number } {
  if (tasks === undefined) return {}
  if (tasks.ofAnswer === undefined) {
    return isOfNone(record, index, tasks) ? {} : { task: taskIndex(record, index, tasks) }
  }
  const word = labels && labelWord(labels, record, index)
  return word === undefined ? {} : { task: tasks.ofAnswer(word) }
}

/** Whether a row says that it belongs to no task, where rows may. */
export function isOfNone(record: DataRecord, index: number, { column = '', genericShare }: RowTasks): boolean {
  if (genericShare === undefined) return false
  return !Object.hasOwn(record, column) || isNull(record, column) || columnValue(record, column, index) === ''
}

/**
 * Which of a prompt's tasks a row belongs to.
 * @throws GradpromptError `unknown-task`, `missing-column`
 */
export function taskIndex(record: DataRecord, index: number, tasks: RowTasks): number {
  const column = tasks.column ?? ''
  const name = columnValue(record, column, index)
  const task = tasks.names.indexOf(name)
  if (task >= 0) return task
  const hint = didYouMean(name, tasks.names)
  throw new GradpromptError('unknown-task', `${originOf(record, index)} belongs to a task that the prompt does not know`, {
    found: `${column}: ${shorten(name)}`,
    expected: `one of ${tasks.names.map(shorten).join(', ')}`,
    ...(hint !== undefined && { hint }),
  })
}

/**
 * The places, among all labels, of those that a row's task has.
 * @returns undefined where the task has them all
 * @throws GradpromptError `invalid-config` for a word that is no label
 */
export function taskCandidates(
  record: DataRecord,
  index: number,
  tasks: RowTasks,
  { candidates }: LabelSet,
): number[] | undefined {
  const words = tasks.column === undefined ? undefined : tasks.labels?.[columnValue(record, tasks.column, index)]
  const places = words?.map(word => candidates.indexOf(word))
  const unknown = places?.indexOf(-1) ?? -1
  if (unknown < 0) return places
  throw new GradpromptError('invalid-config', 'method.taskLabels has a word that data.labels does not have', {
    found: shorten(words![unknown]!),
    expected: `words among ${candidates.map(shorten).join(', ')}`,
  })
}

/** A candidate of a row, with the task that it is scored under where answers belong to tasks. */
export const candidateOf = (label: string, ids: number[], tasks: RowTasks | undefined): ScoringRow['candidates'][number] => ({
  label,
  ids,
  ...(tasks?.ofAnswer && { task: tasks.ofAnswer(label) }),
})
