import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TokenizerParts, tokenizerFromGguf } from '../../formats/gguf-tokenizer.js'
import type { PipelineStep } from '../../formats/tokenize/definition.js'
import { frameOf, type SpecialFrame } from '../../formats/tokenize/post-processor.js'
import type { TokenizerSource } from '../../formats/tokenizer.js'
import { tokenizerFromFolder } from '../../formats/tokenizer-folder.js'
import type { VocabularyRows } from './rows.js'

/**
 * A tokenizer with the tokens of a prompt, as the files that transformers reads: `tokenizer.json`, `tokenizer_config.json` and
 * `chat_template.jinja`. They are made of what this project reads of a tokenizer, wherever that came from: a folder or a GGUF file.
 */

/**
 * How the prompt's tokens get into the text: the tokenizer puts them there (`post-processor`), the chat template does, or whoever
 * writes the text.
 */
export type Insertion = 'post-processor' | 'chat-template' | 'text'

export const tokenizerParts = async (source: TokenizerSource): Promise<TokenizerParts> =>
  'folder' in source ? tokenizerFromFolder(source.folder) : tokenizerFromGguf(source.ggufMetadata)

/** The special tokens that a tokenizer puts around a text. */
export function frameOfParts({ definition }: TokenizerParts): SpecialFrame {
  const ids = new Map(definition.addedTokens.map(({ content, id }) => [content, id]))
  return frameOf(definition.postProcessor, token => ids.get(token) ?? definition.bpe?.vocab.get(token))
}

/** Where a prompt can be put without anybody having to think of it. */
export function insertionOf(
  parts: TokenizerParts,
  { template, position }: { readonly template: unknown; readonly position: 'before-bos' | 'after-bos' },
): Insertion {
  if (typeof template !== 'string') return parts.chatTemplate === undefined ? 'text' : 'chat-template'
  return position === 'before-bos' || frameOfParts(parts).before.length > 0 ? 'post-processor' : 'text'
}

/** A chat template that writes the prompt's tokens: before everything, or behind the model's first token, which the template writes. */
export function promptedChatTemplate(template: string, prompt: string, firstToken: string | undefined): string {
  if (firstToken === undefined) return `{{- ${JSON.stringify(prompt)} -}}${template}`
  const at = [...firstToken].length
  return `{%- set text -%}${template}{%- endset -%}{{- text[:${at}] + ${JSON.stringify(prompt)} + text[${at}:] -}}`
}

/** Writes the files into a folder. */
export async function writeTokenizer(
  folder: string,
  parts: TokenizerParts,
  rows: VocabularyRows,
  { insertion, chatTemplate }: { readonly insertion: Insertion; readonly chatTemplate: string | undefined },
  position: 'before-bos' | 'after-bos',
): Promise<void> {
  const { definition, specialIds } = parts
  const { bpe, model, normalizer, preTokenizer, decoder } = definition
  const names = namesOf(parts)
  const frame = frameOfParts(parts)
  const before =
    insertion !== 'post-processor'
      ? frame.before
      : position === 'before-bos'
        ? [...rows.promptIds, ...frame.before]
        : [...frame.before.slice(0, 1), ...rows.promptIds, ...frame.before.slice(1)]
  const nameOf = (id: number) => rows.tokens[id - rows.firstId] ?? names.get(id)!
  const added = [
    ...definition.addedTokens.toSorted((a, b) => a.id - b.id),
    ...rows.tokens.map((content, i) => ({ id: rows.firstId + i, content, special: true, normalized: false })),
  ].map(token => ({ single_word: false, lstrip: false, rstrip: false, ...token }))
  // The vocabulary is written by hand: as an object, a token named "__proto__" would be lost.
  const bpeFields = { dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false }
  const modelText =
    bpe === undefined
      ? JSON.stringify(model)
      : `${JSON.stringify({ ...bpeFields, byte_fallback: false, ignore_merges: false, ...model }).slice(0, -1)},"vocab":{${[
          ...bpe.vocab,
        ]
          .map(([token, id]) => `${JSON.stringify(token)}:${id}`)
          .join(',')}},"merges":${JSON.stringify(bpe.merges)}}`
  const fields = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer,
    pre_tokenizer: complete(preTokenizer),
    post_processor: postProcessor(before, frame.after, nameOf),
    decoder: complete(decoder),
  }
  await writeFile(join(folder, 'tokenizer.json'), `${JSON.stringify(fields).slice(0, -1)},"model":${modelText}}\n`)
  const special = Object.fromEntries(
    Object.entries(specialIds).flatMap(([name, id]) => (id === undefined ? [] : [[`${name}_token`, names.get(id)]])),
  )
  const config = {
    // Runs tokenizer.json as it is; classes of a family build pipelines of their own.
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...special,
    clean_up_tokenization_spaces: parts.cleansUpSpaces,
    model_max_length: 1e30,
  }
  await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`)
  if (chatTemplate !== undefined) await writeFile(join(folder, 'chat_template.jinja'), chatTemplate)
}

/** The text of every token by its id, as the vocabulary spells it. */
export function namesOf({ definition }: TokenizerParts): Map<number, string> {
  const names = new Map<number, string>()
  for (const [token, id] of definition.bpe?.vocab ?? []) names.set(id, token)
  for (const { content, id } of definition.addedTokens) names.set(id, content)
  return names
}

/** Steps with the fields that the Rust library wants and that decide nothing here. */
function complete(step: PipelineStep): PipelineStep {
  if (step === null) return null
  const inner = Object.fromEntries(
    ['pretokenizers', 'decoders', 'processors'].flatMap(name =>
      Array.isArray(step[name]) ? [[name, (step[name] as PipelineStep[]).map(complete)]] : [],
    ),
  )
  const usual = step.type === 'ByteLevel' ? { add_prefix_space: false, trim_offsets: true, use_regex: true } : {}
  return { ...usual, ...step, ...inner }
}

function postProcessor(before: readonly number[], after: readonly number[], nameOf: (id: number) => string): PipelineStep {
  if (before.length + after.length === 0) return null
  const token = (id: number) => ({ SpecialToken: { id: nameOf(id), type_id: 0 } })
  const text = (id: 'A' | 'B') => ({ Sequence: { id, type_id: 0 } })
  const around = (...texts: object[]) => [...before.map(token), ...texts, ...after.map(token)]
  return {
    type: 'TemplateProcessing',
    single: around(text('A')),
    pair: around(text('A'), text('B')),
    special_tokens: Object.fromEntries(
      [...before, ...after].map(id => [nameOf(id), { id: nameOf(id), ids: [id], tokens: [nameOf(id)] }]),
    ),
  }
}
