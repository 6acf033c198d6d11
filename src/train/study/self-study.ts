import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { Tokenizer } from '../../formats/tokenizer.js'
import { randomGenerator, streams } from '../../random.js'

/**
 * Self-study (Eyuboglu et al. 2025, Cartridges, arXiv 2506.06266): the model, shown a piece of a text, writes what somebody may ask of it,
 * and then answers with the whole text in its context. Here is what it is asked to write, and how both are put; nothing is computed.
 */

/** What the first of both is asked for, in turn: the kinds of the paper. */
export const studyKinds = {
  question: 'Write one question about a fact in the text above, such as a name, a number or a reason. Write the question alone.',
  structuring: 'Write one request to put a part of the text above in order, as a list or a table. Write the request alone.',
  summarization: 'Write one request to summarize a part of the text above, which names the part. Write the request alone.',
  'use case':
    'Write one question of somebody who has something to do for which the text above is needed. Write the question alone.',
  creative: 'Write one unexpected question to which the text above holds the answer. Write the question alone.',
} as const

/** How conversations stand before a model. */
export interface StudyForm {
  /** What a text in the context is: the system message of the chat template, or the text itself and an empty line. */
  readonly context: string
  /** What was asked, as it stands behind it. */
  asked(message: string): string
  /** The template and the answer of rows that are learned. */
  readonly template: string | { readonly role: 'user'; readonly content: string }[]
  readonly answer: string
  /** What ends a message or an answer, where the model's own end does not. */
  readonly stop: readonly string[] | undefined
  /** Whether the chat template refused a system message. */
  readonly withoutSystem: boolean
}

/** @param chat takes the chat template, where the model has one */
export function studyForm(tokenizer: Tokenizer, text: string, chat = tokenizer.chatTemplate !== undefined): StudyForm {
  if (!chat)
    return {
      context: `${text}\n\n`,
      asked: message => `Question: ${message}\nAnswer:`,
      template: 'Question: {question}\nAnswer:',
      answer: ' {answer}',
      stop: ['\nQuestion:', '\n\n'],
      withoutSystem: false,
    }
  const system = renderedSystem(tokenizer, text)
  return {
    context: system ?? `${text}\n\n`,
    asked: message => tokenizer.applyChatTemplate([{ role: 'user', content: message }], { addGenerationPrompt: true }),
    template: [{ role: 'user', content: '{question}' }],
    answer: '{answer}',
    stop: undefined,
    withoutSystem: system === undefined,
  }
}

/** A system message by itself, without the BOS that the tokenizer writes; undefined where the template takes none. */
function renderedSystem(tokenizer: Tokenizer, content: string): string | undefined {
  try {
    const text = tokenizer.applyChatTemplate([{ role: 'system', content }], { addGenerationPrompt: false })
    if (!text.includes(content)) return undefined
    const bos = tokenizer.bosTokenId === undefined ? '' : tokenizer.decode([tokenizer.bosTokenId])
    return bos !== '' && text.startsWith(bos) ? text.slice(bos.length) : text
  } catch {
    return undefined
  }
}

/** A piece of the text and what is to be written of it. */
export interface Ask {
  readonly kind: string
  /** Where the piece stands among the text's tokens, [from, to). */
  readonly from: number
  readonly to: number
  readonly prompt: string
}

/**
 * What the model is asked to write, each of a piece of the text that is drawn by seed.
 * @param longest tokens of a piece, at most; at least an eighth of that
 */
export function studyAsks(
  tokenizer: Tokenizer,
  text: string,
  {
    count,
    seed,
    longest,
    chat,
  }: { readonly count: number; readonly seed: number; readonly longest: number; readonly chat: boolean },
): Ask[] {
  const ids = tokenizer.encode(text, { addSpecialTokens: false })
  const random = randomGenerator(seed, streams.study)
  const most = Math.min(longest, ids.length)
  return Array.from({ length: count }, (_, i): Ask => {
    const [kind, task] = Object.entries(studyKinds)[i % Object.keys(studyKinds).length]!
    const length = uniformInt(random, Math.max(1, Math.ceil(most / 8)), most)
    const from = uniformInt(random, 0, ids.length - length)
    const piece = tokenizer.decode(ids.slice(from, from + length)).trim()
    const asked = `${piece}\n\n${task}`
    return { kind, from, to: from + length, prompt: chat ? asked : `${asked}\nQuestion:` }
  })
}

/** A row that is learned. */
export interface StudyRow {
  readonly kind: string
  readonly question: string
  readonly answer: string
}

/** What was written, without messages or answers that are empty, and without a question that was asked before. */
export function studyRows(kinds: readonly string[], questions: readonly string[], answers: readonly string[]): StudyRow[] {
  const seen = new Set<string>()
  return questions.flatMap((said, i) => {
    const [question, answer] = [said.trim(), (answers[i] ?? '').trim()]
    if (question === '' || answer === '' || seen.has(question)) return []
    seen.add(question)
    return [{ kind: kinds[i]!, question, answer }]
  })
}
