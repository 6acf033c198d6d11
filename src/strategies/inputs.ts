import type { ChatMessage } from '../formats/chat-template.js'
import type { Conversation, GenerationInput } from '../generate/input.js'

/** Inputs with something changed or added: a conversation gets further turns, a text further paragraphs. */

/** What is asked, where nobody says which part of the input it is. */
export function questionOf(input: GenerationInput): string {
  if ('prompt' in input) return input.prompt
  return input.messages[askedIn(input)]!.content
}

/** The turn that asks: the last of a user, or of anybody. */
function askedIn({ messages }: Conversation): number {
  const last = messages.findLastIndex(({ role }) => role === 'user')
  return last < 0 ? messages.length - 1 : last
}

/** The input with another question in the place of its own: the last place in which that stands, so that examples before it stay. */
export function withQuestion(input: GenerationInput, own: string, other: string): GenerationInput {
  const replaced = (text: string): string | undefined => {
    const at = own === '' ? -1 : text.lastIndexOf(own)
    return at < 0 ? undefined : text.slice(0, at) + other + text.slice(at + own.length)
  }
  if ('prompt' in input) return { prompt: replaced(input.prompt) ?? other }
  const last = askedIn(input)
  const at = input.messages.findLastIndex(({ content }) => own !== '' && content.includes(own))
  return withMessage(input, at < 0 ? last : at, ({ content }) => (at < 0 ? other : replaced(content)!))
}

/** The input, an answer to it, and what is said to that; of a text, then the text once more. */
export function goneOn(input: GenerationInput, answer: string, more: string, first: GenerationInput): GenerationInput {
  if (!('prompt' in input)) return { ...input, messages: [...input.messages, assistant(answer), { role: 'user', content: more }] }
  const again = 'prompt' in first ? first.prompt : questionOf(first)
  return { prompt: `${input.prompt}${answer}\n\n${more}\n\n${again}` }
}

/** The input behind another one and the answer to that, which stay as they are. */
export function shownBefore(input: GenerationInput, other: GenerationInput, answer: string): GenerationInput {
  if ('prompt' in input || 'prompt' in other) {
    const [before, own] = [other, input].map(given => ('prompt' in given ? given.prompt : questionOf(given)))
    return { prompt: `${before}${answer}\n\n${own}` }
  }
  const head = systemTurns(input)
  const asked = other.messages.slice(systemTurns(other))
  return { ...input, messages: [...input.messages.slice(0, head), ...asked, assistant(answer), ...input.messages.slice(head)] }
}

/** How many turns come before a conversation's first own one. */
function systemTurns({ messages }: Conversation): number {
  const first = messages.findIndex(({ role }) => role !== 'system')
  return first < 0 ? messages.length : first
}

/** The input with something to be heeded before the question. */
export function told(input: GenerationInput, text: string): GenerationInput {
  if ('prompt' in input) return { prompt: `${text}\n\n${input.prompt}` }
  return withMessage(input, askedIn(input), ({ content }) => `${text}\n\n${content}`)
}

const assistant = (content: string): ChatMessage => ({ role: 'assistant', content })

function withMessage(input: Conversation, at: number, content: (message: ChatMessage) => string): Conversation {
  const messages = input.messages.map((message, i) => (i === at ? { ...message, content: content(message) } : message))
  return { ...input, messages }
}
