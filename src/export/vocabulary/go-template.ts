import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'

/**
 * A model's chat template as Ollama's, which is a Go template. Its pieces are read off what the model's own makes of conversations: what
 * stands around a turn of each role, what stands in front where there is no system message, and what the answer begins with. That these
 * make the same text is proved over twenty conversations; a template that does more is refused.
 */
export interface ChatPieces {
  /** What stands before everything. */
  readonly start: string
  /** What stands in front where the first message is no system message. */
  readonly withoutSystem: string
  readonly around: Readonly<Record<Role, readonly [before: string, after: string]>>
  /** What the answer begins with. */
  readonly answer: string
}

const roles = ['system', 'user', 'assistant'] as const
type Role = (typeof roles)[number]
type Message = { readonly role: Role; readonly content: string }

/** @throws GradpromptError `not-exportable` */
export function chatPieces(tokenizer: Pick<Tokenizer, 'applyChatTemplate'>): ChatPieces {
  const render = (messages: readonly Message[], addGenerationPrompt = false) =>
    tokenizer.applyChatTemplate(messages, { addGenerationPrompt })
  const message = (role: Role, content: string): Message => ({ role, content })
  const [s, u, a, v] = ['SYSTEMTEXT', 'USERTEXT', 'ANSWERTEXT', 'NEXTTEXT']
  const full = render([message('system', s), message('user', u), message('assistant', a), message('user', v)])
  const [beforeSystem, afterSystem] = cut(full, s)
  const [systemUser, afterUser] = cut(afterSystem, u)
  const [userAnswer, afterAnswer] = cut(afterUser, a)
  const [answerUser, userEnd] = cut(afterAnswer, v)
  const plain = cut(render([message('user', u)]), u)[0]
  const after = { user: userEnd, system: '', assistant: '' }
  const beforeUser = commonSuffix(systemUser, answerUser)
  after.system = systemUser.slice(0, systemUser.length - beforeUser.length)
  after.assistant = answerUser.slice(0, answerUser.length - beforeUser.length)
  const beforeAnswer = userAnswer.slice(userEnd.length)
  const generation = render([message('user', u)], true)
  const start = commonPrefix(beforeSystem, plain.slice(0, Math.max(0, plain.length - beforeUser.length)))
  const pieces: ChatPieces = {
    start,
    withoutSystem: plain.slice(start.length, plain.length - beforeUser.length),
    around: {
      system: [beforeSystem.slice(start.length), after.system],
      user: [beforeUser, userEnd],
      assistant: [beforeAnswer, after.assistant],
    },
    answer: generation.slice(cut(generation, u)[0].length + u.length + userEnd.length),
  }
  const wrong = conversations().find(messages => render(messages, true) !== chatText(pieces, messages))
  if (wrong === undefined) return pieces
  throw new GradpromptError('not-exportable', "The model's chat template does more than to put texts around turns", {
    found: `a conversation of ${wrong.map(({ role }) => role).join(', ')}, for which it writes something else`,
    expected: "a template that Ollama's language can say",
    hint: 'export to gguf: llama.cpp runs the template itself',
  })
}

/** What the pieces make of a conversation: what the Go template says. */
export function chatText({ start, withoutSystem, around, answer }: ChatPieces, messages: readonly Message[]): string {
  const turns = messages.map(({ role, content }) => around[role][0] + content + around[role][1]).join('')
  return start + (messages[0]?.role === 'system' ? '' : withoutSystem) + turns + answer
}

/** The pieces as a Go template of Ollama's. */
export function goTemplate({ start, withoutSystem, around, answer }: ChatPieces): string {
  const turns = roles.map(
    (role, i) =>
      `{{ ${i === 0 ? 'if' : 'else if'} eq .Role "${role}" }}${literal(around[role][0])}{{ .Content }}${literal(around[role][1])}`,
  )
  const first = withoutSystem === '' ? '' : `{{ if ne (index .Messages 0).Role "system" }}${literal(withoutSystem)}{{ end }}`
  return `${literal(start)}${first}{{ range .Messages }}${turns.join('')}{{ end }}{{ end }}${literal(answer)}`
}

/** Text that a Go template writes as it is. */
export const literal = (text: string): string => text.replaceAll('{{', '{{ "{{" }}')

function conversations(): Message[][] {
  const texts = ['Hello', 'What is 2 + 2?', 'Two\nlines', '{"a": 1}', 'é 漢字 🙂']
  return Array.from({ length: 20 }, (_, i) => {
    const text = (turn: number) => texts[(i + turn) % texts.length]!
    const turns = Array.from({ length: 1 + 2 * (i % 3) }, (_, turn): Message => {
      return { role: turn % 2 === 0 ? 'user' : 'assistant', content: text(turn) }
    })
    return i % 2 === 0 ? turns : [{ role: 'system', content: text(9) }, ...turns]
  })
}

function cut(text: string, at: string): [before: string, after: string] {
  const place = text.indexOf(at)
  if (place >= 0) return [text.slice(0, place), text.slice(place + at.length)]
  throw new GradpromptError('not-exportable', "The model's chat template does not write a turn's text as it is", {
    found: text.slice(0, 200),
    expected: `a text with ${at} in it`,
    hint: 'export to gguf: llama.cpp runs the template itself',
  })
}

function commonPrefix(a: string, b: string): string {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return a.slice(0, length)
}

function commonSuffix(a: string, b: string): string {
  let length = 0
  while (length < a.length && length < b.length && a.at(-1 - length) === b.at(-1 - length)) length++
  return a.slice(a.length - length)
}
