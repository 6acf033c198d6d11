import { namedColumns } from '../../data/task-columns.js'
import type { LabelSet, LabelWords } from '../../data/texts/labels.js'
import { fillPrompt } from '../../data/texts/prompt-place.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { didYouMean, GradpromptError } from '../../errors.js'

/** What a task has to be like where a search makes its questions. */

/** Columns beside those of the task. */
export const ownColumns = ['batch', 'asked'] as const

export interface CaseColumns {
  /** Of the text. */
  readonly text: string
  readonly labels: LabelSet
}

/**
 * Which columns of a task its own questions have.
 * @throws GradpromptError `invalid-config` unless there is one text and a closed set of labels
 */
export function caseColumns(columns: readonly string[], labels: LabelSet | undefined): CaseColumns {
  const text = textColumn(columns, labels?.column)
  requireClasses(labels!.candidates)
  return { text, labels: labels! }
}

/** The one column that is no label. */
function textColumn(columns: readonly string[], label: string | undefined): string {
  const texts = columns.filter(column => column !== label && column !== 'prompt')
  const [text, ...more] = texts
  const isPlain = text !== undefined && more.length === 0 && /^[\p{L}\p{N}_ -]+$/u.test(text)
  if (label === undefined || !isPlain || [text, label].some(name => (ownColumns as readonly string[]).includes(name)))
    throw new GradpromptError('invalid-config', 'a search that makes its questions needs one text and labels', {
      found: label === undefined ? 'free-text answers' : `the columns ${[...texts, label].join(', ')}`,
      expected: `one {column} in the template, one in the answer, neither called ${ownColumns.join(' or ')}, and data.labels`,
      hint: 'template: "{prompt}\\nText: {text}\\nLabel:", answer: " {label}", data: { labels: { a: a, b: b } }',
    })
  return text
}

function requireClasses(classes: readonly string[]): void {
  if (classes.length > 1) return
  throw new GradpromptError('invalid-config', 'a search that makes its questions needs labels to tell apart', {
    found: `data.labels has one: ${classes.join()}`,
    expected: 'two at least',
    hint: 'data: { labels: { a: a, b: b } }',
  })
}

/**
 * What a config alone says of a search that makes its questions, so that it is told before a model is loaded.
 * @throws GradpromptError `invalid-config` unless there is one text, several labels, and no meaning of another
 */
export function checkCases({
  template,
  answer,
  labels,
  meanings = {},
}: {
  /** With its prompt's place. */
  readonly template: Template
  readonly answer: string
  /** Where they are given; otherwise they are read from rows. */
  readonly labels: LabelWords | undefined
  readonly meanings?: Readonly<Record<string, string>> | undefined
}): void {
  const columns = namedColumns({ template: fillPrompt(template, ''), answer })
  const answered = compileTemplate(answer).columns
  if (answered.length === 1) textColumn(columns, answered[0])
  if (labels === undefined) return
  const classes = [...new Set(Object.values(labels).map(word => (typeof word === 'string' ? word : word[0]!)))]
  requireClasses(classes)
  const strange = Object.keys(meanings).find(name => !classes.includes(name))
  if (strange === undefined) return
  throw new GradpromptError('invalid-config', `search.meanings.${strange} is of no class`, {
    found: strange,
    expected: `a word of data.labels: ${classes.join(', ')}`,
    hint: didYouMean(strange, classes) ?? 'a class is meant by its word in the answer, not by its value in the file',
  })
}
