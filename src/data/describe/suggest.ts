import { GradpromptError } from '../../errors.js'
import { ownCommand } from '../../own-command.js'
import { type DataFile, readRecords } from '../read.js'
import type { NamedBytes } from '../readers/input.js'
import { valueOfText } from '../readers/json-text.js'
import { recordTasks } from '../task-records.js'
import { conversationColumn } from '../texts/conversation.js'
import { pathsWithin, textAt } from '../texts/paths.js'
import { usualColumns } from '../texts/preferences.js'
import type { Template } from '../texts/template.js'

/** What a file's columns are meant for, by their names and what they hold: a template and an answer to begin with. */

export interface Suggestion {
  readonly template: Template
  readonly answer: string
  /** What the file is taken for. */
  readonly kind: string
  /** Answers that are texts, however few different ones there are; without it they decide. */
  readonly answerType?: 'text'
  /** Whether it is taken without being asked: the data leave no choice. */
  readonly certain: boolean
}

/** Kinds of data by the names of their columns: those that one has, what stands before the answer, and the answer. */
const kinds: readonly {
  readonly kind: string
  readonly has: readonly string[]
  readonly template: (has: (column: string) => boolean) => string
  readonly answer: string
  readonly answerType?: 'text'
}[] = [
  {
    kind: 'preferences (chosen and rejected answers), from both of which train.loss: { type: dpo } learns',
    has: [usualColumns.prompt, usualColumns.chosen, usualColumns.rejected],
    template: () => '{prompt}\n',
    answer: '{chosen}',
    answerType: 'text',
  },
  {
    kind: 'instructions',
    has: ['instruction', 'output'],
    template: has => `{instruction}\n${has('input') ? '{input}\n' : ''}Answer:`,
    answer: ' {output}',
  },
  {
    kind: 'questions about a text (SQuAD)',
    has: ['question', 'answers'],
    template: has => `${has('context') ? '{context}\n' : ''}Question: {question}\nAnswer:`,
    answer: ' {answers.text[0]}',
  },
  { kind: 'questions', has: ['question', 'answer'], template: () => 'Question: {question}\nAnswer:', answer: ' {answer}' },
  { kind: 'prompts', has: ['prompt', 'completion'], template: () => '{prompt}', answer: '{completion}' },
  { kind: 'inputs', has: ['input', 'output'], template: () => '{input}\nAnswer:', answer: ' {output}' },
  { kind: 'inputs', has: ['input', 'target'], template: () => '{input}\nAnswer:', answer: ' {target}' },
]

const textNames = ['text', 'sentence', 'review', 'content', 'message', 'title', 'question', 'body']
const labelNames = ['label', 'category', 'class', 'intent', 'sentiment', 'target', 'topic', 'rating']

/** What a file is taken for; nothing when its columns say nothing. */
export function suggestTask({
  columns,
  structured,
  records,
}: Pick<DataFile, 'columns' | 'structured' | 'records'>): Suggestion | undefined {
  const first = records.slice(0, 100)
  const values = new Map(
    structured.map(column => [column, first.flatMap(record => (Object.hasOwn(record, column) ? [record[column]!] : []))]),
  )
  const conversation = conversationColumn(values)
  const { prompt, chosen, rejected } = usualColumns
  const isConversations = (column: string) => conversationColumn(new Map([[column, values.get(column) ?? []]])) !== undefined
  if (isConversations(chosen) && isConversations(rejected)) {
    const asked = isConversations(prompt) ? prompt : chosen
    return {
      kind: `preferences in conversations ({${chosen}} and {${rejected}})`,
      template: [{ role: 'conversation', content: `{${asked}}` }],
      answer: `{${chosen}.answer}`,
      answerType: 'text',
      certain: true,
    }
  }
  if (conversation !== undefined)
    return {
      kind: `conversations in {${conversation}}`,
      template: [{ role: 'conversation', content: `{${conversation}}` }],
      answer: `{${conversation}.answer}`,
      certain: true,
    }
  const has = (column: string) => columns.includes(column)
  // People write the names of columns as they like: `Text`, `LABEL`.
  const named = (name: string) => columns.find(column => column.trim().toLowerCase() === name)
  const known = kinds.find(kind => kind.has.every(has))
  if (known !== undefined) {
    const { has: _, ...found } = known
    return { ...found, template: known.template(has), certain: false }
  }
  const label = firstOf(labelNames, named) ?? (columns.length === 2 ? columns[1] : undefined)
  if (label === undefined) return undefined
  const textNamed = (name: string) => (named(name) === label ? undefined : named(name))
  const text = firstOf(textNames, textNamed) ?? longestText(label, { columns, structured, records: first })
  return text === undefined
    ? undefined
    : { kind: 'texts and labels', template: `{${text}}\n${capital(label)}:`, answer: ` {${label}}`, certain: false }
}

/** What a list of names is found as first. */
function firstOf(names: readonly string[], find: (name: string) => string | undefined): string | undefined {
  for (const name of names) {
    const found = find(name)
    if (found !== undefined) return found
  }
  return undefined
}

/** The column with the longest values, or the path to them where they stand within lists or objects. */
function longestText(label: string, { columns, structured, records }: Pick<DataFile, 'columns' | 'structured' | 'records'>) {
  const lengthOf = (name: string) => records.reduce((sum, record) => sum + (record[name]?.length ?? 0), 0)
  const [column] = columns.filter(name => name !== label).sort((a, b) => lengthOf(b) - lengthOf(a))
  if (column === undefined || !structured.includes(column)) return column
  const value = records.flatMap(record => (Object.hasOwn(record, column) ? [valueOfText(record[column]!)] : []))[0]
  const within = pathsWithin(value, column)
  return within.map(path => ({ path, length: textAt(value, path)?.length ?? 0 })).sort((a, b) => b.length - a.length)[0]?.path
}

const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)

const isNames = (value: unknown): value is string[] => Array.isArray(value) && value.every(name => typeof name === 'string')

/** The part of a config's input that is looked at. */
interface Texts {
  readonly template?: unknown
  readonly answer?: unknown
  readonly data?: { readonly train?: unknown; readonly columns?: unknown; readonly task?: unknown } | undefined
}

/**
 * A config with the template and the answer that its training data leave no choice about: those of conversations. Everything else that
 * is missing stays missing, for whoever parses it.
 * @param train the training rows, where they are in memory
 * @throws GradpromptError `missing-template` with what the columns suggest; as `readRecords` does
 */
export async function completeTexts<Input extends Texts>(input: Input, train?: NamedBytes): Promise<Input> {
  const { data, template, answer } = input
  if (template !== undefined || typeof data !== 'object' || data === null || typeof data.train !== 'string') return input
  const file = await readRecords(train ?? data.train, {
    ...(isNames(data.columns) && { columns: data.columns }),
    ...(typeof data.task === 'string' && recordTasks.has(data.task) && { task: data.task }),
  })
  const suggestion = suggestTask(file)
  if (suggestion?.certain) return { ...input, template: suggestion.template, answer: answer ?? suggestion.answer }
  throw new GradpromptError('missing-template', 'there is no template: the text before the answer', {
    found: `${data.train} with the columns ${file.columns.map(column => JSON.stringify(column)).join(', ')}`,
    expected: 'template: a text with {column} placeholders, and answer',
    hint: looksHeadless(file)
      ? `the first line looks like a row: where the file has no header, name its columns in order, for example data.columns: [text, label]`
      : suggestion === undefined
        ? `${anExample(file.columns)}; ${ownCommand`inspect ${data.train}`} shows what the columns hold`
        : `it looks like ${suggestion.kind}: ${textsOf(suggestion)}`,
  })
}

const textsOf = ({ template, answer }: Pick<Suggestion, 'template' | 'answer'>) =>
  `template: ${JSON.stringify(template)}, answer: ${JSON.stringify(answer)}`

/** Names of columns are words: a number, or a sentence, is what a row holds. */
const looksHeadless = ({ format, columns }: Pick<DataFile, 'format' | 'columns'>) =>
  ['tsv', 'csv'].includes(format) && columns.some(name => /^\s*-?\d+([.,]\d+)?\s*$/.test(name) || name.length > longestName)

const longestName = 60

/** Of columns that say nothing: the last one often holds what is answered. */
function anExample(columns: readonly string[]): string {
  const [first = '', last] = [columns[0], columns.length > 1 ? columns.at(-1) : undefined]
  return last === undefined
    ? 'one column is what is asked or what is answered, and both are needed'
    : `for example ${textsOf({ template: `{${first}}\n${capital(last)}:`, answer: ` {${last}}` })}`
}
