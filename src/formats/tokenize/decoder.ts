/** Makes text of pieces, as the Rust `tokenizers` does. It knows no ids: special tokens have been left out before, where they should be. */
import { unspellBytes } from './bytes.js'
import { checkDepth, type PipelineStep, StepFields, unknownStep } from './definition.js'
import { readPattern } from './pattern.js'

export interface Decoder {
  readonly doubtful: boolean
  decode(pieces: readonly string[]): readonly string[]
}

const kinds = 'BPEDecoder, ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip or WordPiece'

/** @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer` */
export function decoderOf(step: NonNullable<PipelineStep>, depth = 0): Decoder {
  checkDepth(depth, 'decoder')
  const fields = new StepFields(step, 'decoder')
  const each = (decode: (piece: string, index: number, last: number) => string): Decoder => ({
    doubtful: false,
    decode: pieces => pieces.map((piece, i) => decode(piece, i, pieces.length - 1)),
  })
  switch (step.type) {
    case 'Sequence': {
      const inner = fields.steps('decoders').map(part => decoderOf(part, depth + 1))
      return {
        doubtful: inner.some(part => part.doubtful),
        decode: pieces => inner.reduce<readonly string[]>((current, part) => part.decode(current), pieces),
      }
    }
    case 'ByteLevel':
      return { doubtful: false, decode: pieces => [textOfBytes(pieces.map(unspellBytes))] }
    case 'ByteFallback':
      return { doubtful: false, decode: byteFallback }
    case 'Fuse':
      return { doubtful: false, decode: pieces => [pieces.join('')] }
    case 'Replace': {
      const pattern = readPattern(step.pattern, 'decoder Replace')
      const content = fields.string('content', '')
      const decode = (piece: string) =>
        pattern
          .stretches(piece)
          .map(({ start, end, matched }) => (matched ? content : piece.slice(start, end)))
          .join('')
      return { doubtful: pattern.doubtful, decode: pieces => pieces.map(decode) }
    }
    case 'Strip': {
      const content = fields.character('content', ' ')
      const start = fields.count('start', 0)
      const stop = fields.count('stop', 0)
      return each(piece => strip([...piece], content, start, stop))
    }
    case 'Metaspace': {
      const replacement = fields.character('replacement', '▁')
      const scheme = fields.choice('prepend_scheme', ['first', 'always', 'never'], 'always')
      const prefixed = scheme === 'first' || (scheme === 'always' && fields.boolean('add_prefix_space', true))
      return each((piece, i) => piece.replaceAll(replacement, i === 0 && prefixed ? '' : ' '))
    }
    case 'WordPiece': {
      const prefix = fields.string('prefix', '##')
      const cleanup = fields.boolean('cleanup', true)
      return each((piece, i) => {
        const joined = i === 0 ? piece : piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`
        return cleanup ? cleanUp(joined) : joined
      })
    }
    case 'BPEDecoder': {
      const suffix = fields.string('suffix', '</w>')
      return each((piece, i, last) => (suffix === '' ? piece : piece.replaceAll(suffix, i === last ? '' : ' ')))
    }
    default:
      throw unknownStep('decoder', step.type, kinds)
  }
}

const lossy = new TextDecoder('utf-8', { ignoreBOM: true })
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOfBytes(parts: readonly Uint8Array[]): string {
  return lossy.decode(Buffer.concat(parts))
}

/** Runs of byte tokens are text where they are UTF-8, and one replacement character a byte where they are not. */
function byteFallback(pieces: readonly string[]): readonly string[] {
  const out: string[] = []
  let bytes: number[] = []
  const flush = () => {
    if (bytes.length === 0) return
    try {
      out.push(strict.decode(Uint8Array.from(bytes)))
    } catch {
      for (const _ of bytes) out.push('\uFFFD')
    }
    bytes = []
  }
  for (const piece of pieces) {
    const byte = /^<0x([0-9a-fA-F]{2})>$/.exec(piece)
    if (byte !== null) bytes.push(Number.parseInt(byte[1]!, 16))
    else {
      flush()
      out.push(piece)
    }
  }
  flush()
  return out
}

function strip(characters: readonly string[], content: string, start: number, stop: number): string {
  let from = 0
  while (from < start && characters[from] === content) from++
  let to = characters.length
  while (to > from && characters.length - to < stop && characters[to - 1] === content) to--
  return characters.slice(from, to).join('')
}

/** English spacing as BERT's tokenizer undoes it, for pieces of `WordPiece`. */
function cleanUp(text: string): string {
  return joinAll(text, [...spacings.slice(0, 7), [' do not', " don't"], ...spacings.slice(7)])
}

/** The same for a whole text, which `clean_up_tokenization_spaces` asks for where the model is not BPE. */
export function cleanUpSpaces(text: string): string {
  return joinAll(text, spacings)
}

type Spacing = readonly [spaced: string, joined: string]

const spacings: readonly Spacing[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
]

function joinAll(text: string, pairs: readonly Spacing[]): string {
  return pairs.reduce((current, [spaced, joined]) => current.replaceAll(spaced, joined), text)
}
