import { GradpromptError } from '../../errors.js'
import type { DataNotice } from '../readers/reader.js'
import { type DataRecord, originOf, shorten } from '../readers/records.js'
import { type AnswerType, countValues, judgeAnswers, judgeAsBefore } from './answer-type.js'
import { compileTemplate } from './template.js'
import type { Aggregate, Verbalizer } from './verbalizer.js'

// More would make scoring a row as costly as a long text.
const mostClasses = 1000

/** The closed set of answers: which column holds the label, and which word stands for each of its values. */
export interface LabelSet {
  readonly column: string
  /** Value in the file -> word in the answer. */
  readonly words: ReadonlyMap<string, string>
  /** The words that differ, in order: the candidates of every row. */
  readonly candidates: readonly string[]
  /** Where a class has several words; the candidates are then the first of each. */
  readonly verbalizer?: Verbalizer
}

/** Value in the file -> word in the answer, or several words of which the first is the class's name. */
export type LabelWords = Readonly<Record<string, string | readonly string[]>>

export interface LabelOptions {
  /** The label words, where they are given: answers are then classes. */
  readonly labels?: LabelWords | undefined
  readonly answerType?: AnswerType | null | undefined
  /** How the words of a class make its score, where it has several. */
  readonly aggregate?: Aggregate | undefined
}

/**
 * The label set of a task, or nothing when answers are free text. The label column is the one that `answer` names (of several, the
 * one whose values `labels` knows). Without `labels` the values of the records become the set, sorted, when `answerType` says so or,
 * left to itself, finds them to be classes (see `judgeAnswers`).
 * @throws GradpromptError `invalid-config`, `too-many-classes`
 */
export function findLabels(
  answer: string,
  labels: LabelWords | undefined,
  records: readonly DataRecord[],
  aggregate?: Aggregate,
  answerType: AnswerType | null = 'auto',
): LabelSet | undefined {
  return decideLabels(answer, records, { labels, answerType, aggregate }).labels
}

/** As `findLabels`, with what is to be said when neither `labels` nor `answerType` decided it. */
export function decideLabels(
  answer: string,
  records: readonly DataRecord[],
  { labels, answerType = 'auto', aggregate = 'mean' }: LabelOptions,
): { readonly labels: LabelSet | undefined; readonly notice?: DataNotice } {
  const { columns } = compileTemplate(answer)
  if (labels !== undefined) return { labels: givenLabels(answer, columns, labels, records, aggregate) }
  const [column] = columns
  if (answerType === 'text') return { labels: undefined }
  if (column === undefined || columns.length > 1) {
    if (answerType === 'classes')
      throw new GradpromptError('invalid-config', 'answerType: classes needs an answer that names the label column alone', {
        found: `answer: ${shorten(answer)}`,
        expected: 'one {column} in the answer',
      })
    return { labels: undefined }
  }
  const counts = countValues(records, column)
  if (counts.size === 0) return { labels: undefined }
  const judged = judgeAnswers(counts, column)
  const areClasses = answerType === 'classes' || (answerType === null ? judgeAsBefore(counts) : judged.areClasses)
  if (areClasses && counts.size > mostClasses)
    throw new GradpromptError('too-many-classes', `"${column}" has too many values for classes`, {
      found: String(counts.size),
      expected: `at most ${mostClasses}`,
      hint: 'answerType: text learns the answers as free text',
    })
  const candidates = [...counts.keys()].sort()
  const set = areClasses ? { column, words: new Map(candidates.map(value => [value, value])), candidates } : undefined
  return { labels: set, ...(answerType === 'auto' && { notice: { code: 'labels', message: judged.message } }) }
}

function givenLabels(
  answer: string,
  columns: readonly string[],
  labels: LabelWords,
  records: readonly DataRecord[],
  aggregate: Aggregate,
): LabelSet {
  const words = new Map(Object.entries(labels).map(([value, given]) => [value, wordsOf(given)[0]!]))
  const knows = (column: string) => records.some(record => Object.hasOwn(record, column) && words.has(record[column]!))
  const column = columns.find(knows) ?? columns[0]
  if (column === undefined)
    throw new GradpromptError('invalid-config', 'data.labels needs an answer that names the label column', {
      found: `answer: ${shorten(answer)}`,
      expected: 'a {column} in the answer',
    })
  const several = Object.values(labels).some(given => wordsOf(given).length > 1)
  return {
    column,
    words,
    candidates: [...new Set(words.values())],
    ...(several && { verbalizer: { aggregate, words: wordsOfClasses(labels) } }),
  }
}

/** What `findLabels` would make the same set of. */
export const labelWordsOf = ({ words, verbalizer }: Pick<LabelSet, 'words' | 'verbalizer'>): LabelWords =>
  Object.fromEntries([...words].map(([value, name]) => [value, verbalizer?.words[name] ?? name]))

/** The label words that a prompt file was learned with, all of each class. */
export const promptLabels = (file: {
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly verbalizer?: Verbalizer | undefined
}): LabelWords | undefined =>
  file.labels &&
  labelWordsOf({ words: new Map(Object.entries(file.labels)), ...(file.verbalizer && { verbalizer: file.verbalizer }) })

const wordsOf = (given: string | readonly string[]) => (typeof given === 'string' ? [given] : given)

/** @throws GradpromptError `invalid-config` when a word stands for two classes */
function wordsOfClasses(labels: LabelWords): Verbalizer['words'] {
  const classes = new Map<string, string[]>()
  const owners = new Map<string, string>()
  for (const words of Object.values(labels).map(wordsOf)) {
    const name = words[0]!
    for (const word of words) {
      const owner = owners.get(word)
      if (owner !== undefined && owner !== name)
        throw new GradpromptError('invalid-config', 'data.labels has a word that stands for two classes', {
          found: `${shorten(word)}: ${shorten(owner)} and ${shorten(name)}`,
          expected: 'words that each tell one class from the others',
        })
      if (owner === undefined) classes.set(name, [...(classes.get(name) ?? []), word])
      owners.set(word, name)
    }
  }
  return Object.fromEntries(classes)
}

/**
 * The word that stands for a record's label.
 * @throws GradpromptError `unknown-label` with the record's place and the known values
 */
export function labelWord(labels: LabelSet, record: DataRecord, index: number): string | undefined {
  const value = Object.hasOwn(record, labels.column) ? record[labels.column] : undefined
  if (value === undefined) return undefined
  const word = labels.words.get(value)
  if (word !== undefined) return word
  throw new GradpromptError('unknown-label', `${originOf(record, index)} has a label outside the set`, {
    found: `${labels.column}: ${shorten(value)}`,
    expected: `one of ${[...labels.words.keys()].map(shorten).join(', ')}`,
    // Only the first line of a file is mistaken for a row.
    hint: `add it to data.labels, or mend the row${index === 0 ? `; where that line is a header, ${headerHint(labels.column)}` : ''}`,
  })
}

const headerHint = (column: string) =>
  `leave data.columns out, or say which of its columns are meant (evaluate --columns ${column}=NAME, with the others)`
