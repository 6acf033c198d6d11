/**
 * Text to ids and back, out of the parts in `tokenize/`: added tokens are cut out, the rest is normalised, cut into pieces, and each
 * piece is encoded. What the parts decide equals the Rust `tokenizers`, which `transformers` runs; a part or an option that is not known
 * is refused. Pieces are encoded once and kept, and whatever may take long is run under a limit of time.
 */
import { GradpromptError } from '../errors.js'
import { withinTime } from './time-limit.js'
import { AddedTokenFinder } from './tokenize/added-tokens.js'
import { bpeOf, type TokenModel } from './tokenize/bpe.js'
import { spellBytes } from './tokenize/bytes.js'
import { decoderOf } from './tokenize/decoder.js'
import { checkId, invalid, type TokenizerDefinition, unsupported } from './tokenize/definition.js'
import { normalizerOf } from './tokenize/normalizer.js'
import { frameOf } from './tokenize/post-processor.js'
import { endsInByteLevel, prefixesAfterCutting, preTokenizerOf } from './tokenize/pre-tokenizer.js'
import { wordModelOf } from './tokenize/word-models.js'

/** The text <-> ids pipeline of one definition. */
export interface TokenizerCore {
  /** The piece of each id as the vocabulary spells it; holes where no token has the id. */
  readonly pieces: readonly (string | undefined)[]
  /** @throws {GradpromptError} `tokenizer-too-slow`, `text-grows` */
  encode(text: string, addSpecialTokens: boolean): number[]
  decode(ids: readonly number[]): string
}

/** Texts are made of few distinct words, so most pieces are merged once; the cache is emptied at this size. */
const maxCachedPieces = 2 ** 16
const maxCachedPieceLength = 64

/** A text has this long, and a millisecond for every hundred characters, where the time does not follow from its length. */
const doubtfulMilliseconds = 2000

/** @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer` */
export function createTokenizerCore(definition: TokenizerDefinition): TokenizerCore {
  const { model: modelStep, bpe, addedTokens } = definition
  for (const { id, content } of addedTokens) checkId(id, content)
  if (bpe !== undefined) for (const [token, id] of bpe.vocab) checkId(id, token)
  const model = bpe === undefined ? wordModelOf(modelStep) : bpeOf(bpe, modelStep)
  const pieces = piecesOf(model, definition)

  const normalizer = normalizerOf(definition.normalizer)
  // Where spelling bytes is the last thing before the model, one cache from raw text to ids serves both.
  const spelledLater = endsInByteLevel(definition.preTokenizer)
  if (definition.normalizer !== null && prefixesAfterCutting(definition.preTokenizer)) {
    const found = 'a normalizer, and Metaspace with prepend_scheme first behind another pre-tokenizer'
    throw unsupported('Where a text begins depends on what the normalizer takes away from it', found, 'one or the other')
  }
  const preTokenizer = preTokenizerOf(definition.preTokenizer, spelledLater)
  const decoder = definition.decoder === null ? undefined : decoderOf(definition.decoder)
  const encodePiece = cached(spelledLater ? piece => model.encode(spellBytes(piece)) : piece => model.encode(piece))

  const raw = new AddedTokenFinder(
    addedTokens.filter(token => !token.normalized),
    content => content,
  )
  const normal = new AddedTokenFinder(
    addedTokens.filter(token => token.normalized),
    content => normalizer.normalize(content),
  )
  const addedIds = new Map(addedTokens.map(({ content, id }) => [content, id]))
  const frame = frameOf(definition.postProcessor, token => addedIds.get(token) ?? model.vocab.get(token))
  if ([...frame.before, ...frame.after].some(id => pieces[id] === undefined)) {
    throw invalid(
      'The post-processor adds an unknown token',
      JSON.stringify(definition.postProcessor),
      'tokens of the vocabulary',
    )
  }

  const encodeText = (text: string, ids: number[]): void => {
    for (const section of raw.split(text)) {
      if ('id' in section) {
        ids.push(section.id)
        continue
      }
      for (const inner of normal.split(normalizer.normalize(section.text))) {
        if ('id' in inner) {
          ids.push(inner.id)
          continue
        }
        const first = section.start === 0 && inner.start === 0
        for (const piece of preTokenizer.split([inner.text], first)) for (const id of encodePiece(piece)) ids.push(id)
      }
    }
  }
  // A token that is found in normalised text is also written as it stands there.
  const written = new Map<number, string>()
  for (const { id, content, normalized } of addedTokens) if (normalized) written.set(id, normalizer.normalize(content))
  const doubtful = normalizer.doubtful || preTokenizer.doubtful

  return {
    pieces,
    encode: (text, addSpecialTokens) => {
      const ids: number[] = addSpecialTokens ? [...frame.before] : []
      limited(doubtful, text.length, () => encodeText(text, ids))
      if (addSpecialTokens) ids.push(...frame.after)
      return ids
    },
    decode: ids => {
      if (ids.length === 0) return ''
      const texts = ids.map(id => written.get(id) ?? pieces[id] ?? '')
      if (decoder === undefined) return texts.join(' ')
      return limited(decoder.doubtful, texts.length, () => decoder.decode(texts).join(''))
    },
  }
}

/** Every id's text. Of two tokens with one id, the added one is shown. */
function piecesOf(model: TokenModel, { addedTokens }: TokenizerDefinition): (string | undefined)[] {
  const pieces: (string | undefined)[] = []
  for (const [token, id] of model.vocab) pieces[id] ??= token
  for (const { id, content } of addedTokens) pieces[id] = content
  return pieces
}

function limited<T>(doubtful: boolean, length: number, work: () => T): T {
  if (!doubtful) return work()
  const milliseconds = doubtfulMilliseconds + length / 100
  return withinTime(milliseconds, work, () => {
    throw new GradpromptError('tokenizer-too-slow', 'The tokenizer takes too long for a text', {
      found: `more than ${(milliseconds / 1000).toFixed(1)} s for ${length} characters`,
      expected: 'expressions that take time in proportion to the text',
      hint: 'look at the regular expressions in tokenizer.json: one of them backtracks without end',
    })
  })
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
