import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import type { TokenizerParts } from '../formats/gguf-tokenizer.js'
import { placementOf } from '../model/active-prompt.js'
import { openCheckpoint } from '../model/weights/checkpoint.js'
import { ownCommand } from '../own-command.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { firstToken, promptKeys } from './kv.js'
import { genaiConfig, specialTokens } from './onnx-model/config.js'
import { type DecoderOptions, decoderSpec, promptWeights } from './onnx-model/graph.js'
import { exampleText, readme } from './readme.js'
import { genaiSelfTest, onnxSelfTest } from './scripts/onnx.js'
import { writeSelfTest } from './self-test.js'
import type { ExportContext, ExportTarget } from './target.js'
import { modelConfig, writeJson } from './vocabulary/model-config.js'
import { type VocabularyRows, vocabularyRows } from './vocabulary/rows.js'
import { frameOfParts, tokenizerParts, writeTokenizer } from './vocabulary/tokenizer-files.js'

/**
 * The model with its prompt as one ONNX graph, for ONNX Runtime GenAI, for transformers.js, and for ONNX Runtime by itself. The graph
 * computes what a table of tokens cannot hold: offsets by position, keys and values in every layer, terms of a layer's attention.
 */
export const onnx: ExportTarget = {
  name: 'onnx',
  description: 'the model with its prompt as an ONNX graph, for ONNX Runtime GenAI and transformers.js',
  holds: method => !method.sequenceRows && !method.layerRows && !method.layerOutput,
  form: method =>
    method.offset
      ? 'its keys and values, the offset computed in the graph'
      : method.attention
        ? 'its term of the attention, in the graph'
        : 'its keys and values, in the graph',
  reason: method =>
    method.layerOutput
      ? 'it changes what layers give out, and the graph has no place for that between its layers'
      : 'it reads the whole instruction before every answer, and a graph that is fed token by token has seen a part of it',
  softTokens: true,
  async write(context) {
    const { model, active, prompt, folder, selfTest } = context
    if (placementOf(active, model.config).answersApart) throw answersApart(context)
    const checkpoint = await openCheckpoint(model.checkpoint.path)
    try {
      const hasSoft = numSoftTokens(active.config) > 0
      const rows = hasSoft
        ? ownTokens(await vocabularyRows(context, checkpoint.file), numSoftTokens(active.config))
        : noTokens(model)
      const options: DecoderOptions = {
        checkpoint,
        active,
        keys: await keysOf(context),
        position: prompt.position,
        firstSoftId: rows.firstId,
      }
      const weights = { stored: model.weights, own: promptWeights(options) }
      // The compiler and TF.js are loaded only when there is something to compile.
      const { portableModel } = await import('./onnx-model/portable.js')
      const made = portableModel(decoderSpec(options), weights, `${fileName}_data`)
      await mkdir(join(folder, 'onnx'))
      await made.writeWeights(join(folder, 'onnx', `${fileName}_data`))
      await writeFile(join(folder, 'onnx', fileName), made.model)
      const parts = await tokenizerParts(checkpoint.tokenizer)
      await writeTokenizer(folder, parts, rows, { insertion: 'text', chatTemplate: parts.chatTemplate }, prompt.position)
      await writeJson(folder, 'config.json', configOf(context, parts))
      await writeJson(folder, 'generation_config.json', specialTokens(parts))
      const virtual = prompt.numVirtualTokens
      await writeJson(folder, 'genai_config.json', genaiConfig(model.config, parts, `onnx/${fileName}`, virtual))
      await writeSelfTest(
        folder,
        selfTest.cases.map(({ text, addSpecialTokens, ...test }) => {
          const ids = test.ids.map(id => (id < model.config.vocabSize ? id : id - model.config.vocabSize + rows.firstId))
          const isRead = text !== undefined && (addSpecialTokens || frameIsEmpty(parts))
          return { ...test, ids, ...(isRead && { text: rows.written(text), addSpecialTokens }) }
        }),
      )
      await writeFile(join(folder, 'self-test.mjs'), onnxSelfTest)
      await writeFile(join(folder, 'self_test.py'), genaiSelfTest)
      await writeFile(join(folder, 'README.md'), readmeOf(context, rows, made.byteLength))
    } finally {
      await checkpoint.file.close()
    }
  },
}

const fileName = 'model.onnx'
/** What a browser loads at once of a file of weights. */
const MOST_BYTES = 2 ** 31

const frameIsEmpty = (parts: TokenizerParts) => {
  const { before, after } = frameOfParts(parts)
  return before.length + after.length === 0
}

/** What every layer has of the prompt; the first token, which a caller feeds, is none of it. */
async function keysOf(context: ExportContext): Promise<DecoderOptions['keys']> {
  const { method } = context.active
  if (!method.prefix && !method.inputRows) return undefined
  if (context.prompt.numVirtualTokens === 0) return undefined
  const first = method.prefix ? undefined : firstToken(context)
  const layers = await promptKeys(context, first)
  if (first === undefined) return layers
  const { numKeyValueHeads: heads, headDim } = context.model.config
  /** [Hkv, 1 + m, D] -> [Hkv, m, D] */
  const behind = (numbers: Float32Array) => {
    const count = numbers.length / heads
    const rest = new Float32Array(numbers.length - heads * headDim)
    for (let head = 0; head < heads; head++)
      rest.set(numbers.subarray(head * count + headDim, (head + 1) * count), head * (count - headDim))
    return rest
  }
  return layers.map(({ key, value }) => ({ key: behind(key), value: behind(value) }))
}

/** The template's soft tokens alone: those of the prompt are inside the graph. */
const ownTokens = (rows: VocabularyRows, count: number): VocabularyRows => ({
  ...rows,
  tokens: rows.tokens.slice(0, count),
  promptTokens: [],
  promptIds: [],
})

const noTokens = ({ tokenizer, config }: ExportContext['model']): VocabularyRows => ({
  tokens: [],
  firstId: tokenizer.vocabSize,
  tableRows: config.vocabSize,
  rows: new Float32Array(),
  scale: 1,
  promptTokens: [],
  promptIds: [],
  fold: undefined,
  fed: ids => [...ids],
  written: text => text,
})

/** config.json as transformers.js reads it: with where the weights are. */
function configOf({ model }: ExportContext, parts: TokenizerParts): object {
  const { rope_divisors: _, ...rawConfig } = model.checkpoint.rawConfig
  const isGguf = 'ggufMetadata' in model.checkpoint.tokenizer
  const ends = isGguf ? { dtype: 'F32' as const, ...specialTokens(parts) } : {}
  const loading = { dtype: 'fp32', use_external_data_format: true }
  return { ...modelConfig({ rawConfig }, { vocab_size: model.config.vocabSize }, ends), 'transformers.js_config': loading }
}

function readmeOf(context: ExportContext, rows: VocabularyRows, byteLength: number): string {
  const { prompt } = context
  const isText = typeof prompt.template === 'string'
  const text = exampleText({ template: isText ? rows.written(String(prompt.template)) : prompt.template })
  const usage = `\`\`\`python
import onnxruntime_genai as genai   # pip install onnxruntime-genai

model = genai.Model(".")
tokenizer = genai.Tokenizer(model)
tokenizer.update_options(add_special_tokens="${isText}")   # by default it leaves BOS out
parameters = genai.GeneratorParams(model)
parameters.set_search_options(max_length=${Math.min(512, context.model.config.maxPositionEmbeddings)})
generator = genai.Generator(model, parameters)
generator.append_tokens(tokenizer.encode(${text}))   # the columns filled in
answer = []
while not generator.is_done() and len(answer) < 16:
    generator.generate_next_token()
    answer.append(generator.get_next_tokens()[0])
print(tokenizer.decode(answer))
\`\`\`

\`\`\`js
import { AutoModelForCausalLM, AutoTokenizer, env } from '@huggingface/transformers'

env.localModelPath = './' // the folder that holds this one, which is called NAME here
const tokenizer = await AutoTokenizer.from_pretrained('NAME', { local_files_only: true })
const model = await AutoModelForCausalLM.from_pretrained('NAME', { local_files_only: true, dtype: 'fp32' })
const inputs = tokenizer(${text})
const output = await model.generate({ ...inputs, max_new_tokens: 16, do_sample: false })
console.log(tokenizer.decode(output.slice(null, [inputs.input_ids.dims[1], null])[0], { skip_special_tokens: true }))
\`\`\``
  return readme(context, {
    title: 'An ONNX model with a tuned prompt',
    usage,
    template: isText ? rows.written(String(prompt.template)) : undefined,
    notes: [
      `The prompt is inside \`onnx/${fileName}\`: feed the text as it is, and leave its tokens out of every length and mask. The weights are in \`onnx/${fileName}_data\` (${(byteLength / 1e6).toFixed(0)} MB).`,
      ...(byteLength >= MOST_BYTES ? ['The file of weights is larger than what a browser loads (2 GiB).'] : []),
      ...(prompt.position === 'after-bos'
        ? ['The prompt stands behind the first token of a text, and was computed behind the one that the self-test begins with.']
        : []),
      '`python self_test.py` and `node self-test.mjs` compute what `self-test.json` expects, with onnxruntime-genai and with onnxruntime-node.',
    ],
  })
}

const answersApart = ({ prompt }: ExportContext) =>
  new GradpromptError(
    'not-exportable',
    'The prompt acts on the instruction and not on the answer, and a graph is not told which is which',
    {
      found: `a prompt of ${prompt.method.type} whose offset ends with the instruction`,
      expected: 'one that acts on all tokens, such as DePT with method.offset: all',
      hint: `tune with method.offset: all; ${ownCommand`serve --prompt RUN`} runs this one`,
    },
  )
