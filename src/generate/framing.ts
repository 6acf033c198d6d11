import type { DataNotice } from '../data/readers/reader.js'
import { type DataRecord, setOrigin } from '../data/readers/records.js'
import { toTable } from '../data/readers/values.js'
import { pathOf, withPaths } from '../data/texts/paths.js'
import { type CompiledMessages, compileMessages } from '../data/texts/rendering.js'
import { compileTemplate, type Template } from '../data/texts/template.js'
import { GradpromptError, shellWord } from '../errors.js'
import { isRecord } from '../json.js'
import { type Conversation, type GenerationInput, parseRow } from './input.js'

/**
 * What is asked, in the language of the prompt that answers: the columns of a row in its template, a text in the template's only column,
 * of a conversation the last message of the user there. Without a template everything stands as it is. It does not know chat templates:
 * `renderInput` does.
 */
export interface Frame {
  /** The prompt's own, or one that was given. */
  readonly template: Template | undefined
  /** The prompt is words of the template, so that nothing may leave it out. */
  readonly always: boolean
  /** The answer that was learned or searched for behind it. */
  readonly answer?: string | undefined
}

export const noFrame: Frame = { template: undefined, always: false }

/** Columns of a row, `{ prompt }`, `{ messages }`, or a text. */
export type AskedInput = string | GenerationInput | Readonly<Record<string, unknown>>

/**
 * @param origin names the input in messages
 * @param announce hears what was taken for granted
 * @throws GradpromptError `invalid-data`, `missing-column`, `no-place-for-text` where a text has no column of its own
 */
export function framed(
  given: unknown,
  { template, always }: Frame,
  origin: string,
  announce: (notice: DataNotice) => void = () => {},
): GenerationInput {
  const asked = typeof given === 'string' ? { prompt: given } : given
  if (template === undefined || !isRecord(asked)) return parseRow(asked, origin)
  const compiled = compileMessages(template)
  const { columns, conversations } = compiled
  const isRow = columns.length > 0 && columns.every(column => Object.hasOwn(asked, column) || isReached(column, asked))
  if (isRow || !('prompt' in asked || 'messages' in asked)) {
    const [record] = withPaths(toTable([asked], [origin]), columns).records
    setOrigin(record!, origin)
    return filled(template, compiled, record!)
  }
  const input = parseRow(asked, origin)
  const [column] = columns
  const isConversation = column !== undefined && columns.length === 1 && conversations.includes(column)
  if ('messages' in input) {
    if (isConversation) return { ...input, ...filled(template, compiled, { [column]: JSON.stringify(input.messages) }) }
    // Who was learned with turns has seen the chat template, and takes them as they come.
    if (typeof template !== 'string' && !always) return input
    const text = lastOfUser(input)
    if (text === undefined || column === undefined || columns.length > 1) throw noPlace(columns, origin, 'a conversation')
    announce(lastMessageNotice)
    return filled(template, compiled, { [column]: text })
  }
  const text = input.prompt
  if (isConversation) return filled(template, compiled, { [column]: JSON.stringify([{ role: 'user', content: text }]) })
  const literals = typeof template === 'string' ? literalsOf(template, compiled) : undefined
  if (literals !== undefined && isFilled(text, literals)) return input
  if (column === undefined || columns.length > 1) throw noPlace(columns, origin, 'one text')
  const start = literals?.[0] ?? ''
  if (start.trim() === '' || !text.startsWith(start)) return filled(template, compiled, { [column]: text })
  announce({
    code: 'completed-text',
    message: `a text that begins as the template does (${JSON.stringify(start)}) is completed as that goes on`,
  })
  return filled(template, compiled, { [column]: text.slice(start.length) })
}

/** Whether a column of a template is a path into a list or an object of the row. */
function isReached(column: string, row: Readonly<Record<string, unknown>>): boolean {
  const head = pathOf(column)?.head
  return head !== undefined && Object.hasOwn(row, head) && typeof row[head] === 'object' && row[head] !== null
}

/** What is said where a conversation stands in a template for one text. */
const lastMessageNotice: DataNotice = {
  code: 'last-message',
  message: 'the last message of the user stands in the template that this prompt was learned with; other messages are left out, and no chat template is put around it', // biome-ignore format: one sentence
}

const lastOfUser = ({ messages }: Conversation): string | undefined => messages.findLast(({ role }) => role === 'user')?.content

/** A mark that no template holds. */
const gap = '\u{f8ff}column\u{f8ff}'

/** The texts before, between and behind the columns of a template. */
function literalsOf(template: string, compiled: CompiledMessages): string[] {
  const rendered = compiled.render(Object.fromEntries(compiled.columns.map(column => [column, gap])), 0, softTextsOf(template))
  return String(rendered).split(gap)
}

/** Whether a text stands as the template has it already, from its beginning to its end. */
function isFilled(text: string, literals: readonly string[]): boolean {
  const first = literals[0]!
  const last = literals.length > 1 ? literals.at(-1)! : ''
  if (`${first}${last}`.trim() === '' || text.length < first.length + last.length) return false
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  const inner = text.slice(first.length, text.length - last.length)
  let at = 0
  for (const literal of literals.slice(1, -1)) {
    const found = inner.indexOf(literal, at)
    if (found < 0) return false
    at = found + literal.length
  }
  return true
}

function filled(template: Template, compiled: CompiledMessages, record: DataRecord): GenerationInput {
  const rendered = compiled.render(record, 0, softTextsOf(template))
  return typeof rendered === 'string' ? { prompt: rendered } : { messages: rendered }
}

/** Soft tokens stand as the template writes them: the tokenizer of the prompt reads them so. */
const softTextsOf = (template: Template) =>
  (typeof template === 'string' ? [template] : template.map(({ content }) => content)).map(text =>
    compileTemplate(text).soft.map(({ text }) => text),
  )

const noPlace = (columns: readonly string[], origin: string, found: string) =>
  new GradpromptError('no-place-for-text', `${origin} does not fit the template of the prompt`, {
    found: `${found}, and a template of ${columns.length === 0 ? 'no columns' : `the columns ${columns.join(', ')}`}`,
    expected: columns.length === 1 ? 'a text, or a message of the user' : `a value for each of ${columns.join(', ') || 'none'}`,
    hint:
      columns.length > 1
        ? `give them by name: ${JSON.stringify({ [columns[0]!]: '…', [columns[1]!]: '…' })}, or ${columns
            .slice(0, 2)
            .map(column => `--columns ${shellWord(`${column}=…`)}`)
            .join(' ')}`
        : 'a template needs a column for what is asked',
  })
