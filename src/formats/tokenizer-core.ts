import * as tokenizers from '@huggingface/tokenizers'
import { GradpromptError } from '../errors.js'

/** One entry of `added_tokens` in a `tokenizer.json`: matched in the text before anything else looks at it. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly normalized: boolean
  readonly lstrip?: boolean
  readonly rstrip?: boolean
  readonly single_word?: boolean
}

/** A step of the pipeline as `tokenizer.json` writes it: `{ type: 'ByteLevel', … }`. */
export type PipelineStep = { readonly type: string; readonly [field: string]: unknown } | null

/** A merge rule as `tokenizer.json` writes it: `'left right'`, or the pair where pieces may contain spaces. */
export type Merge = string | readonly [left: string, right: string]

/** What a `tokenizer.json` says, whether it was read from a file or put together from GGUF metadata. */
export interface TokenizerDefinition {
  /** For BPE, `vocab` and `merges` stand in `bpe` instead. */
  readonly model: { readonly type: string; readonly [field: string]: unknown }
  readonly bpe?: { readonly vocab: Map<string, number>; readonly merges: readonly Merge[] }
  readonly addedTokens: readonly AddedToken[]
  readonly normalizer: PipelineStep
  readonly preTokenizer: PipelineStep
  readonly postProcessor: PipelineStep
  readonly decoder: PipelineStep
}

/** The text <-> ids pipeline of one definition. */
export interface TokenizerCore {
  /** The piece of each id as the vocabulary spells it; holes where no token has the id. */
  readonly pieces: readonly (string | undefined)[]
  encode(text: string, addSpecialTokens: boolean): number[]
  decode(ids: readonly number[]): string
}

// What is used of the library, whose own declarations do not resolve under NodeNext.
const library = tokenizers as unknown as {
  readonly Tokenizer: new (json: object, config: object) => Pipeline
  readonly ByteLevelPreTokenizer: new (config: object) => ByteLevelPreTokenizer
  readonly DigitsPreTokenizer: new (config: object) => DigitsPreTokenizer
  readonly ByteFallbackDecoder: new (config: object) => Decoder
}

interface Pipeline {
  readonly model: BpeModel
  readonly pre_tokenizer: PreTokenizer | null
  readonly decoder: Decoder | null
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] }
  decode(ids: readonly number[], options: { clean_up_tokenization_spaces: boolean }): string
}

interface BpeModel {
  vocab: string[]
  tokens_to_ids: Map<string, number>
  unk_token_id: number | undefined
  readonly unk_token: string | null | undefined
  readonly byte_fallback: boolean
  readonly ignore_merges: boolean
  max_length_to_cache: number
  encode(pieces: readonly string[]): string[]
  add_node(queue: { push(node: BpeNode): void }, node: BpeNode): void
}

interface BpeNode {
  readonly token: string
  readonly bias: number
  readonly next: BpeNode
  score: number
}

interface PreTokenizer {
  readonly tokenizers?: readonly (PreTokenizer | null)[]
  pre_tokenize_text(text: string): string[]
}

interface ByteLevelPreTokenizer extends PreTokenizer {
  readonly add_prefix_space: boolean
  readonly use_regex: boolean
}

interface DigitsPreTokenizer extends PreTokenizer {
  readonly config: { readonly individual_digits?: boolean }
  pattern: RegExp
}

interface Decoder {
  readonly decoders?: readonly Decoder[]
  text_decoder?: { decode(bytes: Uint8Array): string }
}

/** Ids above this are refused: a file that names one would make every later allocation as large as it likes. */
const maxTokenId = 2 ** 24

/** Texts are made of few distinct words, so most pieces are merged once; the caches are emptied at this size. */
const maxCachedPieces = 2 ** 16
const maxCachedPieceLength = 64

/**
 * Builds the pipeline with `@huggingface/tokenizers`, corrected where it departs from the Rust `tokenizers`
 * (what `transformers` runs) and with its slow paths cached.
 *
 * @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer`
 */
export function createTokenizerCore(definition: TokenizerDefinition): TokenizerCore {
  const { model, bpe, addedTokens } = definition
  for (const { id, content } of addedTokens) checkId(id, content)
  const pipeline = attempt(
    () =>
      new library.Tokenizer(
        {
          // The library would copy the vocabulary three times and serialise every merge: it gets them afterwards.
          model: bpe === undefined ? model : { ...model, vocab: {}, merges: [] },
          added_tokens: addedTokens,
          normalizer: definition.normalizer,
          pre_tokenizer: definition.preTokenizer,
          post_processor: definition.postProcessor,
          decoder: definition.decoder,
        },
        { clean_up_tokenization_spaces: false },
      ),
  )
  // Where spelling bytes is the last thing before BPE, one cache from raw text to merged pieces serves both.
  const spelledByBpe = bpe !== undefined && lastStep(pipeline.pre_tokenizer) instanceof library.ByteLevelPreTokenizer
  if (bpe !== undefined) installBpe(pipeline.model, bpe, spelledByBpe ? spellBytes : piece => piece)
  correctPreTokenizer(pipeline.pre_tokenizer, spelledByBpe)
  if (pipeline.decoder !== null) correctDecoder(pipeline.decoder)

  const core: TokenizerCore = {
    pieces: pipeline.model.vocab,
    encode: (text, addSpecialTokens) => pipeline.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    decode: ids => (ids.length === 0 ? '' : pipeline.decode(ids, { clean_up_tokenization_spaces: false })),
  }
  if (!attempt(() => core.encode('', true)).every(Number.isInteger)) {
    throw invalid(
      'The post-processor adds an unknown token',
      JSON.stringify(definition.postProcessor),
      'tokens of the vocabulary',
    )
  }
  return core
}

/** The bytes of `text` in UTF-8, each as the character that byte-level vocabularies write for it (GPT-2's table). */
export function spellBytes(text: string): string {
  return byteSpeller.pre_tokenize_text(text)[0]!
}

/** A file that contradicts itself or its format. */
export function invalid(
  message: string,
  found: string,
  expected: string,
  details: { hint?: string; cause?: unknown } = {},
): GradpromptError {
  const hint = 'get the model again from where it was published: this file is damaged, or was edited by hand'
  return new GradpromptError('invalid-tokenizer', message, { found, expected, hint, ...details })
}

const byteSpeller = new library.ByteLevelPreTokenizer({ type: 'ByteLevel', add_prefix_space: false, use_regex: false })

/** The library throws plain errors, of any kind, at what it does not know. */
function attempt<T>(build: () => T): T {
  try {
    return build()
  } catch (cause) {
    throw new GradpromptError('unsupported-tokenizer', 'The tokenizer cannot be built', {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'the kinds of model, normalizer, pre-tokenizer, post-processor and decoder that @huggingface/tokenizers has',
      hint: 'language models with byte-level BPE or SentencePiece work: Llama, Qwen, Gemma, GPT-2 and their relatives',
      cause,
    })
  }
}

function checkId(id: number, content: string): void {
  if (Number.isInteger(id) && id >= 0 && id < maxTokenId) return
  throw invalid(`The token ${JSON.stringify(content)} has an impossible id`, String(id), `an integer from 0 to ${maxTokenId - 1}`)
}

/** Gives the library's BPE its tables, and puts a cache before it. `vocab` becomes the model's own. */
function installBpe(
  model: BpeModel,
  { vocab, merges }: NonNullable<TokenizerDefinition['bpe']>,
  spell: (piece: string) => string,
): void {
  const ranks = new Map<string, number>()
  const spaced = merges.some(merge => typeof merge !== 'string' && (merge[0].includes(' ') || merge[1].includes(' ')))
  const pairKey = spaced
    ? (left: string, right: string) => JSON.stringify([left, right])
    : (left: string, right: string) => `${left} ${right}`
  for (let rank = 0; rank < merges.length; rank++) {
    const merge = merges[rank]!
    const merged = typeof merge === 'string' ? merge.replace(' ', '') : merge[0] + merge[1]
    if (!vocab.has(merged))
      throw invalid(`Merge ${rank} makes an unknown piece`, JSON.stringify(merge), 'a piece of the vocabulary')
    ranks.set(typeof merge !== 'string' ? pairKey(merge[0], merge[1]) : spaced ? JSON.stringify(merge.split(' ')) : merge, rank)
  }

  const addedIds = model.tokens_to_ids
  for (const [token, id] of vocab) {
    checkId(id, token)
    model.vocab[id] ??= token
  }
  for (const [token, id] of addedIds) vocab.set(token, id)
  model.tokens_to_ids = vocab
  model.unk_token_id = model.unk_token == null ? undefined : vocab.get(model.unk_token)

  model.add_node = (queue, node) => {
    const rank = ranks.get(pairKey(node.token, node.next.token))
    if (rank === undefined) return
    node.score = rank + node.bias
    queue.push(node)
  }
  model.max_length_to_cache = 0 // its own cache holds 10,000 pieces and reorders them at every use
  const merge = model.encode.bind(model)
  const merged = cached((piece: string) => merge([mergeable(spell(piece))]))
  model.encode = pieces => {
    const tokens: string[] = []
    for (const piece of pieces) for (const token of merged(piece)) tokens.push(token)
    return tokens
  }

  /** Without an unknown token, a character outside the vocabulary vanishes before its neighbours are merged. */
  function mergeable(piece: string): string {
    if (model.unk_token != null || (model.ignore_merges && vocab.has(piece))) return piece
    let kept = ''
    for (const character of piece) if (vocab.has(character) || (model.byte_fallback && hasBytes(character))) kept += character
    return kept
  }

  function hasBytes(character: string): boolean {
    return Buffer.from(character).every(byte => vocab.has(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`))
  }
}

// In JavaScript `\s` has U+FEFF and lacks U+0085, and `\d` is ASCII only: neither is what the Rust patterns mean.
const gpt2Pattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

function correctPreTokenizer(step: PreTokenizer | null, lastSpellsLater: boolean): void {
  if (step?.tokenizers !== undefined) {
    step.tokenizers.forEach((inner, i) => {
      correctPreTokenizer(inner, lastSpellsLater && i === step.tokenizers!.length - 1)
    })
  } else if (step instanceof library.DigitsPreTokenizer) {
    step.pattern = step.config.individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu
  } else if (step instanceof library.ByteLevelPreTokenizer) {
    step.pre_tokenize_text = text => {
      const prefixed = step.add_prefix_space && !text.startsWith(' ') ? ` ${text}` : text
      const pieces = step.use_regex ? (prefixed.match(gpt2Pattern) ?? []) : [prefixed]
      return lastSpellsLater ? pieces : pieces.map(spellBytes)
    }
  }
}

function lastStep(step: PreTokenizer | null): PreTokenizer | null {
  return step?.tokenizers === undefined ? step : lastStep(step.tokenizers.at(-1) ?? null)
}

function correctDecoder(step: Decoder): void {
  for (const inner of step.decoders ?? []) correctDecoder(inner)
  // Bytes that are not UTF-8 become one replacement character each, and a byte order mark is kept.
  if (step instanceof library.ByteFallbackDecoder) {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    step.text_decoder = {
      decode: bytes => {
        try {
          return strict.decode(bytes)
        } catch {
          return '\uFFFD'.repeat(bytes.length)
        }
      },
    }
  }
}

function cached<T>(compute: (piece: string) => T): (piece: string) => T {
  const known = new Map<string, T>()
  return piece => {
    const found = known.get(piece)
    if (found !== undefined) return found
    const value = compute(piece)
    if (piece.length <= maxCachedPieceLength) {
      if (known.size >= maxCachedPieces) known.clear()
      known.set(piece, value)
    }
    return value
  }
}
