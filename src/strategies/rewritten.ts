import { readPrompts } from '../data/texts/reply.js'

/** Questions in other words, as a model writes them. */

/**
 * The text between the last pair of tags of a reply.
 * @returns undefined where there is none, or it has lost a number or a quotation of the question: it is then another question
 */
export function rewritten(reply: string, question: string): string | undefined {
  const text = readPrompts(reply).at(-1)
  if (text === undefined) return undefined
  const kept = [...question.matchAll(/\d+(?:[.,]\d+)*|(?<=["“])[^"“”]+(?=["”])/gu)].map(([part]) => part.replaceAll(/\s+/gu, ' '))
  return kept.every(part => text.includes(part)) ? text : undefined
}
