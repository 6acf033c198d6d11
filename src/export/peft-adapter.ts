import { GradpromptError } from '../errors.js'
import type { LearnedTensor, PromptMethod } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { isStatic, staticPrefix, staticRows } from '../prompts/static.js'
import { type AdapterBase, adapterModule } from '../sources/peft-adapter.js'
import type { PromptFile } from '../store/prompt-file.js'

/** Prompts in the layout that PEFT keeps them in. It knows no folder: `peft.ts` writes what is made here. */

/** What PEFT keeps of a prompt: `adapter_config.json`, without what all types share, and the tensors of its weights file. */
export interface PeftAdapter {
  readonly config: Readonly<Record<string, unknown>> & { readonly peft_type: string }
  readonly tensors: readonly LearnedTensor[]
}

type Learned = Pick<PromptFile, 'method' | 'tensors'>

type Writer = (prompt: Learned, base: AdapterBase) => PeftAdapter | Promise<PeftAdapter> | undefined

/** Prompts that PEFT has a type of its own for, by the method that learns them; undefined: it is no such prompt after all. */
const ownTypes: ReadonlyMap<string, Writer> = new Map<string, Writer>([
  ['mpt', multitaskAdapter],
  ['adaption-prompt', attentionAdapter],
])

/** What writes a method's prompts, where PEFT can hold them. */
function writersOf(method: PromptMethod): readonly Writer[] {
  const own = ownTypes.get(method.type)
  const others = isStatic(method) ? [rowsAdapter] : method.prefix !== undefined ? [prefixAdapter] : []
  return own === undefined ? others : [own, ...others]
}

/** Whether PEFT can hold the prompts of a method. */
export const hasPeftAdapter = (method: PromptMethod): boolean => writersOf(method).length > 0

/** Whether PEFT has a type for a method's prompts of several tasks. */
export const hasTaskFactors = ({ type }: PromptMethod): boolean => ownTypes.get(type) === multitaskAdapter

/** What PEFT calls a method's prompts. */
export const peftType = (method: PromptMethod): string =>
  ownNames.get(method.type) ?? (isStatic(method) ? 'PROMPT_TUNING' : 'PREFIX_TUNING')

const ownNames: ReadonlyMap<string, string> = new Map([
  ['mpt', 'PROMPT_TUNING; several tasks: MULTITASK_PROMPT_TUNING'],
  ['adaption-prompt', 'ADAPTION_PROMPT'],
])

/**
 * A prompt in the layout of PEFT 0.21: rows at the input as PROMPT_TUNING, whatever they were learned by (those of several tasks as
 * MULTITASK_PROMPT_TUNING, which is told the task when it is used); keys and values as PREFIX_TUNING; gated attention as ADAPTION_PROMPT.
 * @throws GradpromptError `not-exportable`
 */
export async function peftAdapter(prompt: PromptFile, base: AdapterBase): Promise<PeftAdapter> {
  const { method: config } = prompt
  if (numSoftTokens(config) > 0)
    throw new GradpromptError('not-exportable', "PEFT has no place for a template's soft tokens", {
      found: `${numSoftTokens(config)} soft tokens inside the template`,
      expected: 'a prompt whose template is plain text',
      hint: 'rows that all stand before the text are prompt tuning: take the soft tokens out of the template, and tune again',
    })
  for (const write of writersOf(promptMethods.get(config.type))) {
    const written = await write(prompt, base)
    if (written !== undefined) return written
  }
  const fitting = [...promptMethods].filter(([, method]) => hasPeftAdapter(method)).map(([type]) => type)
  throw new GradpromptError('not-exportable', `PEFT has nothing that a prompt of ${config.type} could be`, {
    found: `method.type: ${config.type}`,
    expected: `one of ${fitting.join(', ')}`,
    hint: 'what it computes depends on the text, so no fixed rows, keys or values come to the same',
  })
}

/** What the types with virtual tokens have in common. */
function commonConfig(config: { readonly type: string }, { config: model }: AdapterBase) {
  const { numVirtualTokens } = promptMethods.get(config.type).placement(config, model)
  return { num_layers: model.numLayers, num_transformer_submodules: 1, num_virtual_tokens: numVirtualTokens }
}

/** What those with rows at the input have besides. TEXT would make PEFT ask for the text and its tokenizer when it loads the adapter. */
const rowsConfig = ({ config: model }: AdapterBase) => ({
  num_attention_heads: model.numAttentionHeads,
  prompt_tuning_init: 'RANDOM',
  token_dim: model.hiddenSize,
})

/** What a model's embeddings are multiplied by is divided out: undone by the reader to the last bit, where a product with the inverse is not. */
function divided(values: Float32Array, { family, config }: AdapterBase): Float32Array {
  const by = family.inputMultiplier(config)
  return by === 1 ? values : values.map(x => x / by)
}

/** A head's numbers with those that turn together side by side, from half a head apart. */
const paired = (values: Float32Array) => values.map((_, i) => values[(i >> 1) + (i % 2) * (values.length / 2)]!)

function multitaskAdapter({ method: config, tensors }: Learned, base: AdapterBase) {
  const tasks = promptMethods.get(config.type).tasks?.(config)?.names.length ?? 1
  if (tasks === 1) return undefined
  const named = { prompt: 'prompt_embeddings', taskColumns: 'prefix_task_cols', taskRows: 'prefix_task_rows' }
  const found = Object.entries(named).map(([name, theirs]) => {
    const { shape, data } = tensorOf(tensors, name)
    return { name: theirs, shape, data: name === 'prompt' ? divided(data, base) : data }
  })
  const common = { peft_type: 'MULTITASK_PROMPT_TUNING', ...commonConfig(config, base), ...rowsConfig(base) }
  return { config: { ...common, num_tasks: tasks, num_ranks: found[1]!.shape[2]! }, tensors: found }
}

async function rowsAdapter({ method: config, tensors }: Learned, base: AdapterBase) {
  const common = commonConfig(config, base)
  const data = divided(await staticRows(promptMethods.get(config.type), config, tensors), base)
  const shape = [common.num_virtual_tokens, base.config.hiddenSize]
  return {
    config: { peft_type: 'PROMPT_TUNING', ...common, ...rowsConfig(base) },
    tensors: [{ name: 'prompt_embeddings', shape, data }],
  }
}

async function prefixAdapter({ method: config, tensors }: Learned, base: AdapterBase) {
  const layers = await staticPrefix(promptMethods.get(config.type), config, tensors, base.config)
  return keysAdapter(layers, base, commonConfig(config, base).num_virtual_tokens)
}

/** Keys and values of `count` positions, two of [Hkv, count, D] a layer, as PREFIX_TUNING, wherever they come from. */
export function keysAdapter(layers: readonly Keys[], base: AdapterBase, count: number): PeftAdapter {
  const { numKeyValueHeads: heads, headDim, numLayers } = base.config
  const width = heads * headDim
  const data = new Float32Array(count * numLayers * 2 * width) // [m, 2 L, Hkv, D]
  for (const [layer, keys] of layers.entries())
    for (const [kind, values] of Object.values(storedKeys(keys, base)).entries())
      for (let head = 0; head < heads; head++)
        for (let token = 0; token < count; token++) {
          const from = (head * count + token) * headDim
          data.set(values.subarray(from, from + headDim), ((token * numLayers + layer) * 2 + kind) * width + head * headDim)
        }
  return {
    config: {
      peft_type: 'PREFIX_TUNING',
      num_layers: numLayers,
      num_transformer_submodules: 1,
      num_virtual_tokens: count,
      encoder_hidden_size: width,
      num_attention_heads: heads,
      prefix_projection: false,
      token_dim: width,
    },
    tensors: [{ name: 'prompt_embeddings', shape: [count, 2 * numLayers * width], data }],
  }
}

export interface Keys {
  readonly key: Float32Array
  readonly value: Float32Array
}

/** Keys and values of one layer as transformers' model has them. */
export function storedKeys({ key, value }: Keys, { family, config: { headDim } }: AdapterBase): Keys {
  if (!family.pairedKeys) return { key, value }
  const turned = new Float32Array(key.length)
  for (let at = 0; at < key.length; at += headDim) turned.set(paired(key.subarray(at, at + headDim)), at)
  return { key: turned, value }
}

function attentionAdapter({ tensors }: Learned, base: AdapterBase): PeftAdapter {
  const { shape, data } = tensorOf(tensors, 'prompt')
  const gate = tensorOf(tensors, 'gate')
  const [layers, length, width] = shape as [number, number, number]
  return {
    config: {
      peft_type: 'ADAPTION_PROMPT',
      adapter_layers: layers,
      adapter_len: length,
      target_modules: base.family.attentionModule(0).split('.').at(-1),
    },
    tensors: Array.from({ length: layers }, (_, i) => {
      const at = adapterModule(base, base.config.numLayers - layers + i)
      const rows = data.slice(i * length * width, (i + 1) * length * width)
      return [
        { name: `${at}.adaption_gate`, shape: [1], data: gate.data.slice(i, i + 1) },
        { name: `${at}.adaption_prompt`, shape: [1, length, width], data: rows },
      ]
    }).flat(),
  }
}

const tensorOf = (tensors: readonly LearnedTensor[], name: string) => tensors.find(tensor => tensor.name === name)!
