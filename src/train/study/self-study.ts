import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { escapeTemplate } from '../../data/texts/template.js'
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
  /** What a text in the context is, as it stands before every row: the system message of the chat template, or the text and an empty line. */
  readonly context: string
  /** What was asked, as it stands behind that. */
  asked(message: string): string
  /** The template and the answer of rows that are learned, and what ends these. */
  readonly template: string
  readonly answer: string
  readonly answerEnd: string
  /** What ends an answer that is written, where the model's own end does not. */
  readonly stop: readonly string[] | undefined
  /** Rows are turns of the chat template. */
  readonly isChat: boolean
}

/** Stands for a message where a chat template is looked at. */
const place = '\u2042'

/**
 * Where the model has a chat template that takes a system message, the text is that message and a row is what follows it, so that the prompt
 * takes the place of the message as a whole. Otherwise both are plain text.
 */
export function studyForm(tokenizer: Tokenizer, text: string): StudyForm {
  return chatForm(tokenizer, text) ?? plainForm(text)
}

function plainForm(text: string): StudyForm {
  const template = 'Question: {question}\nAnswer:'
  return {
    context: `${text}\n\n`,
    asked: message => template.replace('{question}', () => message),
    template,
    answer: ' {answer}',
    answerEnd: 'auto',
    stop: ['\nQuestion:', '\n\n'],
    isChat: false,
  }
}

/** Undefined where there is no chat template, or a system message is no beginning of its own in it. */
function chatForm(tokenizer: Tokenizer, text: string): StudyForm | undefined {
  if (tokenizer.chatTemplate === undefined) return undefined
  const render = (turns: readonly (readonly [role: string, content: string])[], addGenerationPrompt: boolean) =>
    tokenizer.applyChatTemplate(
      turns.map(([role, content]) => ({ role, content })),
      { addGenerationPrompt },
    )
  try {
    const system = render([['system', text]], false)
    const asked = render([['system', text], ['user', place]], true) // biome-ignore format: turns
    const answered = render([['system', text], ['user', place], ['assistant', place]], false) // biome-ignore format: turns
    const rest = asked.slice(system.length)
    if (!system.includes(text) || !asked.startsWith(system) || rest.split(place).length !== 2) return undefined
    // The tokenizer writes its BOS itself.
    const bos = tokenizer.bosTokenId === undefined ? '' : tokenizer.decode([tokenizer.bosTokenId])
    const end = answered.slice(answered.lastIndexOf(place) + place.length).trim()
    return {
      context: bos !== '' && system.startsWith(bos) ? system.slice(bos.length) : system,
      asked: message => rest.replace(place, () => message),
      template: escapeTemplate(rest).replace(place, () => '{question}'),
      answer: '{answer}',
      answerEnd: end === '' ? 'auto' : end,
      stop: undefined,
      isChat: true,
    }
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
