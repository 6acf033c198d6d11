import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { writeSafetensors, writeShards } from '../formats/safetensors-writer.js'
import { type Checkpoint, openCheckpoint } from '../model/weights/checkpoint.js'
import { readme } from './readme.js'
import { mergeScript, selfTestScript } from './scripts/hf.js'
import { writeSelfTest } from './self-test.js'
import type { ExportContext, ExportTarget, TargetOptions } from './target.js'
import { checkpointTensors, tableSources } from './vocabulary/checkpoint-tensors.js'
import { modelConfig, writeJson } from './vocabulary/model-config.js'
import { hasVocabularyRows, headRow, type VocabularyRows, vocabularyRows } from './vocabulary/rows.js'
import {
  type Insertion,
  insertionOf,
  namesOf,
  promptedChatTemplate,
  tokenizerParts,
  writeTokenizer,
} from './vocabulary/tokenizer-files.js'

/**
 * A whole checkpoint for transformers (and vLLM, TGI, SGLang, which read the same files): the prompt is rows of a longer vocabulary,
 * and its tokenizer or its chat template puts their tokens before the text.
 */
export const hf: ExportTarget = {
  name: 'hf',
  description: 'a checkpoint whose vocabulary has the prompt, for AutoModelForCausalLM and vLLM',
  holds: hasVocabularyRows,
  form: method => (method.offset ? 'rows of the vocabulary, the offset folded into the table' : 'rows of the vocabulary'),
  reason: vocabularyReason,
  takes: ['dtype', 'delta'],
  softTokens: true,
  async write(context) {
    const { model, options, prompt, folder } = context
    const checkpoint = await openCheckpoint(model.checkpoint.path)
    try {
      const { file } = checkpoint
      const isGguf = 'ggufMetadata' in checkpoint.tokenizer
      if (options.delta && isGguf) throw noDelta(context)
      if (options.dtype && !isGguf) throw noWidth(options.dtype)
      const dtype = floatType(options.dtype)
      const rows = await vocabularyRows(context, file)
      const repeated = await headRow(context)
      const parts = await tokenizerParts(checkpoint.tokenizer)
      const insertion = insertionOf(parts, prompt)
      const first = prompt.position === 'after-bos' ? namesOf(parts).get(context.selfTest.cases[0]!.ids[0]!) : undefined
      const chatTemplate =
        insertion === 'chat-template'
          ? promptedChatTemplate(parts.chatTemplate!, rows.promptTokens.join(''), first)
          : parts.chatTemplate
      await writeTokenizer(folder, parts, rows, { insertion, chatTemplate }, prompt.position)
      const { endTokenIds, specialIds } = parts
      const ends = { bos_token_id: specialIds.bos, eos_token_id: endTokenIds, pad_token_id: specialIds.pad }
      const generation = { ...ends, suppress_tokens: rows.tokens.map((_, i) => rows.firstId + i) }
      await writeJson(folder, 'generation_config.json', generation)
      await writeJson(
        folder,
        'config.json',
        modelConfig(
          checkpoint,
          { vocab_size: rows.tableRows, tie_word_embeddings: false },
          isGguf ? { dtype: dtype ?? 'F32', ...ends } : {},
        ),
      )
      if (options.delta) await writeDelta(checkpoint, rows, repeated, context)
      else await writeShards(folder, checkpointTensors(checkpoint, file, { dtype, added: rows, repeated }))
      await writeSelfTest(folder, testCases(context, rows, insertion))
      await writeFile(join(folder, 'self_test.py'), selfTestScript)
      await writeFile(join(folder, 'README.md'), readmeOf(context, rows, insertion))
    } finally {
      await checkpoint.file.close()
    }
  },
}

/** Why a method's prompts are no rows of a vocabulary. */
export function vocabularyReason(method: Parameters<NonNullable<ExportTarget['reason']>>[0]): string {
  const { prefix, attention, layerOutput, offsetBy } = method
  if (prefix) return 'its keys and values are in every layer, and no token has such'
  if (attention) return 'it acts within the attention of its layers, where no token does'
  if (layerOutput) return 'it changes what layers give out, and a token of the vocabulary changes what they take'
  if (offsetBy === 'position') return 'its offset depends on where a token stands, and a table of tokens cannot know that'
  return 'its rows are made of each text, or stand in later layers, so that no fixed tokens come to the same'
}

/** The rows alone, with what a script needs to put them into the base model. */
async function writeDelta(
  checkpoint: Checkpoint,
  rows: VocabularyRows,
  repeated: number | undefined,
  { folder, model }: ExportContext,
): Promise<void> {
  const { family, config } = checkpoint
  const { hiddenSize } = config
  const { embedding, head, headBias } = tableSources(checkpoint)
  const tensors = [{ name: 'rows', shape: [rows.tokens.length, hiddenSize], data: rows.rows.map(x => x / rows.scale) }]
  if (rows.fold !== undefined) {
    const table = new Float32Array(config.vocabSize * hiddenSize)
    let at = 0
    for await (const piece of checkpoint.file.valuePieces(embedding)) {
      table.set(await rows.fold(piece.slice()), at)
      at += piece.length
    }
    tensors.push({ name: 'table', shape: [config.vocabSize, hiddenSize], data: table })
  }
  await writeSafetensors(join(folder, 'delta.safetensors'), tensors, { format: 'pt' })
  const untied = family.weights({ ...config, tieWordEmbeddings: false })
  await writeJson(folder, 'delta.json', {
    format: 'gradprompt-delta-1',
    embedding,
    head,
    headName: config.tieWordEmbeddings ? untied.find(({ name }) => name === 'head')!.parts[0]!.source : head,
    ...(headBias !== undefined && { headBias }),
    firstId: rows.firstId,
    tableRows: rows.tableRows,
    headRow: repeated ?? null,
    baseModel: model.name,
    baseShape: [config.vocabSize, hiddenSize],
  })
  await writeFile(join(folder, 'merge.py'), mergeScript)
}

/** What transformers must compute, prompt included, and the texts that its tokenizer must read so. */
function testCases({ selfTest }: ExportContext, rows: VocabularyRows, insertion: Insertion) {
  return selfTest.cases.map(({ text, addSpecialTokens, ...test }) => {
    const tested = { ...test, ids: rows.fed(test.ids) }
    return text === undefined || insertion !== 'post-processor'
      ? tested
      : { ...tested, text: rows.written(text), addSpecialTokens: true }
  })
}

function readmeOf(context: ExportContext, rows: VocabularyRows, insertion: Insertion): string {
  const { prompt, options } = context
  const isText = typeof prompt.template === 'string'
  const call = isText
    ? `inputs = tokenizer(${JSON.stringify(rows.written(String(prompt.template)))}, return_tensors="pt")  # the columns filled in`
    : `inputs = tokenizer.apply_chat_template(${JSON.stringify(shownTurns(prompt.template))}, add_generation_prompt=True, return_tensors="pt", return_dict=True)`
  const merged = options.delta ? 'merged' : '.'
  const usage = `\`\`\`python
${options.delta ? '# First: python merge.py --base FOLDER_OF_THE_BASE_MODEL --out merged\n' : ''}from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("${merged}")
model = AutoModelForCausalLM.from_pretrained("${merged}")
${call}
output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
\`\`\``
  const tokens = rows.promptTokens
  const named = tokens.length > 0 ? `\`${tokens[0]}\` to \`${tokens.at(-1)}\`` : 'none'
  const where = {
    'post-processor': 'the tokenizer puts them before a text by itself (`add_special_tokens=True`, which is the default)',
    'chat-template': 'the chat template writes them',
    text: `write them into the text yourself, ${prompt.position === 'before-bos' ? 'before everything' : 'behind its first token'}`,
  }[insertion]
  return readme(context, {
    title: 'A checkpoint with a tuned prompt',
    usage,
    template: isText ? rows.written(String(prompt.template)) : undefined,
    notes: [
      `Tokens of the prompt: ${named}; ${where}. They are never generated: \`generation_config.json\` suppresses them.`,
      '`python self_test.py` computes what `self-test.json` expects.',
    ],
  })
}

/** Chat messages as a tokenizer takes them: what a conversation brings along is one turn of its own here. */
const shownTurns = (template: ExportContext['prompt']['template']) =>
  typeof template === 'string'
    ? template
    : template.map(({ role, content }) => (role === 'conversation' ? { role: 'user', content } : { role, content }))

const noDelta = ({ model }: ExportContext) =>
  new GradpromptError('not-exportable', 'A GGUF file has no tensors that a delta could be added to with transformers', {
    found: model.checkpoint.path,
    expected: 'a prompt that was tuned on a Hugging Face folder',
    hint: 'leave --delta out for a whole checkpoint, or export to gguf',
  })

/** @throws GradpromptError `invalid-option` */
function floatType(given: TargetOptions['dtype']): 'F32' | 'F16' | 'BF16' | undefined {
  if (given === undefined || given === 'F32' || given === 'F16' || given === 'BF16') return given
  throw new GradpromptError('invalid-option', 'The files of transformers have no blocks of GGUF', {
    found: `dtype: ${given}`,
    expected: 'F32, F16 or BF16',
    hint: 'export to gguf',
  })
}

const noWidth = (dtype: string) =>
  new GradpromptError('invalid-option', 'The weights of a Hugging Face folder are copied as they are', {
    found: `dtype: ${dtype}`,
    expected: 'no dtype, but for a GGUF file, whose weights are dequantised',
    hint: 'transformers converts them when it loads: from_pretrained(folder, dtype="bfloat16")',
  })
