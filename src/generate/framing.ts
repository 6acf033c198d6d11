import { toTable } from '../data/readers/values.js'
import { type DataRecord, setOrigin } from '../data/records.js'
import { compileMessages } from '../data/rendering.js'
import { compileTemplate, type Template } from '../data/template.js'
import { GradpromptError } from '../errors.js'
import { type GenerationInput, parseRow } from './input.js'

/**
 * What is asked, as what the model goes on with: a text or a conversation as it is, the columns of a row in a template, and under words
 * that a search has found everything in the template that they stand in. It does not know chat templates: `renderInput` does.
 */
export interface Frame {
  /** The prompt's own, or one that was given. */
  readonly template: Template | undefined
  /** The prompt is words of the template, so that nothing may leave it out. */
  readonly always: boolean
}

export const noFrame: Frame = { template: undefined, always: false }

/** Columns of a row, `{ prompt }`, `{ messages }`, or a text. */
export type AskedInput = string | GenerationInput | Readonly<Record<string, unknown>>

/**
 * @param origin names the input in messages
 * @throws GradpromptError `invalid-data`, `missing-column`, `no-place-for-text` where words stand in a template of several columns
 */
export function framed(given: unknown, { template, always }: Frame, origin: string): GenerationInput {
  const asked = typeof given === 'string' ? { prompt: given } : given
  const isPlain = typeof asked === 'object' && asked !== null && ('prompt' in asked || 'messages' in asked)
  if (template === undefined || (isPlain && !always) || typeof asked !== 'object' || asked === null)
    return parseRow(asked, origin)
  if (!isPlain) {
    const [record] = toTable([asked], [origin]).records
    setOrigin(record!, origin)
    return filled(template, record!)
  }
  const input = parseRow(asked, origin)
  const { columns } = compileMessages(template)
  const found = 'messages' in input ? textOf(input.messages) : input.prompt
  if (found === undefined || columns.length !== 1) throw noPlace(columns, origin, 'messages' in input)
  return filled(template, { [columns[0]!]: found })
}

/** The text of a conversation of one message, which a template can take. */
function textOf(messages: readonly { readonly role: string; readonly content: string }[]): string | undefined {
  return messages.length === 1 && messages[0]!.role === 'user' ? messages[0]!.content : undefined
}

function filled(template: Template, record: DataRecord): GenerationInput {
  // Soft tokens stand as the template writes them: the tokenizer of the prompt reads them so.
  const soft = textsOf(template).map(text => compileTemplate(text).soft.map(({ text }) => text))
  const rendered = compileMessages(template).render(record, 0, soft)
  return typeof rendered === 'string' ? { prompt: rendered } : { messages: rendered }
}

const textsOf = (template: Template) => (typeof template === 'string' ? [template] : template.map(({ content }) => content))

const noPlace = (columns: readonly string[], origin: string, isConversation: boolean) =>
  new GradpromptError('no-place-for-text', `${origin} does not fit the template that the found words stand in`, {
    found: isConversation ? 'a conversation of several messages' : `one text for ${columns.length} columns`,
    expected:
      columns.length === 1
        ? 'a text, or one message of the user'
        : `a row of the columns ${columns.join(', ') || 'that it names: it names none'}`,
    hint: 'the words can stand in any text of yours, as they are: gradprompt inspect shows them',
  })
