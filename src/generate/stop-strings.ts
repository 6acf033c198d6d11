import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'

/** What stop strings look for: text, or a special token, which has no text in an answer. It does not know how either is found. */
export interface Stops {
  readonly texts: readonly string[]
  readonly ids: readonly number[]
}

/** @throws GradpromptError `invalid-option` for text with a special token in it: neither the text nor the token would be met */
export function splitStops(stop: readonly string[], tokenizer: Pick<Tokenizer, 'encode' | 'specialTokenIds' | 'token'>): Stops {
  const texts: string[] = []
  const ids: number[] = []
  for (const text of stop) {
    const found = tokenizer.encode(text, { addSpecialTokens: false })
    const special = found.find(id => tokenizer.specialTokenIds.has(id))
    // A word that the tokenizer does not know is read as a special token, but does not say its name.
    if (special === undefined || !text.includes(tokenizer.token(special))) texts.push(text)
    else if (text === tokenizer.token(special)) ids.push(special)
    else
      throw new GradpromptError('invalid-option', 'A stop string has a special token and other text in it', {
        found: JSON.stringify(text),
        expected: 'text, or a special token alone',
        hint: `${tokenizer.token(special)} alone ends the answer there`,
      })
  }
  return { texts, ids }
}
