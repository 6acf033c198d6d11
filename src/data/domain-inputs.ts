import { columnValue, type DataRecord } from './readers/records.js'
import type { Encoder } from './texts/encoder.js'
import { compileMessages } from './texts/rendering.js'
import { compileTemplate, type Template } from './texts/template.js'

/** What rows are about, apart from how they are asked: the texts of a template's columns, without its own words and without an answer. */

/** The columns of a template that hold inputs: neither conversations, nor what an answer names. */
export function inputColumns({ template, answer }: { readonly template: Template; readonly answer: string }): string[] {
  const { columns, conversations } = compileMessages(template)
  const others = [...conversations, ...compileTemplate(answer).columns]
  return columns.filter(column => !others.includes(column))
}

/**
 * The tokens of each record's inputs, of all columns in turn; there are no pads and no special tokens among them. A record without a token
 * is left out.
 * @throws GradpromptError `missing-column`
 */
export const inputTokens = (records: readonly DataRecord[], columns: readonly string[], tokenizer: Encoder): number[][] =>
  records
    .map((record, i) => columns.flatMap(column => tokenizer.encode(columnValue(record, column, i), { addSpecialTokens: false })))
    .filter(ids => ids.length > 0)
