import { GradpromptError, shellWord } from '../../errors.js'
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

/**
 * What a reader sees of a label: without case and spaces at its ends, and however its characters are written. Composed letters and their
 * parts are one, as are full and half width; what shows nothing (zero width, variation selectors, control characters) is none.
 */
export const seenLabel = (value: string): string =>
  value
    .normalize('NFKC')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu, '')
    .trim()
    .toLowerCase()

/** A value in quotes, in which what nobody sees stands by its code. */
export function shownLabel(value: string): string {
  const isPlain = value === value.normalize('NFC')
  const unseen = isPlain ? /[\p{Default_Ignorable_Code_Point}\p{Z}]/gu : /[\p{Default_Ignorable_Code_Point}\p{Z}\p{M}]/gu
  const code = (character: string) =>
    character === ' ' ? ' ' : `\\u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`
  return shorten(value).replaceAll(unseen, code)
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
  const origin = originOf(record, index)
  const known = [...labels.words.keys()]
  const alike = known.find(other => seenLabel(other) === seenLabel(value))
  const add = 'add it to data.labels, or mend the row'
  throw new GradpromptError('unknown-label', `${origin} has a label outside the set`, {
    found: `${labels.column}: ${shownLabel(value)}`,
    expected: `one of ${known.map(shownLabel).join(', ')}`,
    hint:
      alike !== undefined
        ? `it is ${shownLabel(alike)} but for case, spaces, or how its characters are written: ${add}`
        : // Only the first line of a file is mistaken for a row.
          `${add}${index === 0 && /:1$/.test(origin) ? `; where that line is a header, ${headerHint(labels.column)}` : ''}`,
  })
}

const headerHint = (column: string) =>
  `leave data.columns out, or say which of its columns are meant (evaluate --columns ${shellWord(`${column}=NAME`)}, with the others)`
