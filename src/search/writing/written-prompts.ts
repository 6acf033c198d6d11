import { readPrompt } from '../../data/texts/reply.js'
import type { SearchContext } from '../moves/method.js'
import type { Candidate, Swap } from '../space/candidates.js'

/** What became of a critic's answers. */
export type ReplyFigures = {
  readonly written: number
  /** Answers in which there is no prompt. */
  readonly unread: number
  /** Prompts that are too long, or have tokens that the vocabulary leaves out. */
  readonly unfit: number
}

/** Prompts that a model has written, and what became of its answers. */
export interface WrittenPrompts {
  readonly candidates: Candidate[]
  readonly figures: ReplyFigures
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
export function replaced(from: readonly number[], ids: readonly number[]): Candidate {
  const swaps: Swap[] = []
  for (let position = 0; position < Math.max(from.length, ids.length); position++)
    if (from[position] !== ids[position]) swaps.push({ position, from: from[position] ?? null, to: ids[position] ?? null })
  return { ids, swaps }
}

/** The whole, then ever fewer of its first sentences. */
export function beginnings(text: string): string[] {
  const sentences = text.split(/(?<=[.!?]) /u)
  return sentences.map((_, i) => sentences.slice(0, sentences.length - i).join(' '))
}
