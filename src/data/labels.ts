import { GradpromptError } from '../errors.js'
import { type DataRecord, originOf, shorten } from './records.js'
import { compileTemplate } from './template.js'

const mostLabels = 50

/** The closed set of answers: which column holds the label, and which word stands for each of its values. */
export interface LabelSet {
  readonly column: string
  /** Value in the file -> word in the answer. */
  readonly words: ReadonlyMap<string, string>
  /** The words that differ, in order: the candidates of every row. */
  readonly candidates: readonly string[]
}

/**
 * The label set of a task, or nothing when answers are free text. The label column is the one that `answer` names (of several, the
 * one whose values `labels` knows). Without `labels`, the values of the training records become the set, sorted, when there are
 * at most 50 and each stands for two rows on average: otherwise they are texts, not classes.
 */
export function findLabels(
  answer: string,
  labels: Readonly<Record<string, string>> | undefined,
  records: readonly DataRecord[],
): LabelSet | undefined {
  const { columns } = compileTemplate(answer)
  if (labels !== undefined) {
    const words = new Map(Object.entries(labels))
    const knows = (column: string) => records.some(record => Object.hasOwn(record, column) && words.has(record[column]!))
    const column = columns.find(knows) ?? columns[0]
    if (column === undefined)
      throw new GradpromptError('invalid-config', 'data.labels needs an answer that names the label column', {
        found: `answer: ${shorten(answer)}`,
        expected: 'a {column} in the answer',
      })
    return { column, words, candidates: [...new Set(words.values())] }
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
