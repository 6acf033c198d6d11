import { didYouMean, GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'

/**
 * Which tokens may stand at a free position. `ascii`: printable ASCII (nanoGCG's rule); `words`: letters, spaces, commas and periods
 * alone (GReaTer's); `any`: all text. A list names the tokens, one by one.
 */
export type VocabularyChoice = 'ascii' | 'words' | 'any' | readonly string[]

const patterns: Readonly<Record<'ascii' | 'words' | 'any', RegExp>> = {
  ascii: /^[\x20-\x7e]+$/,
  words: /^(?: ?[A-Za-z]+|[.,])$/,
  any: /./su,
}

const known = new WeakMap<Tokenizer, Map<string, Int32Array>>()

/**
 * The ids that a search may choose from, in ascending order. Never among them: special tokens, parts of a character, ids without text,
 * and ids that their own text does not give back, since no consumer of the string would see them.
 *
 * @param vocabSize rows of the model's embedding table
 * @throws GradpromptError `empty-vocabulary`; `not-a-token` for a listed text that is not one token
 */
export function allowedTokens(tokenizer: Tokenizer, choice: VocabularyChoice, vocabSize: number): Int32Array {
  const kinds = known.get(tokenizer) ?? new Map<string, Int32Array>()
  known.set(tokenizer, kinds)
  const key = JSON.stringify([choice, vocabSize])
  let allowed = kinds.get(key)
  if (allowed === undefined) {
    allowed = typeof choice === 'string' ? matching(tokenizer, choice, vocabSize) : listed(tokenizer, choice, vocabSize)
    kinds.set(key, allowed)
  }
  if (allowed.length > 0) return allowed
  throw new GradpromptError('empty-vocabulary', 'no token may be tried', {
    found: `search.vocabulary: ${JSON.stringify(choice)}`,
    expected: 'a vocabulary with a token that this tokenizer has',
    hint: 'ascii, words and any are the wider ones, in that order from words',
  })
}

function matching(tokenizer: Tokenizer, choice: 'ascii' | 'words' | 'any', vocabSize: number): Int32Array {
  const ids: number[] = []
  for (let id = 0; id < Math.min(vocabSize, tokenizer.vocabSize); id++) {
    if (tokenizer.specialTokenIds.has(id)) continue
    const text = tokenizer.token(id)
    if (text.includes('\ufffd') || !patterns[choice].test(text)) continue
    if (readsBack(tokenizer, id, text)) ids.push(id)
  }
  return Int32Array.from(ids)
}

/** Whether a text of its own, or behind a period, gives the id: SentencePiece begins a text with a space. */
function readsBack(tokenizer: Tokenizer, id: number, text: string): boolean {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false })
  const alone = encode(text)
  if (alone.length === 1 && alone[0] === id) return true
  const behind = encode(`.${text}`)
  return behind.length === 2 && behind[1] === id
}

function listed(tokenizer: Tokenizer, texts: readonly string[], vocabSize: number): Int32Array {
  const all = matching(tokenizer, 'any', vocabSize)
  const ids = new Map(Array.from(all, id => [tokenizer.token(id), id]))
  const found = texts.map(text => {
    const id = ids.get(text)
    if (id !== undefined) return id
    throw new GradpromptError('not-a-token', 'search.vocabulary holds a text that is not one token', {
      found: JSON.stringify(text),
      expected: 'tokens of this model, with their leading space where they have one',
      ...(ids.has(` ${text}`) ? { hint: `did you mean ${JSON.stringify(` ${text}`)}?` } : hintOf(text, [...ids.keys()])),
    })
  })
  return Int32Array.from(new Set(found)).sort()
}

function hintOf(text: string, tokens: readonly string[]): { hint?: string } {
  const alike = text.length > 2 ? tokens.filter(token => Math.abs(token.length - text.length) < 2) : []
  const hint = didYouMean(text, alike, token => JSON.stringify(token))
  return hint === undefined ? {} : { hint }
}
