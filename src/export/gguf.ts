import { stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { GgufFile } from '../formats/gguf.js'
import { tokenType } from '../formats/gguf-tokenizer-writer.js'
import { type GgufEntry, ggufEntry, writeGguf } from '../formats/gguf-writer.js'
import type { TensorStream } from '../formats/safetensors-writer.js'
import { type Checkpoint, openCheckpoint } from '../model/weights/checkpoint.js'
import { loadBeside } from '../model/with-model.js'
import { vocabularyReason } from './hf.js'
import { readme } from './readme.js'
import { llamaSelfTest } from './scripts/gguf.js'
import { makeSelfTest, type SelfTestCase, writeSelfTest } from './self-test.js'
import type { ExportContext, ExportTarget } from './target.js'
import { headPieces, tablePieces, tableSources } from './vocabulary/checkpoint-tensors.js'
import { copiedTable, tableBytes, tableWidth, type Width } from './vocabulary/likelihood.js'
import { hasVocabularyRows, headRow, type VocabularyRows, vocabularyRows } from './vocabulary/rows.js'
import { type PromptedText, spacePrefix } from './vocabulary/space-prefix.js'
import { frameOfParts, namesOf, promptedChatTemplate, tokenizerParts } from './vocabulary/tokenizer-files.js'
import { type GgufMetadata, requireSame, wholeMetadata, wholeTensors } from './vocabulary/whole-gguf.js'

/**
 * A GGUF file whose vocabulary has the prompt, for llama.cpp and all that runs on it: the source's tensors byte for byte, but for a
 * longer embedding table and a head that stands apart from it; of a Hugging Face folder a whole file.
 */
export const gguf: ExportTarget = {
  name: 'gguf',
  description: 'a GGUF file whose vocabulary has the prompt, for llama.cpp',
  holds: hasVocabularyRows,
  form: method => (method.offset ? 'rows of the vocabulary, the offset folded into the table' : 'rows of the vocabulary'),
  reason: vocabularyReason,
  takes: ['dtype'],
  softTokens: true,
  write: async context => {
    await writePromptedGguf(context)
  },
}

/** What a written file is called, and what its reader must know. */
export interface PromptedGguf {
  readonly fileName: string
  readonly rows: VocabularyRows
  /** What a whole text begins with: the prompt's tokens, and BOS where the file no longer adds it. */
  readonly beginning: string
}

/**
 * Writes the file, its self-test and its README.
 * @throws GradpromptError `not-exportable`, `invalid-option`; of a Hugging Face folder `unsupported-tokenizer`
 */
export async function writePromptedGguf(context: ExportContext): Promise<PromptedGguf> {
  const { model, prompt, folder, options } = context
  const checkpoint = await openCheckpoint(model.checkpoint.path)
  const source = checkpoint.file instanceof GgufFile ? checkpoint.file : undefined
  try {
    if (source && options.dtype) throw noWidth(options.dtype)
    const dtype = options.dtype ?? 'F16'
    const parts = await tokenizerParts(checkpoint.tokenizer)
    if (checkpoint.family.gguf.headless) throw hasNoHead(checkpoint.family.name)
    const rows = await vocabularyRows(context, checkpoint.file)
    const { before } = frameOfParts(parts)
    const names = namesOf(parts)
    // llama.cpp puts BOS before everything; a prompt that stands before it has to bring it along.
    const bringsBos = before.length > 0 && prompt.position === 'before-bos'
    const bos = bringsBos ? before.map(id => names.get(id)!).join('') : ''
    const promptText = rows.promptTokens.join('')
    const beginning = prompt.position === 'after-bos' && before.length === 0 ? '' : promptText + bos
    const first = prompt.position === 'after-bos' ? names.get(context.selfTest.cases[0]!.ids[0]!) : undefined
    const addedIds = bringsBos ? 0 : before.length
    const prefixed =
      !source && spacePrefix(parts, rows, promptedTexts(context, rows, { beginning, first: first ?? '', addedIds }))
    const described: GgufMetadata = source ?? wholeMetadata(checkpoint, model.name, { parts, dtype, prefixed })
    const stored = source?.tensors.get(tableSources(checkpoint).embedding)?.dtype ?? dtype
    const width = await tableWidth(context, rows, { own: stored, isRounded: source !== undefined })
    const fileName = `${basename(model.name)}-prompted.gguf`
    const chatTemplate =
      typeof prompt.template === 'string' || parts.chatTemplate === undefined
        ? undefined
        : promptedChatTemplate(parts.chatTemplate, promptText, first)
    const repeated = await headRow(context)
    await writeGguf(join(folder, fileName), {
      entries: await metadata(described, rows, { addsBos: bringsBos ? false : undefined, chatTemplate }),
      tensors: source
        ? tensorsOf(checkpoint, source, rows, width.dtype, repeated)
        : wholeTensors(checkpoint, rows, { dtype, table: width.dtype, repeated }),
      alignment: source?.alignment ?? 32,
    })
    const isCoarse = source ? isQuantized(checkpoint) : dtype.startsWith('Q')
    const cases = testCases(context, rows, beginning)
    const made = { fileName, rows, beginning }
    if (source) await writeSelfTest(folder, cases)
    else {
      await requireSame(join(folder, fileName), checkpoint, { own: model.tokenizer, parts, prefixed }, context.selfTest.cases)
      await writeSelfTest(folder, isCoarse ? await asWritten(context, join(folder, fileName), cases) : cases)
    }
    // Of a model of 1.5 billion weights in 4 bits, llama.cpp's logits are up to 0.19 off, and two of them count.
    await writeFile(join(folder, 'self-test.mjs'), llamaSelfTest(fileName, isCoarse ? 0.4 : 0.05))
    await writeFile(join(folder, 'README.md'), await readmeOf(context, made, width, source ? undefined : dtype))
    return made
  } finally {
    await checkpoint.file.close()
  }
}

/** What weights of fewer bits than those that the prompt was tuned on must compute: what they do here, in the file that was written. */
async function asWritten({ model }: ExportContext, path: string, cases: readonly SelfTestCase[]): Promise<SelfTestCase[]> {
  const written = await loadBeside(path, model)
  try {
    const logits = (given: number[][], last: number) => written.logits(given, undefined, { last })
    const [ids, guesses] = [cases.map(test => test.ids), cases.map(test => test.greedy)]
    const options = { newTokens: cases[0]!.greedy.length, guesses }
    const made = await makeSelfTest({ vocabSize: written.config.vocabSize, logits }, ids, options)
    return made.cases.map((test, i) => ({ ...cases[i]!, ...test }))
  } finally {
    await written.dispose()
  }
}

/** The texts of the self-test with the prompt in writing, and the ids that llama.cpp must make of each, without those that it adds. */
function promptedTexts(
  { selfTest }: ExportContext,
  rows: VocabularyRows,
  { beginning, first, addedIds }: { readonly beginning: string; readonly first: string; readonly addedIds: number },
): PromptedText[] {
  return selfTest.cases.flatMap(({ text, ids, addSpecialTokens }): PromptedText[] => {
    if (text === undefined || (addSpecialTokens && beginning === '')) return []
    if (addSpecialTokens) return [{ text: beginning + rows.written(text), ids: rows.fed(ids).slice(addedIds) }]
    const written = first + rows.promptTokens.join('') + rows.written(text.slice(first.length))
    return [{ text: written, ids: rows.fed(ids) }]
  })
}

const hasNoHead = (family: string) =>
  new GradpromptError('not-exportable', 'llama.cpp reads no head beside the embedding table of this model', {
    found: `the ${family} family`,
    expected: 'a head that can stand apart from the table, so that no token of the prompt is ever an answer',
    hint: 'export to hf, or to onnx',
  })

const isQuantized = ({ file }: Checkpoint) => [...file.tensors.values()].some(({ dtype }) => dtype.startsWith('Q'))

/** The source's metadata, with a longer vocabulary. */
async function metadata(
  source: GgufMetadata,
  { tokens, tableRows, firstId }: VocabularyRows,
  changes: { readonly addsBos: boolean | undefined; readonly chatTemplate: string | undefined },
): Promise<GgufEntry[]> {
  const architecture = String(source.metadata.get('general.architecture'))
  const known = source.metadata.get('tokenizer.ggml.tokens') as readonly string[]
  const unused = Array.from({ length: Math.max(0, tableRows - known.length) }, (_, i) => `<|unused_${known.length + i}|>`)
  /** The old entries, then those of the new tokens in the places that these have. */
  const longer = <T>(old: ArrayLike<T>, other: T, own: (i: number) => T): T[] =>
    Array.from({ length: Math.max(known.length, tableRows) }, (_, id) =>
      id >= firstId && id < firstId + tokens.length ? own(id - firstId) : id < old.length ? old[id]! : other,
    )
  const allTokens = longer<string>(known, '', i => tokens[i]!).map((token, id) => token || unused[id - known.length]!)
  const numbers = (key: string) => source.metadata.get(key) as unknown as ArrayLike<number> | undefined
  const types = numbers('tokenizer.ggml.token_type') ?? Array.from({ length: known.length }, () => normal)
  const scores = numbers('tokenizer.ggml.scores')
  const made = new Map<string, GgufEntry>([
    ['tokenizer.ggml.tokens', ggufEntry.strings('tokenizer.ggml.tokens', allTokens)],
    [
      'tokenizer.ggml.token_type',
      ggufEntry.int32s('tokenizer.ggml.token_type', Int32Array.from(longer(types, unusedType, () => control))),
    ],
  ])
  if (scores)
    made.set('tokenizer.ggml.scores', ggufEntry.float32s('tokenizer.ggml.scores', Float32Array.from(longer(scores, 0, () => 0))))
  const vocabSize = `${architecture}.vocab_size`
  if (source.metadata.has(vocabSize)) made.set(vocabSize, ggufEntry.uint32(vocabSize, tableRows))
  if (changes.addsBos !== undefined)
    made.set('tokenizer.ggml.add_bos_token', ggufEntry.boolean('tokenizer.ggml.add_bos_token', changes.addsBos))
  if (changes.chatTemplate !== undefined)
    made.set('tokenizer.chat_template', ggufEntry.string('tokenizer.chat_template', changes.chatTemplate))
  const entries: GgufEntry[] = []
  for (const key of source.metadata.keys()) {
    if (key.startsWith('split.')) continue
    entries.push(made.get(key) ?? (await source.rawEntry(key)))
    made.delete(key)
  }
  return [...entries, ...made.values()]
}

/** Token types of llama.cpp. */
const { normal, control, unused: unusedType } = tokenType

function tensorsOf(
  checkpoint: Checkpoint,
  source: GgufFile,
  rows: VocabularyRows,
  dtype: string,
  repeated: number | undefined,
): TensorStream[] {
  const { embedding, head, headBias } = tableSources(checkpoint)
  const { hiddenSize: width, vocabSize } = checkpoint.config
  const { tableRows } = rows
  const table = source.tensors.get(embedding)!
  const isCopy = table.dtype === dtype && rows.fold === undefined
  const longer = (name: string, from: string): TensorStream => {
    const { shape, dtype: own } = source.tensors.get(from)!
    return {
      name,
      dtype: own,
      shape: shape.with(0, tableRows),
      byteLength: (source.locate(from).byteLength / shape[0]!) * tableRows,
      pieces: () => headPieces(source, from, tableRows, repeated),
    }
  }
  const others = [...source.tensors.values()].map((tensor): TensorStream => {
    const { name } = tensor
    if (name === headBias) return longer(name, name)
    if (name === head && name !== embedding) return longer(name, name)
    if (name !== embedding)
      return { ...tensor, byteLength: source.locate(name).byteLength, pieces: () => source.bytePieces(name) }
    return {
      name,
      dtype,
      shape: [tableRows, width],
      byteLength: tableBytes(dtype, tableRows, width),
      pieces: () =>
        isCopy
          ? copiedTable(source.bytePieces(name), rows, { dtype, oldRows: vocabSize, width })
          : tablePieces(source, name, { name, dtype, rows: tableRows, width }, rows),
    }
  })
  return head === embedding ? [...others, longer('output.weight', embedding)] : others
}

/** What llama.cpp must compute, prompt included, and the texts that it must read so, special tokens among them. */
const testCases = ({ selfTest }: ExportContext, rows: VocabularyRows, beginning: string) =>
  selfTest.cases.map(({ text, addSpecialTokens, ...test }) => {
    const tested = { ...test, ids: rows.fed(test.ids) }
    return text === undefined || !addSpecialTokens || beginning === ''
      ? tested
      : { ...tested, text: beginning + rows.written(text), addSpecialTokens: true }
  })

async function readmeOf(
  context: ExportContext,
  { fileName, rows, beginning }: PromptedGguf,
  width: Width,
  dtype: string | undefined,
): Promise<string> {
  const { prompt, folder } = context
  const isText = typeof prompt.template === 'string'
  const text = isText ? beginning + rows.written(String(prompt.template)) : undefined
  const usage = isText
    ? `\`\`\`sh
llama-completion -m ${fileName} --temp 0 -n 16 -no-cnv -p ${shellQuoted(text!)}
\`\`\`

The columns filled in; in llama-server the same text is the \`prompt\` of \`/completion\`. In node-llama-cpp: \`model.tokenize(text, true)\`.`
    : `\`\`\`sh
llama-cli -m ${fileName} --jinja --temp 0
\`\`\`

The chat template in the file writes the prompt's tokens; \`llama-server --jinja -m ${fileName}\` serves it at \`/v1/chat/completions\`.`
  const { size } = await stat(join(folder, fileName))
  const moved = width.moved === 0 ? 'as it is' : `with a likelihood that moves by ${width.moved.toPrecision(2)} nats per token`
  return readme(context, {
    title: 'A GGUF file with a tuned prompt',
    usage,
    template: text,
    notes: [
      `The prompt's tokens, written in the text and read as special tokens, are ${rows.promptTokens.length} rows of the embedding table; the other tensors are the source's, ${dtype === undefined ? 'byte for byte' : `in ${dtype}`} (${(size / 1e6).toFixed(0)} MB in all).`,
      `The embedding table is ${width.dtype}, which keeps the prompt ${moved} (measured on the texts of self-test.json; the bar is 0.01).`,
      "The prompt's tokens have logits that greedy decoding never picks; where you sample, ban them with `logit_bias`.",
      '`node self-test.mjs` computes what `self-test.json` expects, with node-llama-cpp.',
    ],
  })
}

const shellQuoted = (text: string) => `$'${text.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n')}'`

const noWidth = (dtype: string) =>
  new GradpromptError('invalid-option', 'The weights of a GGUF file are copied as they are', {
    found: `dtype: ${dtype}`,
    expected: 'no dtype, but for a Hugging Face folder, whose weights are written anew',
  })
