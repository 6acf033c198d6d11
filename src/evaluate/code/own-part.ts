import { codeBlock } from '../answers/extraction/code.js'
import { cutAtStop } from '../tasks/task.js'

/** What a program has at its margin, and a text that goes on with a function has not. */
const atMargin = /^(?:import \w|from \S+ import |(?:async )?def \w+\s*\(|class \w+\s*[(:])/m

/**
 * What an answer from elsewhere says before it runs on. Stop strings belong to a prompt that is gone on with: they would cut through a block
 * of code, or through a program that is whole, so that such an answer stays as it is.
 */
export function ownPart(text: string, stop: readonly string[]): string {
  const cut = cutAtStop(text, stop)
  if (cut === text) return text
  const block = codeBlock.find(text, '')?.value
  if (block !== undefined) return codeBlock.find(cut, '')?.value === block ? cut : text
  const isWhole = /^\S/.test(text.replace(/^(?:[ \t]*\r?\n)+/, '')) && atMargin.test(text)
  return isWhole ? text : cut
}
