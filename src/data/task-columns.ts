import { GradpromptError } from '../errors.js'
import { valueOfText } from './readers/json-text.js'
import { columnValue, type DataRecord } from './readers/records.js'
import { isConversation } from './texts/conversation.js'
import { pathOf, pathsWithin } from './texts/paths.js'
import type { Preferences } from './texts/preferences.js'
import { compileMessages } from './texts/rendering.js'
import { compileTemplate, requireColumns, type Template } from './texts/template.js'

/** The columns that a template and an answer name, held against those of a file before any row is made. */

export interface TaskTexts extends Preferences {
  readonly template: Template
  readonly answer: string
}

/** The columns that a template and answers name, each once. */
export const namedColumns = ({ template, answer, rejected = '', thumbs }: TaskTexts): string[] => [
  ...new Set([
    ...compileMessages(template).columns,
    ...compileTemplate(answer).columns,
    ...compileTemplate(rejected).columns,
    ...(thumbs === undefined ? [] : [thumbs]),
  ]),
]

/**
 * Checks that a file has the columns that a template and an answer name, and that these are text: a list or an object would stand in
 * the text as JSON.
 * @param file its columns; those with lists or objects, and the records to show what is in them
 * @throws GradpromptError `missing-column`, `structured-column`, `invalid-template`
 */
export function requireTaskColumns(
  { template, answer, rejected = '', thumbs }: TaskTexts,
  {
    columns,
    structured = [],
    records = [],
  }: {
    readonly columns: readonly string[]
    readonly structured?: readonly string[]
    readonly records?: readonly DataRecord[]
  },
  path: string,
): void {
  const asked = compileMessages(template)
  const answered = compileTemplate(answer)
  const other = compileTemplate(rejected)
  // Where a column is there, and nothing at the end of the path in any row, its own message says so.
  for (const column of [...asked.columns, ...answered.columns, ...other.columns]) {
    const head = columns.includes(column) ? undefined : pathOf(column)?.head
    if (head !== undefined && columns.includes(head) && records.length > 0) columnValue(records[0]!, column, 0)
  }
  requireColumns(asked.columns, columns, `${path}: the template`)
  requireColumns(answered.columns, columns, `${path}: the answer`)
  requireColumns(other.columns, columns, `${path}: the rejected answer`)
  if (thumbs !== undefined) requireColumns([thumbs], columns, `${path}: thumbs`)
  const texts = [...asked.columns.filter(column => !asked.conversations.includes(column)), ...answered.columns, ...other.columns]
  requireTexts(texts, { structured, records }, path)
}

/**
 * Checks that none of the columns that stand in a text holds lists or objects.
 * @throws GradpromptError `structured-column`
 */
export function requireTexts(
  texts: readonly string[],
  { structured, records }: { readonly structured: readonly string[]; readonly records: readonly DataRecord[] },
  path: string,
): void {
  const column = texts.find(name => structured.includes(name))
  if (column === undefined) return
  const value = records
    .flatMap(record => (Object.hasOwn(record, column) ? [valueOfText(record[column]!)] : []))
    .find(inner => typeof inner !== 'string')
  const paths = pathsWithin(value, column).map(name => `{${name}}`)
  throw new GradpromptError('structured-column', `${path}: a column that holds lists or objects cannot stand in a text`, {
    found: `{${column}}`,
    expected: 'a column of texts or numbers, or a path to one',
    ...(isConversation(value)
      ? {
          hint: `conversations are a message of their own: template: [{ role: conversation, content: "{${column}}" }], answer: "{${column}.answer}"`,
        }
      : paths.length > 0 && { hint: `write ${paths.join(' or ')}` }),
  })
}
