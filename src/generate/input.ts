import { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { readText, sizeOf } from '../data/read.js'
import { parseJson } from '../data/readers/json-text.js'
import { shorten } from '../data/readers/records.js'
import { didYouMean, GradpromptError } from '../errors.js'
import type { ChatMessage } from '../formats/chat-template.js'
import type { Tokenizer } from '../formats/tokenizer.js'

/** What is to be answered: a text that goes on, or a conversation that the model's chat template makes one of. */
export type GenerationInput = { readonly prompt: string } | Conversation

export interface Conversation {
  readonly messages: readonly ChatMessage[]
  /** Further variables of the chat template, by its own names: `enable_thinking`, `documents`, … */
  readonly variables?: Readonly<Record<string, unknown>>
}

/** A line of an input file. */
export interface InputRow {
  /** For messages: `questions.jsonl:17`. */
  readonly origin: string
  readonly input: GenerationInput
  /** The prompt that it is answered under, where that is not the one of all. */
  readonly prompt?: string | undefined
}

export interface RenderOptions {
  /** The system message of every conversation, in place of its own. A plain prompt becomes a conversation. */
  readonly system?: string | undefined
  /** A plain prompt is what a user says to the chat model. */
  readonly chat?: boolean | undefined
  /** Variables of the chat template; a conversation's own win. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined
}

/** A text as it is tokenised: a chat template writes its special tokens itself. */
export interface RenderedInput {
  readonly text: string
  readonly addSpecialTokens: boolean
}

const contentParts = z.array(z.object({ type: z.literal('text'), text: z.string() })).min(1)

/** A message with text in it; parts of text are joined by line ends. Further fields are kept for the template. */
export const messageSchema = z.looseObject({
  role: z.string('a text such as "user"').min(1, 'a text such as "user"'),
  content: z
    .union([z.string(), contentParts], 'a text, or a list of { "type": "text", "text": … }; nothing but text is supported')
    .transform(content => (typeof content === 'string' ? content : content.map(({ text }) => text).join('\n'))),
})

/** The text that the model goes on with. @throws GradpromptError as the chat template does: `no-chat-template`, … */
export function renderInput(
  tokenizer: Pick<Tokenizer, 'applyChatTemplate'>,
  input: GenerationInput,
  render: RenderOptions = {},
): RenderedInput {
  const whole = wholeInput(input, render)
  if ('prompt' in whole) return { text: whole.prompt, addSpecialTokens: true }
  const text = tokenizer.applyChatTemplate(whole.messages, { ...whole.variables, addGenerationPrompt: true })
  return { text, addSpecialTokens: false }
}

/** An input with all that is asked of its rendering in it. */
export function wholeInput(
  input: GenerationInput,
  { system, chat = system !== undefined, variables }: RenderOptions = {},
): GenerationInput {
  if ('prompt' in input && !chat) return input
  const conversation: Conversation = 'prompt' in input ? { messages: [{ role: 'user', content: input.prompt }] } : input
  const messages = system === undefined ? conversation.messages : withSystem(conversation.messages, system)
  return { messages, variables: { ...variables, ...conversation.variables } }
}

function withSystem(messages: readonly ChatMessage[], content: string): ChatMessage[] {
  const rest = messages[0]?.role === 'system' ? messages.slice(1) : messages
  return [{ role: 'system', content }, ...rest]
}

/**
 * Reads rows to answer, one JSON object a line: `{"prompt": "…"}` is plain text, `{"messages": [{"role": "user", "content": "…"}]}` a
 * conversation. Other fields of a conversation, and those of its `chat_template_kwargs`, are variables of the chat template; beside a
 * prompt they mean nothing. Blank lines are skipped.
 *
 * @throws GradpromptError `file-not-found`, `data-too-large`, `invalid-encoding`, `empty-data`, and `invalid-data` with the line
 */
export async function readInput(path: string): Promise<InputRow[]> {
  return (await readAsked(path)).map(({ origin, value }) => ({ origin, input: parseRow(value, origin) }))
}

/**
 * The same, whatever a line says.
 * @throws GradpromptError `file-not-found`, `data-too-large`, `invalid-encoding`, `empty-data`, and `invalid-data` with the line
 */
export async function readAsked(path: string): Promise<{ readonly origin: string; readonly value: unknown }[]> {
  return askedLines(await readText(path, await sizeOf(path)), path)
}

/** The same of a text. @throws GradpromptError `empty-data`, and `invalid-data` with the line */
export function askedLines(text: string, path: string): { readonly origin: string; readonly value: unknown }[] {
  const rows = text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    return [{ origin: `${path}:${i + 1}`, value: parseJson(line, path, i + 1) }]
  })
  if (rows.length > 0) return rows
  throw new GradpromptError('empty-data', `${path} has no rows`, {
    found: 'no rows',
    expected: 'one JSON object a line: {"prompt": "…"}',
  })
}

const rowForms = '{"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}'

/** @throws GradpromptError `invalid-data` */
export function parseRow(value: unknown, origin: string): GenerationInput {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidRow(origin, 'is not an object', show(value))
  const { prompt, messages, chat_template_kwargs: own, ...variables } = value as Record<string, unknown>
  if (prompt !== undefined && messages !== undefined)
    throw invalidRow(origin, 'has a prompt and messages', 'both', 'one of them: a text, or a conversation')
  if (prompt !== undefined) {
    if (typeof prompt === 'string') return { prompt }
    throw invalidRow(origin, 'has a prompt that is no text', show(prompt), 'a text in quotes')
  }
  if (messages === undefined) {
    const names = Object.keys(value)
    const [hint] = names.flatMap(name => didYouMean(name, ['prompt', 'messages'], field => `"${field}"`) ?? [])
    const found = names.length === 0 ? 'an empty object' : `the fields ${names.map(shorten).join(', ')}`
    throw invalidRow(origin, 'has neither a prompt nor messages', found, rowForms, hint)
  }
  if (own !== undefined && (typeof own !== 'object' || own === null || Array.isArray(own)))
    throw invalidRow(origin, 'has chat_template_kwargs that are no variables', show(own), 'an object')
  const parsed = conversationSchema.safeParse({ messages })
  if (!parsed.success) {
    const { name, isMissing, found, expected } = valueProblem(parsed.error.issues, { messages })
    throw invalidRow(origin, `has messages that are not valid`, isMissing ? `no ${name}` : `${name}: ${found}`, expected)
  }
  return { messages: parsed.data.messages, variables: { ...variables, ...own } }
}

const conversationSchema = z.object({
  messages: z.array(messageSchema, 'a list of messages').min(1, 'at least one message'),
})

const show = (value: unknown): string => {
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

const invalidRow = (
  origin: string,
  what: string,
  found: string,
  expected = rowForms,
  hint?: string | undefined,
): GradpromptError =>
  new GradpromptError('invalid-data', `${origin} ${what}`, { found, expected, ...(hint !== undefined && { hint }) })
