import { GradpromptError } from '../../errors.js'
import { shorten } from '../readers/records.js'
import type { RowOptions } from './types.js'

/** Where the text of a row ends and its answer begins. */

/** How many ids two lists begin with alike. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/** @throws GradpromptError `empty-answer`, `empty-context` */
export function requireBorder(
  border: number,
  joints: readonly (readonly number[])[],
  origin: string,
  { answer, numVirtualTokens }: Pick<RowOptions, 'answer' | 'numVirtualTokens'>,
): void {
  if (joints.some(ids => ids.length === border))
    throw new GradpromptError('empty-answer', `${origin} has an answer without tokens`, {
      found: `answer: ${shorten(answer)}`,
      expected: 'an answer that adds at least one token to the context',
    })
  if (border === 0 && numVirtualTokens === 0)
    throw new GradpromptError('empty-context', `${origin} has nothing before its answer`, {
      found: 'no tokens and no soft prompt',
      expected: 'at least one token, from which the answer is predicted',
    })
}
