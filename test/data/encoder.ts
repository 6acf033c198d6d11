import type { Encoder } from '../../src/data/texts/encoder.js'

const specials = ['<bos>', '<eos>', '<user>', '<assistant>', '<unk>']

/**
 * A small tokenizer with the traits that matter to rows: a word takes the space before it, so that text which goes on without
 * a space changes the last token; special tokens written in the text are read as such; code points that it does not know become
 * `<unk>`. A token is at most four characters long.
 */
export function fakeEncoder({ bos = false, eos = false } = {}): Encoder & { encoded: number } {
  const ids = new Map(specials.map((token, id) => [token, id]))
  const tokens = [...specials]
  const idOf = (token: string) => {
    if (token === '☃') return 4
    const known = ids.get(token)
    if (known !== undefined) return known
    ids.set(token, tokens.length)
    tokens.push(token)
    return tokens.length - 1
  }
  return {
    encoded: 0,
    eosTokenId: 1,
    unkTokenId: 4,
    specialTokenIds: new Set(specials.keys()),
    encode(text, { addSpecialTokens = true } = {}) {
      this.encoded++
      const pieces = text.match(/<(?:bos|eos|user|assistant|unk)>| ?[a-z0-9]{1,3}|[\s\S]/gu) ?? []
      const inner = pieces.map(idOf)
      return addSpecialTokens ? [...(bos ? [0] : []), ...inner, ...(eos ? [1] : [])] : inner
    },
    decode: all => all.map(id => tokens[id]).join(''),
    applyChatTemplate: (messages, { addGenerationPrompt = false } = {}) =>
      messages.map(({ role, content }) => `${role === 'assistant' ? '<assistant>' : '<user>'}${content.trim()}<eos>`).join('') +
      (addGenerationPrompt ? '<assistant>' : ''),
  }
}
