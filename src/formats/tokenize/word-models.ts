/** The models besides BPE: Unigram (Kudo 2018), WordPiece and WordLevel, as the Rust `tokenizers` runs them. */
import type { TokenModel } from './bpe.js'
import { unknownId } from './bpe.js'
import { byteToken } from './bytes.js'
import { affix, checkId, describe, invalid, unsupported } from './definition.js'

type Json = Readonly<Record<string, unknown>>

/** @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer` */
export function wordModelOf(model: Json): TokenModel {
  switch (model.type) {
    case 'Unigram':
      return unigram(model)
    case 'WordPiece':
      return wordPiece(model, tableOf(model.vocab))
    case 'WordLevel': {
      const vocab = tableOf(model.vocab)
      const unknown = unknownId(model.unk_token, vocab)
      if (unknown === undefined) throw noUnknown()
      return { vocab, encode: piece => [vocab.get(piece) ?? unknown] }
    }
    default:
      throw unsupported('The kind of tokenizer is not known', describe(model.type), 'BPE, Unigram, WordPiece or WordLevel')
  }
}

function noUnknown() {
  return invalid("The tokenizer's model has no unk_token", 'none', 'the token that stands for unknown text')
}

function tableOf(vocab: unknown): Map<string, number> {
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) {
    throw invalid("The tokenizer's model.vocab cannot be read", describe(vocab), 'an object from token to id')
  }
  return new Map(Object.entries(vocab).map(([token, id]) => [token, checkId(id, token)] as const))
}

// --- Unigram ------------------------------------------------------------------------------------------------------------

/** What an unknown character costs beside the unlikeliest piece. */
const unknownPenalty = 10
const maxPieceLength = 1024

function unigram(model: Json): TokenModel {
  const { vocab: entries, unk_id: unknown, byte_fallback: fallsBack = false } = model
  if (!Array.isArray(entries) || entries.length === 0) {
    throw invalid("The tokenizer's model.vocab cannot be read", describe(entries), 'a list of pieces with their scores')
  }
  if (typeof fallsBack !== 'boolean') {
    throw invalid("The tokenizer's model cannot be read: byte_fallback", describe(fallsBack), 'true or false')
  }
  const vocab = new Map<string, number>()
  const scores = new Float64Array(entries.length)
  let least = Number.POSITIVE_INFINITY
  let longest = 1
  entries.forEach((entry: unknown, id) => {
    const [piece, score]: readonly unknown[] = Array.isArray(entry) ? entry : []
    if (typeof piece !== 'string' || typeof score !== 'number') {
      throw invalid(`Piece ${id} of the tokenizer cannot be read`, describe(entry), '[text, score]')
    }
    if (piece.length > maxPieceLength) {
      throw invalid(`Piece ${id} of the tokenizer is too long`, `${piece.length} characters`, `at most ${maxPieceLength}`)
    }
    vocab.set(piece, checkId(id, piece))
    scores[id] = score
    least = Math.min(least, score)
    longest = Math.max(longest, piece.length)
  })
  const unknownToken = unknown === null || unknown === undefined ? undefined : unknown
  if (unknownToken !== undefined && !(typeof unknownToken === 'number' && entries[unknownToken] !== undefined)) {
    throw invalid("The tokenizer's unk_id is not in its vocabulary", describe(unknown), `an id below ${entries.length}, or none`)
  }
  const encoder = new TextEncoder()
  return { vocab, encode: piece => bestPath(piece).flatMap(part => idsOf(part)) }

  /** The parts of the likeliest way to cut the piece; unknown characters in a row are one part. */
  function bestPath(piece: string): string[] {
    const from = new Int32Array(piece.length + 1).fill(-1)
    const ids = new Int32Array(piece.length + 1)
    const best = new Float64Array(piece.length + 1)
    const offer = (start: number, end: number, id: number, score: number) => {
      const candidate = score + best[start]!
      if (from[end] !== -1 && candidate <= best[end]!) return
      from[end] = start
      ids[end] = id
      best[end] = candidate
    }
    for (let start = 0; start < piece.length; ) {
      const width = piece.codePointAt(start)! > 0xffff ? 2 : 1
      let single = false
      for (let end = start + 1; end <= Math.min(piece.length, start + longest); end++) {
        const id = vocab.get(piece.slice(start, end))
        if (id === undefined) continue
        offer(start, end, id, scores[id]!)
        if (end - start === width) single = true
      }
      if (!single) {
        if (unknownToken === undefined) {
          throw invalid(
            'The tokenizer has no unknown token for a character it does not know',
            piece.slice(start, start + width),
            'an unk_id',
          )
        }
        offer(start, start + width, unknownToken as number, least - unknownPenalty)
      }
      start += width
    }
    const parts: string[] = []
    let fused = ''
    for (let end = piece.length; end > 0; end = from[end]!) {
      const part = piece.slice(from[end]!, end)
      if (unknownToken !== undefined && ids[end] === unknownToken) fused = part + fused
      else {
        if (fused !== '') parts.push(fused)
        fused = ''
        parts.push(part)
      }
    }
    if (fused !== '') parts.push(fused)
    return parts.reverse()
  }

  function idsOf(part: string): number[] {
    const id = vocab.get(part)
    if (id !== undefined) return [id]
    if (fallsBack) {
      const bytes = Array.from(encoder.encode(part), byte => vocab.get(byteToken(byte)))
      if (bytes.every(byte => byte !== undefined)) return bytes as number[]
    }
    return [unknownToken as number]
  }
}

// --- WordPiece ----------------------------------------------------------------------------------------------------------

function wordPiece(model: Json, vocab: ReadonlyMap<string, number>): TokenModel {
  const { continuing_subword_prefix = '##', max_input_chars_per_word: most = 100 } = model
  const prefix = affix('continuing_subword_prefix', continuing_subword_prefix)
  const unknown = unknownId(model.unk_token ?? '[UNK]', vocab)!
  // No longer part of a word can be in the vocabulary.
  const longest = [...vocab.keys()].reduce((length, piece) => Math.max(length, piece.length), 0)
  if (typeof most !== 'number')
    throw invalid(
      "The tokenizer's model cannot be read: max_input_chars_per_word",
      describe(most),
      'the most characters of a word',
    )
  return {
    vocab,
    encode: piece => {
      const characters = [...piece]
      if (characters.length > most) return [unknown]
      const ids: number[] = []
      for (let start = 0; start < characters.length; ) {
        let end = Math.min(characters.length, start + longest)
        let found: number | undefined
        for (; end > start && found === undefined; end--) {
          found = vocab.get((start > 0 ? prefix : '') + characters.slice(start, end).join(''))
          if (found !== undefined) break
        }
        if (found === undefined) return [unknown]
        ids.push(found)
        start = end
      }
      return ids
    },
  }
}
