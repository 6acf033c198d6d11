import { createHash } from 'node:crypto'
import { GradpromptError } from '../errors.js'
import { type ChatTemplate, chatTemplateRenderer } from './chat-template.js'
import type { GgufValue } from './gguf.js'
import { type TokenizerParts, tokenizerFromGguf } from './gguf-tokenizer.js'
import { unspellBytes } from './tokenize/bytes.js'
import { cleanUpSpaces } from './tokenize/decoder.js'
import type { TokenizerDefinition } from './tokenize/definition.js'
import { createTokenizerCore } from './tokenizer-core.js'
import { tokenizerFromFolder } from './tokenizer-folder.js'

export type { ChatMessage, ChatTemplateOptions } from './chat-template.js'

/** Turns text into the ids of one model and back. Ids equal those of `transformers` for the same files. */
export interface Tokenizer {
  /** The highest id of any token, plus one. */
  readonly vocabSize: number
  readonly bosTokenId: number | undefined
  readonly eosTokenId: number | undefined
  /**
   * Every token that ends a text or a turn: `eosTokenId` first, where there is one, then what `eos_token_id` of `generation_config.json`
   * and `config.json` lists, or the ends of turn and message that a GGUF file names. Each of them ends what is written.
   */
  readonly endTokenIds: readonly number[]
  readonly padTokenId: number | undefined
  readonly unkTokenId: number | undefined
  /** Tokens that stand for no text: `decode` leaves them out with `skipSpecialTokens`. */
  readonly specialTokenIds: ReadonlySet<number>
  /** The model's Jinja template, if it has one. */
  readonly chatTemplate: string | undefined
  /** Characters of the longest token, in the units of a text's `length`: no text of fewer tokens is longer than these times as many. */
  readonly longestToken: number
  /** SHA-256, in hexadecimal, over everything that decides the ids. */
  readonly hash: string
  /**
   * Special tokens written in `text` are read as such. `addSpecialTokens`: with the BOS or EOS that the model wants (default true).
   * Throws `tokenizer-too-slow` and `text-grows` where what the model's files say would take time or memory without end.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[]
  /** Ids without a token (padding rows of an embedding) give no text. Throws `invalid-token-id` for what can be none. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string
  /** One piece as people read it: ` good`, not `Ġgood`; `\uFFFD` where it is part of a character; empty without a token. */
  token(id: number): string
  /** The bytes of one piece in UTF-8, which may be a part of a character; none without a token. */
  tokenBytes(id: number): Uint8Array
  /** A conversation as the text that the model's own template makes of it. */
  readonly applyChatTemplate: ChatTemplate
}

/** Where a tokenizer is read from: a Hugging Face folder, or the metadata of an open GGUF file. */
export type TokenizerSource = { readonly folder: string } | { readonly ggufMetadata: ReadonlyMap<string, GgufValue> }

/**
 * Loads a tokenizer.
 *
 * @throws {GradpromptError} `file-not-found`, `file-too-large`, `invalid-tokenizer`, `unsupported-tokenizer`,
 * `unknown-tokenizer-model`, `unknown-pre-tokenizer`
 */
export async function loadTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  return createTokenizer('folder' in source ? await tokenizerFromFolder(source.folder) : tokenizerFromGguf(source.ggufMetadata))
}

function createTokenizer({ definition, specialIds, endTokenIds, cleansUpSpaces, chatTemplate }: TokenizerParts): Tokenizer {
  const core = createTokenizerCore(definition)
  const { pieces } = core
  const specialTokenIds = new Set(definition.addedTokens.filter(token => token.special).map(token => token.id))
  const addedIds = new Set(definition.addedTokens.map(token => token.id))
  const specialTokens: Record<string, string> = {}
  for (const [name, id] of Object.entries(specialIds)) {
    const content = id === undefined ? undefined : pieces[id]
    if (content !== undefined) specialTokens[`${name}_token`] = content
  }

  const checked = (id: number) => {
    if (Number.isInteger(id) && id >= 0) return id
    throw new GradpromptError('invalid-token-id', 'This can be no token id', {
      found: String(id),
      expected: 'an integer from 0',
      hint: 'ids come from encode, or from a model',
    })
  }
  const byteLevel = definition.decoder !== null && hasStep(definition.decoder, 'ByteLevel')
  const byteFallback = definition.decoder !== null && hasStep(definition.decoder, 'ByteFallback')
  let hash: string | undefined
  let longest: number | undefined

  return {
    vocabSize: pieces.length,
    bosTokenId: specialIds.bos,
    eosTokenId: specialIds.eos,
    endTokenIds,
    padTokenId: specialIds.pad,
    unkTokenId: specialIds.unk,
    specialTokenIds,
    chatTemplate,
    get longestToken() {
      // Bytes are spelled by a character each, of which none has fewer than a text.
      longest ??= pieces.reduce((most, piece = '') => Math.max(most, piece.length), 0)
      return longest
    },
    get hash() {
      hash ??= hashOf(definition)
      return hash
    },
    encode: (text, { addSpecialTokens = true } = {}) => core.encode(text, addSpecialTokens),
    decode: (ids, { skipSpecialTokens = false } = {}) => {
      const shown = ids.filter(id => pieces[checked(id)] !== undefined && !(skipSpecialTokens && specialTokenIds.has(id)))
      const text = core.decode(shown)
      return cleansUpSpaces ? cleanUpSpaces(text) : text
    },
    token: id => {
      const piece = pieces[checked(id)] ?? ''
      if (piece === '' || addedIds.has(id)) return piece
      return byteLevel ? core.decode([id]) : piece.replaceAll('▁', ' ')
    },
    tokenBytes: id => {
      const piece = pieces[checked(id)] ?? ''
      if (addedIds.has(id)) return utf8(piece)
      if (byteLevel) return unspellBytes(piece)
      const byte = byteFallback ? /^<0x([0-9A-F]{2})>$/.exec(piece)?.[1] : undefined
      return byte === undefined ? utf8(piece.replaceAll('▁', ' ')) : Uint8Array.of(Number.parseInt(byte, 16))
    },
    applyChatTemplate: chatTemplateRenderer(chatTemplate, specialTokens),
  }
}

const utf8 = (text: string) => new TextEncoder().encode(text)

function hasStep(step: object, type: string): boolean {
  const { type: own, decoders } = step as { type?: unknown; decoders?: readonly object[] }
  return own === type || (Array.isArray(decoders) && decoders.some(inner => hasStep(inner, type)))
}

function hashOf({ bpe, ...steps }: TokenizerDefinition): string {
  const hash = createHash('sha256').update(JSON.stringify(steps))
  if (bpe !== undefined) hash.update(JSON.stringify([[...bpe.vocab.keys()], [...bpe.vocab.values()], bpe.merges]))
  return hash.digest('hex')
}
