/**
 * A tokenizer as the metadata of a GGUF file: the way back from `gguf-tokenizer.ts`. What such a file can say of byte-level BPE, and of BPE
 * of SentencePiece's kind, is written; what it cannot is refused.
 */
import { preTokenizerName, type TokenizerParts } from './gguf-tokenizer.js'
import { type PipelineStep, unsupported } from './tokenize/definition.js'
import { frameOf } from './tokenize/post-processor.js'
import { byteToken, isSentencePiece, isSpaceRun, scoresOf } from './tokenize/sentencepiece.js'

/** What is written under each key, by the type that it has in the file. */
export interface GgufTokenizer {
  readonly strings: ReadonlyMap<string, readonly string[]>
  readonly string: ReadonlyMap<string, string>
  readonly int32s: ReadonlyMap<string, Int32Array>
  readonly float32s: ReadonlyMap<string, Float32Array>
  readonly uint32: ReadonlyMap<string, number>
  readonly boolean: ReadonlyMap<string, boolean>
}

/** Token types of llama.cpp. */
export const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

const hint = "llama.cpp's convert_hf_to_gguf.py knows more tokenizers: export to hf, and convert that folder"

/**
 * @param spacePrefix of SentencePiece's kind: whether llama.cpp puts a space in front of texts
 * @throws GradpromptError `unsupported-tokenizer`
 */
export function ggufTokenizer(parts: TokenizerParts, spacePrefix: boolean): GgufTokenizer {
  const { definition, specialIds, endTokenIds, chatTemplate } = parts
  const { bpe, addedTokens } = definition
  const isScored = isSentencePiece(definition)
  if (bpe === undefined || (!isScored && definition.decoder?.type !== 'ByteLevel'))
    throw unsupported(
      'The tokenizer is not written into GGUF files',
      definition.model.type,
      'BPE of bytes, or of SentencePiece',
      {
        hint,
      },
    )
  const names = new Map<number, string>([...bpe.vocab].map(([token, id]) => [id, token]))
  const types = new Map<number, number>([...names.keys()].map(id => [id, tokenType.normal]))
  if (isScored) for (let byte = 0; byte < 256; byte++) types.set(bpe.vocab.get(byteToken(byte)) ?? -1, tokenType.byte)
  for (const token of addedTokens) {
    const { id, content, special } = token
    names.set(id, content)
    if (isScored && isSpaceRun(token) && bpe.vocab.has(content)) continue
    types.set(id, isScored && id === specialIds.unk ? tokenType.unknown : special ? tokenType.control : tokenType.userDefined)
  }
  const known: Known = isScored ? { model: 'llama', pre: 'default', scores: scoresOf(definition) } : merged(parts)
  const count = [...names.keys()].reduce((most, id) => Math.max(most, id), -1) + 1
  const ids = Array.from({ length: count }, (_, id) => id)
  const idOf = new Map(addedTokens.map(({ content, id }) => [content, id]))
  const frame = frameOf(definition.postProcessor, token => idOf.get(token) ?? bpe.vocab.get(token))
  const { bos, eos, pad, unk } = specialIds
  const framed = (own: readonly number[], only: number | undefined, side: string) => {
    if (own.length === 0 || (own.length === 1 && own[0] === only)) return own.length === 1
    throw unsupported('The tokenizer puts tokens around a text that a GGUF file cannot name', `${own}, ${side}`, String(only), {
      hint,
    })
  }
  const eot = endTokenIds.find(id => id !== eos)
  const tokens = ids.map(id => names.get(id) ?? `<|unused_${id}|>`)
  const named = (entries: readonly (readonly [string, number | undefined])[]) =>
    new Map(entries.filter((entry): entry is readonly [string, number] => entry[1] !== undefined))
  return {
    strings: new Map([
      ['tokenizer.ggml.tokens', tokens],
      ...(known.merges ? [['tokenizer.ggml.merges', known.merges] as const] : []),
    ]),
    string: new Map([
      ['tokenizer.ggml.model', known.model],
      ['tokenizer.ggml.pre', known.pre],
      ...(chatTemplate === undefined ? [] : [['tokenizer.chat_template', chatTemplate] as const]),
    ]),
    int32s: new Map([['tokenizer.ggml.token_type', Int32Array.from(ids, id => types.get(id) ?? tokenType.unused)]]),
    float32s: new Map(
      known.scores ? [['tokenizer.ggml.scores', Float32Array.from(tokens, token => known.scores!.get(token) ?? 0)]] : [],
    ),
    uint32: named([
      ['tokenizer.ggml.bos_token_id', bos],
      ['tokenizer.ggml.eos_token_id', eos],
      ['tokenizer.ggml.padding_token_id', pad],
      ['tokenizer.ggml.unknown_token_id', unk],
      ['tokenizer.ggml.eot_token_id', eot],
    ]),
    boolean: new Map([
      ['tokenizer.ggml.add_bos_token', framed(frame.before, bos, 'before it')],
      ['tokenizer.ggml.add_eos_token', framed(frame.after, eos, 'behind it')],
      ...(isScored ? [['tokenizer.ggml.add_space_prefix', spacePrefix] as const] : []),
    ]),
  }
}

/** What is known of how texts are cut: merges and how pieces come about, or scores. */
interface Known {
  readonly model: string
  readonly pre: string
  readonly merges?: string[]
  readonly scores?: ReadonlyMap<string, number>
}

function merged(parts: TokenizerParts): Known {
  const { normalizer, bpe } = parts.definition
  // Texts that are not normalised are read otherwise there; NFC leaves almost all as they are, and llama.cpp's own converter drops it.
  if (normalizer !== null && normalizer.type !== 'NFC')
    throw unsupported('GGUF files have no normaliser', normalizer.type, 'none, or NFC', { hint })
  const merges = bpe!.merges.map(merge => (typeof merge === 'string' ? merge : merge.join(' ')))
  return { model: 'gpt2', pre: preName(parts), merges }
}

/** What llama.cpp calls the pre-tokenizer. @throws GradpromptError `unsupported-tokenizer` */
function preName({ definition: { preTokenizer, model } }: TokenizerParts): string {
  const steps = stepsOf(preTokenizer)
  const types = steps.map(step => step!.type).join()
  const ignoresMerges = model.ignore_merges === true
  const name =
    types === 'ByteLevel' && steps[0]!.add_prefix_space !== true
      ? preTokenizerName(null, ignoresMerges)
      : types === 'Digits,ByteLevel' && steps[0]!.individual_digits === true
        ? 'smollm'
        : types === 'Split,ByteLevel' && steps[1]!.use_regex === false && steps[0]!.behavior === 'Isolated'
          ? preTokenizerName(String((steps[0]!.pattern as { Regex?: unknown }).Regex), ignoresMerges)
          : undefined
  if (name !== undefined) return name
  throw unsupported('llama.cpp has no name for how the tokenizer cuts text', JSON.stringify(preTokenizer), 'a known expression', {
    hint,
  })
}

const stepsOf = (step: PipelineStep): PipelineStep[] =>
  step?.type === 'Sequence' ? (step.pretokenizers as PipelineStep[]).flatMap(stepsOf) : step === null ? [] : [step]
