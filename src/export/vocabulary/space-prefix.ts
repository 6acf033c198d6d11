import { GradpromptError } from '../../errors.js'
import type { TokenizerParts } from '../../formats/gguf-tokenizer.js'
import { asLlamaReads, isSentencePiece, spacePrefixOf } from '../../formats/tokenize/sentencepiece.js'
import { createTokenizerCore } from '../../formats/tokenizer-core.js'
import type { VocabularyRows } from './rows.js'

/** A text in which the prompt is written, and the ids that it was learned on. */
export interface PromptedText {
  readonly text: string
  readonly ids: readonly number[]
}

/**
 * Whether llama.cpp is to put a space in front of texts, of a tokenizer of SentencePiece's kind. It can do so at the beginning of a text
 * and behind every special token, or never. Many tokenizers want one at the beginning alone, or none before another space: then what reads
 * the prompt's own texts as they were learned is written.
 *
 * @throws GradpromptError `unsupported-tokenizer`; `not-exportable` where neither does
 */
export function spacePrefix({ definition }: TokenizerParts, rows: VocabularyRows, texts: readonly PromptedText[]): boolean {
  if (!isSentencePiece(definition)) return false
  const prefix = spacePrefixOf(definition)
  const soft = rows.tokens.map((content, i) => ({ id: rows.firstId + i, content, special: true, normalized: false }))
  const longer = { ...definition, addedTokens: [...definition.addedTokens, ...soft] }
  let wrong: string | undefined
  for (const prefixed of prefix === 'sometimes' ? [true, false] : [prefix === 'always']) {
    const { encode } = createTokenizerCore(asLlamaReads(longer, prefixed))
    const differing = texts.find(({ text, ids }) => encode(text, false).join() !== ids.join())
    if (differing === undefined) return prefixed
    wrong ??= differing.text
  }
  throw new GradpromptError('not-exportable', 'llama.cpp puts a space in front of texts otherwise than this tokenizer', {
    found: JSON.stringify(wrong),
    expected: 'a template that does not begin with a space, and has special tokens at its beginning alone',
    hint: 'export to hf, or to onnx',
  })
}
