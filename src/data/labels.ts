import { GradpromptError } from '../errors.js'
import { type DataRecord, originOf, shorten } from './records.js'
import { compileTemplate } from './template.js'
import type { Aggregate, Verbalizer } from './verbalizer.js'

const mostLabels = 50

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

/**
 * The label set of a task, or nothing when answers are free text. The label column is the one that `answer` names (of several, the
 * one whose values `labels` knows). Without `labels`, the values of the training records become the set, sorted, when there are
 * at most 50 and each stands for two rows on average: otherwise they are texts, not classes.
 *
 * @param aggregate how the words of a class make its score, where it has several
 */
export function findLabels(
  answer: string,
  labels: LabelWords | undefined,
  records: readonly DataRecord[],
  aggregate: Aggregate = 'mean',
): LabelSet | undefined {
  const { columns } = compileTemplate(answer)
  if (labels !== undefined) {
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
  const [column] = columns
  if (column === undefined || columns.length > 1) return undefined
  const values = new Set<string>()
  for (const record of records) {
    const value = Object.hasOwn(record, column) ? record[column] : undefined
    if (value !== undefined) values.add(value)
    if (values.size > mostLabels) return undefined
  }
  if (values.size === 0 || values.size * 2 > records.length) return undefined
  const candidates = [...values].sort()
  return { column, words: new Map(candidates.map(value => [value, value])), candidates }
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
    hint: 'add it to data.labels, or mend the row',
  })
}
