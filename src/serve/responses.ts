import type { Tokenizer } from '../formats/tokenizer.js'
import type { Generation } from '../generate/request.js'

/** What every object of one response has in common. */
export interface Envelope {
  readonly id: string
  /** Seconds since 1970. */
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
}

export interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
}

/** How one endpoint writes its choices; `index` counts them from 0. */
export interface ResponseFormat {
  readonly idPrefix: string
  readonly object: string
  readonly chunkObject: string
  choice(index: number, generation: Generation, tokenizer: TokenNames): object
  /** What a stream says of a choice before its text. */
  opening(index: number): object | undefined
  piece(index: number, text: string): object
  /** The last word on a choice: why it ended, and its log-probabilities, which a stream gives as a whole. */
  ending(index: number, generation: Generation, tokenizer: TokenNames): object
}

export type TokenNames = Pick<Tokenizer, 'token' | 'tokenBytes'>

export const chatFormat: ResponseFormat = {
  idPrefix: 'chatcmpl',
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  choice: (index, generation, tokenizer) => ({
    index,
    message: { role: 'assistant', content: generation.text, refusal: null },
    logprobs: chatLogprobs(generation, tokenizer),
    finish_reason: generation.finishReason,
    ...rejected(generation),
  }),
  opening: index => ({ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }),
  piece: (index, content) => ({ index, delta: { content }, logprobs: null, finish_reason: null }),
  ending: (index, generation, tokenizer) => ({
    index,
    delta: {},
    logprobs: chatLogprobs(generation, tokenizer),
    finish_reason: generation.finishReason,
    ...rejected(generation),
  }),
}

export const textFormat: ResponseFormat = {
  idPrefix: 'cmpl',
  object: 'text_completion',
  chunkObject: 'text_completion',
  choice: (index, generation, tokenizer) => ({
    index,
    text: generation.text,
    logprobs: textLogprobs(generation, tokenizer),
    finish_reason: generation.finishReason,
    ...rejected(generation),
  }),
  opening: () => undefined,
  piece: (index, text) => ({ index, text, logprobs: null, finish_reason: null }),
  ending: (index, generation, tokenizer) => ({
    index,
    text: '',
    logprobs: textLogprobs(generation, tokenizer),
    finish_reason: generation.finishReason,
    ...rejected(generation),
  }),
}

/** Not OpenAI's: told where it was asked for. */
const rejected = ({ rejectedMass }: Generation) => (rejectedMass === undefined ? {} : { rejected_mass: rejectedMass })

function chatLogprobs(generation: Generation, tokenizer: TokenNames) {
  const tokens = scoredTokens(generation, tokenizer)
  if (tokens === undefined) return null
  const withBytes = ({ token, logprob, bytes }: ScoredToken) => ({ token, logprob, bytes: [...bytes] })
  const content = tokens.map(({ alternatives, ...token }) => ({
    ...withBytes(token),
    top_logprobs: (alternatives ?? []).map(withBytes),
  }))
  return { content, refusal: null }
}

function textLogprobs(generation: Generation, tokenizer: TokenNames) {
  const scored = scoredTokens(generation, tokenizer)
  if (scored === undefined) return null
  const tokens = scored.map(nameOf)
  let offset = 0
  const text_offset = scored.map(({ token }) => {
    const at = offset
    offset += token.length
    return at
  })
  const top_logprobs = scored.some(({ alternatives }) => alternatives !== undefined)
    ? scored.map(({ alternatives = [], ...token }) => topLogprobs([...alternatives, token]))
    : null
  return { tokens, token_logprobs: scored.map(({ logprob }) => logprob), top_logprobs, text_offset }
}

/** By text, as the API has it: of several tokens that read alike the likeliest. */
function topLogprobs(tokens: readonly ScoredToken[]): Record<string, number> {
  const likeliest = new Map<string, number>()
  for (const token of tokens) {
    const name = nameOf(token)
    if (!likeliest.has(name)) likeliest.set(name, token.logprob)
  }
  return Object.fromEntries(likeliest)
}

interface ScoredToken {
  readonly token: string
  readonly logprob: number
  readonly bytes: Uint8Array
}

/** A part of a character has no text: the API then spells its bytes, as `bytes:\xe2\x80`. */
function nameOf({ token, bytes }: ScoredToken): string {
  if (!token.includes('\uFFFD') || Buffer.from(token).equals(bytes)) return token
  return `bytes:${[...bytes].map(byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`
}

/** The tokens of an answer, each with the likeliest in its place; the one that only ends it is not among them. */
function scoredTokens(
  { ids, logProbabilities, alternatives, stoppedBy }: Generation,
  tokenizer: TokenNames,
): (ScoredToken & { readonly alternatives?: readonly ScoredToken[] })[] | undefined {
  if (logProbabilities === undefined) return undefined
  const named = (id: number, logprob: number) => ({ token: tokenizer.token(id), logprob, bytes: tokenizer.tokenBytes(id) })
  const shown = typeof stoppedBy === 'number' && ids.at(-1) === stoppedBy ? ids.slice(0, -1) : ids
  return shown.map((id, i) => ({
    ...named(id, logProbabilities[i]!),
    ...(alternatives && { alternatives: alternatives[i]!.map(({ id, logProbability }) => named(id, logProbability)) }),
  }))
}
