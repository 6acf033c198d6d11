import { GradpromptError } from '../../errors.js'
import { columnValue, type DataRecord, originOf, shorten } from '../readers/records.js'
import { conversationTurns, plainConversation } from './conversation.js'
import { type ChatMessage, type CompiledTemplate, compileTemplate, type Template } from './template.js'

/** A template filled with a record's values: the text, or the messages, before the answer. It knows no tokenizer. */

/** A template that is ready to be filled. */
export interface CompiledMessages {
  /** The columns it names, each once. */
  readonly columns: readonly string[]
  /** Among them, those whose value is a conversation. */
  readonly conversations: readonly string[]
  /** `softTexts[i]` stand for the soft tokens of the i-th message. @throws GradpromptError `missing-column`, `null-value`, `invalid-data` */
  render(record: DataRecord, index: number, softTexts?: readonly (readonly string[])[]): string | ChatMessage[]
}

/** The values of a record that are texts to a reader: of a conversation, each turn's. */
export const valuesOf = ({ columns, conversations }: CompiledMessages, record: DataRecord, index: number): string[] =>
  columns.flatMap(column => {
    const value = columnValue(record, column, index)
    return conversations.includes(column)
      ? conversationTurns(value, originOf(record, index)).map(({ content }) => content)
      : [value]
  })

/**
 * Compiles a text or messages. A system message before a conversation that begins with one of its own is joined to that.
 * @throws GradpromptError `invalid-template`
 */
export function compileMessages(template: Template): CompiledMessages {
  if (typeof template === 'string') {
    const { columns, render } = compileTemplate(template)
    return { columns, conversations: [], render: (record, index, softTexts) => render(record, index, softTexts?.[0]) }
  }
  const messages = template.map(({ role, content }) => ({ role, content: compileTemplate(content) }))
  const conversations = messages.flatMap(({ role, content }, i) =>
    role === 'conversation' ? [conversationOf(content, template[i]!.content)] : [],
  )
  return {
    columns: [...new Set(messages.flatMap(({ content }) => content.columns))],
    conversations,
    render(record, index, softTexts) {
      const rendered = messages.flatMap(({ role, content }, i): ChatMessage[] =>
        role === 'conversation'
          ? conversationTurns(columnValue(record, content.columns[0]!, index), originOf(record, index))
          : [{ role, content: content.render(record, index, softTexts?.[i]) }],
      )
      return conversations.length === 0 ? rendered : joinSystem(rendered)
    },
  }
}

/** A record whose values all say `text`, in conversations of the roles that `like` has there. */
export function plainRecord(
  { columns, conversations }: CompiledMessages,
  text: string,
  like?: DataRecord,
  index = 0,
): Record<string, string> {
  return Object.fromEntries(
    columns.map(column => {
      if (!conversations.includes(column)) return [column, text]
      const value = like && columnValue(like, column, index)
      return [column, plainConversation(text, value, like && originOf(like, index))]
    }),
  )
}

function conversationOf({ columns, soft }: CompiledTemplate, content: string): string {
  const [column] = columns
  if (column !== undefined && soft.length === 0 && content.trim() === `{${column}}`) return column
  throw new GradpromptError('invalid-template', 'the message of a conversation is one column', {
    found: shorten(content),
    expected: '{ role: conversation, content: "{messages}" }',
    hint: 'other text belongs in messages of their own, before or behind it',
  })
}

/** Chat templates take one system message. */
function joinSystem(messages: readonly ChatMessage[]): ChatMessage[] {
  const joined: ChatMessage[] = []
  for (const message of messages) {
    const last = joined.at(-1)
    if (message.role === 'system' && last?.role === 'system')
      joined[joined.length - 1] = { role: 'system', content: `${last.content}\n${message.content}` }
    else joined.push(message)
  }
  return joined
}
