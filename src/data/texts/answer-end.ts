import { GradpromptError } from '../../errors.js'
import type { DataNotice } from '../readers/reader.js'
import { shorten } from '../readers/records.js'
import type { Encoder } from './encoder.js'
import type { Template } from './template.js'

/**
 * Where an answer ends: the tokens that are learned behind it, that tell `1` from the beginning of `10`, and at which generation stops.
 * What `answerEnd` says is resolved here alone, from the template and the tokenizer; rows and models are not known.
 */
export interface AnswerEnd {
  readonly text: string
  /** At least one. Special tokens come first or not at all. */
  readonly ids: readonly number[]
}

/** What says how an answer ends. */
export interface AnswerEndConfig {
  /** `auto`, `none`, or the text itself. */
  readonly answerEnd: string
  readonly template: Template
}

/**
 * `auto`: behind chat messages the special token by which the model's chat template closes the assistant's turn; otherwise, or where it
 * closes none, the tokenizer's end-of-text token.
 * @returns undefined where answers have no end: `none`, or `auto` with a tokenizer that knows none
 * @throws GradpromptError `invalid-config` for a text without tokens, or with a special token behind other text
 */
export function resolveAnswerEnd({ answerEnd, template }: AnswerEndConfig, tokenizer: Encoder): AnswerEnd | undefined {
  if (answerEnd === 'none') return undefined
  if (answerEnd !== 'auto') return givenEnd(answerEnd, tokenizer)
  const id = (typeof template === 'string' ? undefined : turnEnd(tokenizer)) ?? tokenizer.eosTokenId
  return id === undefined ? undefined : { text: tokenizer.decode([id]), ids: [id] }
}

/** What stands behind the assistant's text in a conversation of the model's own template: its first special token. */
function turnEnd(tokenizer: Encoder): number | undefined {
  const said = 'the-last-words'
  let text: string
  try {
    text = tokenizer.applyChatTemplate([
      { role: 'user', content: 'x' },
      { role: 'assistant', content: said },
    ])
  } catch (error) {
    // A template that takes no such conversation says nothing of ends.
    if (error instanceof GradpromptError) return undefined
    throw error
  }
  const at = text.lastIndexOf(said)
  if (at < 0) return undefined
  const behind = tokenizer.encode(text.slice(at + said.length), { addSpecialTokens: false })
  return behind.find(id => isSpecial(id, tokenizer))
}

const isSpecial = (id: number, { specialTokenIds, endTokenIds = [] }: Encoder) =>
  specialTokenIds.has(id) || endTokenIds.includes(id)

function givenEnd(text: string, tokenizer: Encoder): AnswerEnd {
  // Some tokenizers put a space before a text that begins: behind a letter it is read as it is behind an answer.
  const before = tokenizer.encode('x', { addSpecialTokens: false })
  const joint = tokenizer.encode(`x${text}`, { addSpecialTokens: false })
  const isCut = before.every((id, i) => joint[i] === id)
  const ids = isCut ? joint.slice(before.length) : tokenizer.encode(text, { addSpecialTokens: false })
  const special = ids.findIndex(id => tokenizer.specialTokenIds.has(id))
  if (ids.length > 0 && special <= 0) return { text, ids }
  throw new GradpromptError('invalid-config', 'answerEnd is nothing that an answer can end with', {
    found: `answerEnd: ${shorten(text)}${ids.length === 0 ? ', which has no tokens' : ''}`,
    expected: 'auto, none, a text such as "\\n", or a special token of the model',
    ...(special > 0 && { hint: `leave out what stands before ${tokenizer.decode([ids[special]!])}: generation stops at that` }),
  })
}

/**
 * A text with its end behind it. The end-of-text token that the tokenizer has put there makes room for it, and an end that the answer has
 * already is not put there twice.
 * @param end undefined: the text as it is
 * @param added the token that the tokenizer itself puts behind every text
 * @returns `length`: how many of the ids are no part of the end
 */
export function withEnd(
  text: readonly number[],
  end: AnswerEnd | undefined,
  added: number | undefined,
): { readonly ids: number[]; readonly length: number } {
  if (end === undefined) return { ids: [...text], length: text.length }
  const own = added !== undefined && text.at(-1) === added ? text.slice(0, -1) : text
  const hasEnd = end.ids.every((id, i) => own[own.length - end.ids.length + i] === id)
  return { ids: hasEnd ? [...own] : [...own, ...end.ids], length: own.length }
}

/** What ends an answer while it is generated. */
export interface AnswerStops {
  /** Special tokens have no text in an answer. */
  readonly stopTokenIds: readonly number[]
  /** A text may be tokenised in other ways than it was learned in. */
  readonly stop: readonly string[]
}

export function stopsOf(end: AnswerEnd | undefined, tokenizer: Pick<Encoder, 'specialTokenIds'>): AnswerStops {
  if (end === undefined) return { stopTokenIds: [], stop: [] }
  const first = end.ids[0]!
  return tokenizer.specialTokenIds.has(first) ? { stopTokenIds: [first], stop: [] } : { stopTokenIds: [], stop: [end.text] }
}

/**
 * Finds an answer whose tokens another one begins with. Whatever follows the shorter one, the longer one is never likelier than it, so
 * that the two are told apart by their ends alone.
 * @param answers [number of answers][tokens]
 * @returns their indices, the shorter one first
 */
export function beginningOf(answers: readonly (readonly number[])[]): readonly [number, number] | undefined {
  const compare = (a: readonly number[], b: readonly number[]) => {
    const at = a.findIndex((id, i) => id !== b[i])
    return at < 0 ? a.length - b.length : a[at]! - (b[at] ?? -1)
  }
  // In this order an answer that others begin with stands right before one of them.
  const order = [...answers.keys()].sort((i, j) => compare(answers[i]!, answers[j]!) || i - j)
  for (const [i, longer] of order.entries()) {
    const shorter = order[i - 1]
    if (shorter === undefined || answers[shorter]!.length >= answers[longer]!.length) continue
    if (answers[shorter]!.every((id, j) => answers[longer]![j] === id)) return [shorter, longer]
  }
  return undefined
}

/**
 * What is to be said of a task's ends before anything is computed.
 * @param end as resolved
 * @param overlap two labels of which the first one's tokens begin the second's
 */
export function answerEndNotices(
  { answerEnd }: Pick<AnswerEndConfig, 'answerEnd'>,
  end: AnswerEnd | undefined,
  overlap: readonly [string, string] | undefined,
): DataNotice[] {
  const notices: DataNotice[] = []
  if (answerEnd === 'auto' && end === undefined)
    notices.push({
      code: 'no-answer-end',
      message:
        'neither the chat template nor the tokenizer has a token that ends an answer: none is learned. answerEnd: "\\n" would end it with a line',
    })
  if (overlap !== undefined && end === undefined) {
    const [shorter, longer] = overlap.map(shorten)
    notices.push({
      code: 'overlapping-labels',
      message: `the tokens of ${longer} begin with those of ${shorter}, and without an end of answers ${longer} can never be the likelier of the two: set answerEnd, or choose other words`,
    })
  }
  return notices
}
