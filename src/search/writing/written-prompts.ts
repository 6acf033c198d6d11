import type { SearchContext } from '../moves/method.js'
import type { Candidate, Swap } from '../space/candidates.js'

/** Prompts that a model has written, and what became of its answers. */
export interface WrittenPrompts {
  readonly candidates: Candidate[]
  readonly figures: {
    readonly written: number
    /** Answers in which there is no prompt. */
    readonly unread: number
    /** Prompts that are too long, or have tokens that the vocabulary leaves out. */
    readonly unfit: number
  }
}

/**
 * Prompts from a critic's answers: distinct, within the limit, of the vocabulary, and such that the finished text reads back as the same
 * ids in its place (those that do not are counted among the drifted). One that is too long is cut behind its last sentence that fits.
 * @param from what they are to replace
 * @param known prompts that are not tried again
 */
export function promptsOf(
  answers: readonly string[],
  from: readonly number[],
  known: readonly (readonly number[])[],
  { maxPromptTokens }: { readonly maxPromptTokens: number },
  { space, rows, maxLength, mayHold, readsBack }: SearchContext,
): WrittenPrompts {
  const seen = new Set(known.map(ids => ids.join()))
  const most = Math.min(maxPromptTokens, maxLength)
  const figures = { written: answers.length, unread: 0, unfit: 0 }
  const candidates: Candidate[] = []
  for (const answer of answers) {
    const text = readPrompt(answer)
    if (text === undefined) {
      figures.unread++
      continue
    }
    const ids = beginnings(text)
      .map(part => space.rewritten(part, rows[0]!))
      .find(ids => ids.length <= most)
    if (ids === undefined || !mayHold(ids)) {
      figures.unfit++
      continue
    }
    if (seen.has(ids.join())) continue
    seen.add(ids.join())
    if (readsBack(ids)) candidates.push(replaced(from, ids))
  }
  return { candidates, figures }
}

/** A prompt in another's place, token by token. */
function replaced(from: readonly number[], ids: readonly number[]): Candidate {
  const swaps: Swap[] = []
  for (let position = 0; position < Math.max(from.length, ids.length); position++)
    if (from[position] !== ids[position]) swaps.push({ position, from: from[position] ?? null, to: ids[position] ?? null })
  return { ids, swaps }
}

/** The whole, then ever fewer of its first sentences. */
function beginnings(text: string): string[] {
  const sentences = text.split(/(?<=[.!?]) /u)
  return sentences.map((_, i) => sentences.slice(0, sentences.length - i).join(' '))
}

const LABEL =
  /^(?:(?:(?:the|a|my|your)\s+)?(?:(?:new|better|improved|revised|final|original)\s+)?(?:instructions?|prompt)\s*(?:is|are|was)?|in other words)\s*:\s*/iu
const MARKS = /^(?:[-*•>#]+|\d+[.)])\s+/u

/**
 * The prompt in an answer that went on behind an opening quotation mark. Models do not keep to what they are asked: it stands between
 * tags, up to the closing quotation mark, behind a label, or on the first line that says something. White space becomes single spaces.
 * @returns undefined where nothing is left that has a letter in it
 */
export function readPrompt(answer: string): string | undefined {
  const tagged = /<(prompt|instruction)>(.*?)(?:<\/\1>|$)/isu.exec(answer)?.[2]
  const found = tagged ?? quoted(answer) ?? line(answer)
  let text = found.replaceAll(/\s+/gu, ' ').trim().replace(MARKS, '').replace(LABEL, '')
  for (const [open, close] of ['""', '“”', "''", '``', '**'] as const)
    while (text.length > 1 && text.startsWith(open!) && text.endsWith(close!)) text = text.slice(1, -1).trim()
  return /\p{L}/u.test(text) ? text : undefined
}

/** Up to the mark that closes the quotation; marks in it open and close quotations of their own. */
function quoted(answer: string): string | undefined {
  let depth = 1
  for (const { 0: mark, index } of answer.matchAll(/["“”]/gu)) {
    const isOpening =
      mark === '“' || (mark === '"' && /(?:^|[\s(])$/u.test(answer.slice(0, index)) && /^\S/u.test(answer.slice(index + 1)))
    // A mark right at the beginning repeats the one that was given.
    if (answer.slice(0, index).trim() === '') {
      if (isOpening) return quoted(answer.slice(index + 1))
      continue
    }
    depth += isOpening ? 1 : -1
    if (depth === 0) return answer.slice(0, index)
  }
  return undefined
}

/** The first line that is not merely an announcement of what follows. */
function line(answer: string): string {
  const lines = answer.split('\n').map(text => text.trim())
  const said = lines.filter(text => /\p{L}/u.test(text))
  return said.find(text => !text.endsWith(':')) ?? said[0] ?? ''
}
