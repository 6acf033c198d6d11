import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import { describeValue, valueOfText } from '../readers/json-text.js'
import { shorten } from '../readers/records.js'
import type { ChatMessage } from './template.js'

/**
 * Conversations as data have them: a column whose value is a list of turns. The last turn, when it is the assistant's, is the answer;
 * the turns before it are the prompt. It knows nothing of tokenizers.
 */

/** Names of roles in data, and what they mean: those of chat templates, and those of ShareGPT. */
const roles: Readonly<Record<string, ChatMessage['role']>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
}

/** Columns that are looked at first when a file has several with conversations. */
const usualNames = ['messages', 'conversations', 'conversation', 'chat', 'turns']

const roleOf = (turn: Readonly<Record<string, unknown>>) => turn.role ?? turn.from
const contentOf = (turn: Readonly<Record<string, unknown>>) => turn.content ?? turn.value

/** Whether a value is a list of turns, whatever their roles. */
export const isConversation = (value: unknown): value is readonly Readonly<Record<string, unknown>>[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every(turn => isRecord(turn) && typeof roleOf(turn) === 'string' && contentOf(turn) !== undefined)

/** The text of the last turn, when it is the assistant's. */
export function answerOf(value: unknown): string | undefined {
  if (!isConversation(value)) return undefined
  const last = value.at(-1)!
  return roles[String(roleOf(last))] === 'assistant' ? textOf(contentOf(last)) : undefined
}

/** A turn's text: as it is, or the parts of a list of texts. Nothing for pictures, sounds and calls of tools. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return undefined
  const parts = content.map(part => (isRecord(part) && (part.type === undefined || part.type === 'text') ? part.text : part))
  return parts.every(part => typeof part === 'string') ? parts.join('') : undefined
}

/**
 * The turns of a column's value.
 * @param origin where the row stands, for messages
 * @throws GradpromptError `invalid-data` naming the turn: another role, or contents that are no text
 */
export function parseConversation(text: string, origin: string): ChatMessage[] {
  const value = valueOfText(text)
  if (!isConversation(value))
    throw new GradpromptError('invalid-data', `${origin} has no conversation`, {
      found: describeValue(value),
      expected: 'a list of turns: [{ "role": "user", "content": "..." }, ...]',
    })
  return value.map((turn, i) => {
    const [name, content] = [String(roleOf(turn)), textOf(contentOf(turn))]
    const role = Object.hasOwn(roles, name) ? roles[name]! : undefined
    if (role !== undefined && content !== undefined) return { role, content }
    throw new GradpromptError('invalid-data', `${origin}: turn ${i + 1} of the conversation cannot be used`, {
      found: role === undefined ? `the role ${shorten(name)}` : describeValue(contentOf(turn)),
      expected: role === undefined ? `one of ${Object.keys(roles).join(', ')}` : 'text, or a list of texts',
    })
  })
}

/** The turns of a column's value that are the prompt: all but an assistant's at the end. @throws GradpromptError `invalid-data` */
export function conversationTurns(text: string, origin: string): ChatMessage[] {
  const turns = parseConversation(text, origin)
  const prompt = turns.at(-1)?.role === 'assistant' ? turns.slice(0, -1) : turns
  if (prompt.some(({ role }) => role !== 'system')) return prompt
  throw new GradpromptError('invalid-data', `${origin} has a conversation without a turn before its answer`, {
    found: turns.map(({ role }) => role).join(', '),
    expected: 'a turn of the user, then one of the assistant',
  })
}

/** A conversation in which every turn says `text`, of the roles that `like` has; by default one turn of the user. */
export const plainConversation = (text: string, like?: string, origin = ''): string =>
  JSON.stringify(
    like === undefined
      ? [{ role: 'user', content: text }]
      : conversationTurns(like, origin).map(({ role }) => ({ role, content: text })),
  )

/** A conversation with fewer turns: the system's stay, and of the others so many of the last, besides the very last. */
export function lastTurns(text: string, origin: string): { readonly most: number; readonly keep: (turns: number) => string } {
  const turns = conversationTurns(text, origin)
  const system = turns.filter(({ role }) => role === 'system')
  const others = turns.filter(({ role }) => role !== 'system')
  return {
    most: others.length - 1,
    keep(count) {
      const kept = others.slice(others.length - 1 - count)
      // Chat templates expect the user to speak first.
      const first = kept.findIndex(({ role }) => role === 'user')
      return JSON.stringify([...system, ...kept.slice(Math.max(0, first))])
    },
  }
}

/** The column of conversations among those that hold lists or objects; the values are those of the first rows. */
export function conversationColumn(values: ReadonlyMap<string, readonly string[]>): string | undefined {
  const found = [...values].filter(([, texts]) => texts.length > 0 && texts.every(text => isConversation(valueOfText(text))))
  const names = found.map(([name]) => name)
  return usualNames.find(name => names.includes(name)) ?? names[0]
}
