import { GradpromptError } from '../../errors.js'
import { encodedLength } from '../../formats/encode.js'
import type { GgufValue } from '../../formats/gguf.js'
import { type TokenizerParts, tokenizerFromGguf } from '../../formats/gguf-tokenizer.js'
import { ggufTokenizer } from '../../formats/gguf-tokenizer-writer.js'
import { type GgufEntry, ggufEntry } from '../../formats/gguf-writer.js'
import type { TensorStream } from '../../formats/safetensors-writer.js'
import { asLlamaReads, isSentencePiece } from '../../formats/tokenize/sentencepiece.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import { createTokenizerCore } from '../../formats/tokenizer-core.js'
import { type Checkpoint, openCheckpoint } from '../../model/weights/checkpoint.js'
import { elementCount } from '../../numbers.js'
import { headValues, onePart, tablePieces, tableSources } from './checkpoint-tensors.js'
import type { VocabularyRows } from './rows.js'

/**
 * A whole GGUF file of a Hugging Face folder: metadata, tokenizer and tensors, under the names and in the layout that llama.cpp wants.
 * Which keys a family's files have, and where their rows stand, is known to the family: what it reads is what is written, and a file is
 * held against its source by reading it again.
 */

/** Metadata as a file of GGUF has them: what they are, and their bytes. */
export interface GgufMetadata {
  readonly metadata: ReadonlyMap<string, GgufValue>
  rawEntry(key: string): Promise<GgufEntry>
}

/** Types that weights can be written in, and llama.cpp's number of a file that is of them. */
export const wholeTypes: Readonly<Record<string, number>> = { F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2, Q4_1: 3 }

/**
 * @param prefixed whether llama.cpp puts a space in front of texts
 * @throws GradpromptError `not-exportable`, `unsupported-tokenizer`
 */
export function wholeMetadata(
  checkpoint: Checkpoint,
  name: string,
  { parts, dtype, prefixed }: { readonly parts: TokenizerParts; readonly dtype: string; readonly prefixed: boolean },
): GgufMetadata {
  const { architecture, values } = formOf(checkpoint)
  const entries = new Map<string, { readonly value: GgufValue; readonly bytes: GgufEntry }>()
  const add = (key: string, value: GgufValue, bytes: GgufEntry) => entries.set(key, { value, bytes })
  const text = (key: string, value: string) => add(key, value, ggufEntry.string(key, value))
  const whole = (key: string, value: number) => add(key, value, ggufEntry.uint32(key, value))
  text('general.architecture', architecture)
  text('general.name', name)
  whole('general.file_type', wholeTypes[dtype]!)
  whole('general.quantization_version', 2)
  for (const [own, scalar] of values) {
    const key = `${architecture}.${own}`
    if (scalar.type === 'string') text(key, scalar.value)
    else if (scalar.type === 'boolean') add(key, scalar.value, ggufEntry.boolean(key, scalar.value))
    else add(key, scalar.value, ggufEntry[scalar.type](key, scalar.value))
  }
  const tokenizer = ggufTokenizer(parts, prefixed)
  for (const [key, value] of tokenizer.string) text(key, value)
  for (const [key, value] of tokenizer.strings) add(key, value, ggufEntry.strings(key, value))
  for (const [key, value] of tokenizer.int32s) add(key, value, ggufEntry.int32s(key, value))
  for (const [key, value] of tokenizer.float32s) add(key, value, ggufEntry.float32s(key, value))
  for (const [key, value] of tokenizer.uint32) whole(key, value)
  for (const [key, value] of tokenizer.boolean) add(key, value, ggufEntry.boolean(key, value))
  return {
    metadata: new Map([...entries].map(([key, { value }]) => [key, value])),
    rawEntry: async key => entries.get(key)!.bytes,
  }
}

function formOf({ family, config, path }: Checkpoint) {
  const form = family.gguf.write?.(config)
  if (form !== undefined) return form
  throw new GradpromptError('not-exportable', `llama.cpp has no files of the ${family.name} family`, {
    found: path,
    expected: 'a model of an architecture that GGUF files are known of',
    hint: 'export to hf, or to onnx',
  })
}

/**
 * The tensors of such a file.
 * @param table type of the embedding table
 * @param repeated as of `headPieces`
 */
export function wholeTensors(
  checkpoint: Checkpoint,
  rows: VocabularyRows,
  { dtype, table, repeated }: { readonly dtype: string; readonly table: string; readonly repeated: number | undefined },
): TensorStream[] {
  const { family, config, weights, file } = checkpoint
  const { architecture, tensors } = formOf(checkpoint)
  const { embedding, head, headBias } = tableSources(checkpoint)
  const { tableRows } = rows
  const sources = new Map(weights.map(spec => [spec.name, spec]))
  const streams = family.gguf.weights({ ...config, tieWordEmbeddings: false }, architecture).flatMap(spec =>
    spec.parts.map((part, i): TensorStream => {
      const isTable = spec.name === family.embedding
      const isHead = spec.name === 'head' || spec.name === 'headBias'
      const own = part.transposed ? [...part.shape].reverse() : [...part.shape]
      const shape = isTable || isHead ? own.with(0, tableRows) : own
      const type = isTable ? table : typeOf(spec.name, own, dtype)
      const pieces = () => {
        if (isTable)
          return tablePieces(file, embedding, { name: part.source, dtype: type, rows: tableRows, width: own[1]! }, rows)
        if (isHead) return headValues(file, spec.name === 'head' ? head : headBias!, type, tableRows, repeated)
        return onePart(file, sources.get(spec.name)!, spec, i, type)
      }
      return { name: part.source, dtype: type, shape, byteLength: encodedLength(type, elementCount(shape)), pieces }
    }),
  )
  const own = [...tensors].map(([name, values]): TensorStream => {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    return { name, dtype: 'F32', shape: [values.length], byteLength: bytes.length, pieces: () => once(bytes) }
  })
  return [...streams, ...own]
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/**
 * The type that a weight is written in. What is added or multiplied element by element is float32, which llama.cpp wants; rows that do not
 * fill blocks are of 16 bits, and so is no head of fewer than 8: its errors are those of every logit.
 */
function typeOf(name: string, shape: readonly number[], dtype: string): string {
  if (shape.length < 2 || name === 'positions') return 'F32'
  if (!dtype.startsWith('Q')) return dtype
  if (shape.at(-1)! % 32 !== 0) return 'F16'
  return name === 'head' ? 'Q8_0' : dtype
}

/** Texts in which tokenizers differ: case, digits, runs of spaces and breaks, marks, scripts. */
const probes = ["It's 12345 OK?!", ' two  spaces\n\n\tand a tab ', 'naïve Ελλάδα 日本語 😀', "I'll THEY'VE x=1,000.5;"]

/**
 * Reads a written file again, and holds it against its source: what it computes, and how it cuts texts.
 * @throws GradpromptError `not-exportable` where the format cannot say what the model is; and as opening it does
 */
export async function requireSame(
  path: string,
  source: Checkpoint,
  tokenizer: { readonly own: Tokenizer; readonly parts: TokenizerParts; readonly prefixed: boolean },
  cases: readonly { readonly text?: string }[],
): Promise<void> {
  const written = await openCheckpoint(path)
  await written.file.close()
  const refused = (found: string, expected: string) =>
    new GradpromptError('not-exportable', 'A GGUF file cannot say all that this model is', {
      found,
      expected,
      hint: 'export to hf, or to onnx',
    })
  if (source.family.gguf.computesAlike?.(source.config, written.config) !== true)
    throw refused(`${source.path}, which the file says otherwise`, 'a config that the metadata of GGUF have keys for')
  if (!('ggufMetadata' in written.tokenizer)) throw new RangeError(`${path} is no GGUF file`)
  const ids = encodersOf(tokenizer, tokenizerFromGguf(written.tokenizer.ggufMetadata))
  for (const text of [...probes, ...cases.flatMap(({ text: own }) => (own === undefined ? [] : [own]))]) {
    const [own, other] = ids.map(encode => encode(text).join())
    if (own !== other) throw refused(`${JSON.stringify(text)} as ${other}`, own!)
  }
}

/** How texts are cut by a tokenizer, and by what was written of it. llama.cpp's own prefix of spaces is settled elsewhere: both have it. */
function encodersOf(
  { own, parts, prefixed }: { readonly own: Tokenizer; readonly parts: TokenizerParts; readonly prefixed: boolean },
  written: TokenizerParts,
): ((text: string) => number[])[] {
  const read = ({ definition }: TokenizerParts) => {
    const { encode } = createTokenizerCore(asLlamaReads(definition, prefixed))
    return (text: string) => encode(text, false)
  }
  const isOwn = !isSentencePiece(parts.definition)
  return [isOwn ? text => own.encode(text, { addSpecialTokens: false }) : read(parts), read(written)]
}
