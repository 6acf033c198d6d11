import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ModelConfig, ModelFamily } from '../../models/family.js'
import { GradpromptError } from '../errors.js'
import { openSafetensors } from '../formats/safetensors.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LearnedTensor } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { isStatic, staticPrefix, staticRows } from '../prompts/static.js'
import type { PromptFile } from '../store/prompt-file.js'

/** What PEFT keeps of a prompt: `adapter_config.json`, without what all types share, and the tensors of its weights file. */
export interface PeftAdapter {
  readonly config: Readonly<Record<string, unknown>> & { readonly peft_type: string }
  readonly tensors: readonly LearnedTensor[]
}

/** The model that an adapter is for. */
export interface AdapterBase {
  readonly config: ModelConfig
  readonly family: Pick<ModelFamily, 'attentionModule' | 'inputMultiplier' | 'pairedKeys'>
}

/** The methods whose prompts PEFT can hold. */
export const hasPeftAdapter = (type: string): boolean => {
  const method = promptMethods.get(type)
  return method !== undefined && (isStatic(method) || method.prefix !== undefined || type === 'adaption-prompt')
}

/**
 * A prompt in the layout of PEFT 0.21: rows at the input as PROMPT_TUNING, whatever they were learned by (those of several tasks as
 * MULTITASK_PROMPT_TUNING, which is told the task when it is used); keys and values as PREFIX_TUNING; gated attention as ADAPTION_PROMPT.
 * @throws GradpromptError `not-exportable`
 */
export async function peftAdapter({ method: config, tensors }: PromptFile, base: AdapterBase): Promise<PeftAdapter> {
  const model = base.config
  const method = promptMethods.get(config.type)!
  if (numSoftTokens(config) > 0)
    throw new GradpromptError('not-exportable', "PEFT has no place for a template's soft tokens", {
      found: `${numSoftTokens(config)} soft tokens inside the template`,
      expected: 'a prompt whose template is plain text',
      hint: 'rows that all stand before the text are prompt tuning: take the soft tokens out of the template, and tune again',
    })
  const { numVirtualTokens } = method.placement(config, model)
  const common = { num_layers: model.numLayers, num_transformer_submodules: 1, num_virtual_tokens: numVirtualTokens }
  // TEXT would make PEFT ask for the text and its tokenizer when it loads the adapter.
  const rows = { num_attention_heads: model.numAttentionHeads, prompt_tuning_init: 'RANDOM', token_dim: model.hiddenSize }
  const tasks = method.tasks?.(config)?.names.length ?? 1
  if (config.type === 'mpt' && tasks > 1) {
    const named = { prompt: 'prompt_embeddings', taskColumns: 'prefix_task_cols', taskRows: 'prefix_task_rows' }
    const found = Object.entries(named).map(([name, theirs]) => {
      const { shape, data } = tensors.find(tensor => tensor.name === name)!
      return { name: theirs, shape, data: name === 'prompt' ? divided(data, base.family.inputMultiplier(model)) : data }
    })
    return {
      config: { peft_type: 'MULTITASK_PROMPT_TUNING', ...common, ...rows, num_tasks: tasks, num_ranks: found[1]!.shape[2]! },
      tensors: found,
    }
  }
  if (isStatic(method)) {
    return {
      config: { peft_type: 'PROMPT_TUNING', ...common, ...rows },
      tensors: [
        {
          name: 'prompt_embeddings',
          shape: [numVirtualTokens, model.hiddenSize],
          data: divided(await staticRows(method, config, tensors), base.family.inputMultiplier(model)),
        },
      ],
    }
  }
  if (method.prefix) {
    const { numKeyValueHeads: heads, headDim, numLayers } = model
    const width = heads * headDim
    const layers = await staticPrefix(method, config, tensors, model)
    const data = new Float32Array(numVirtualTokens * numLayers * 2 * width) // [m, 2 L, Hkv, D]
    for (const [layer, { key, value }] of layers.entries())
      for (const [kind, values] of [key, value].entries())
        for (let head = 0; head < heads; head++)
          for (let token = 0; token < numVirtualTokens; token++) {
            const from = (head * numVirtualTokens + token) * headDim
            const own = values.subarray(from, from + headDim)
            const stored = kind === 0 && base.family.pairedKeys ? paired(own) : own
            data.set(stored, ((token * numLayers + layer) * 2 + kind) * width + head * headDim)
          }
    return {
      config: {
        peft_type: 'PREFIX_TUNING',
        ...common,
        encoder_hidden_size: width,
        num_attention_heads: heads,
        prefix_projection: false,
        token_dim: width,
      },
      tensors: [{ name: 'prompt_embeddings', shape: [numVirtualTokens, 2 * numLayers * width], data }],
    }
  }
  if (config.type === 'adaption-prompt') {
    const { shape, data } = tensors.find(({ name }) => name === 'prompt')!
    const gate = tensors.find(({ name }) => name === 'gate')!
    const [layers, length, width] = shape as [number, number, number]
    return {
      config: {
        peft_type: 'ADAPTION_PROMPT',
        adapter_layers: layers,
        adapter_len: length,
        target_modules: base.family.attentionModule(0).split('.').at(-1),
      },
      tensors: Array.from({ length: layers }, (_, i) => {
        const at = adapterModule(base, model.numLayers - layers + i)
        return [
          { name: `${at}.adaption_gate`, shape: [1], data: gate.data.slice(i, i + 1) },
          {
            name: `${at}.adaption_prompt`,
            shape: [1, length, width],
            data: data.slice(i * length * width, (i + 1) * length * width),
          },
        ]
      }).flat(),
    }
  }
  throw new GradpromptError('not-exportable', `PEFT has nothing that a prompt of ${config.type} could be`, {
    found: `method.type: ${config.type}`,
    expected: `one of ${[...promptMethods.keys()].filter(hasPeftAdapter).join(', ')}`,
    hint: 'what it computes depends on the text, so no fixed rows, keys or values come to the same',
  })
}

/** Undone by `multiplied` to the last bit, where a product with the inverse is not. */
const divided = (values: Float32Array, by: number) => (by === 1 ? values : values.map(x => x / by))
const multiplied = (values: Float32Array, by: number) => (by === 1 ? values : values.map(x => x * by))

/** A head's numbers with those that turn together side by side, from half a head apart. */
const paired = (values: Float32Array) => values.map((_, i) => values[(i >> 1) + (i % 2) * (values.length / 2)]!)

/** The way back. */
const unpaired = (values: Float32Array) =>
  values.map((_, i) => values[((2 * i) % values.length) + Number(i >= values.length / 2)]!)

/** What PEFT calls the attention that an adaption prompt sits in. */
const adapterModule = ({ family }: AdapterBase, layer: number) => `base_model.model.${family.attentionModule(layer)}`

const size = z.int().min(1).max(1_000_000)
const configSchema = z.discriminatedUnion('peft_type', [
  z.object({ peft_type: z.enum(['PROMPT_TUNING', 'P_TUNING', 'CPT']), num_virtual_tokens: size }),
  z.object({ peft_type: z.literal('MULTITASK_PROMPT_TUNING'), num_virtual_tokens: size, num_tasks: size, num_ranks: size }),
  z.object({ peft_type: z.literal('PREFIX_TUNING'), num_virtual_tokens: size }),
  z.object({ peft_type: z.literal('ADAPTION_PROMPT'), adapter_layers: size, adapter_len: size }),
])

/**
 * Reads an adapter folder that PEFT wrote. What PEFT stores of P-tuning and CPT are plain rows, so they act as prompt tuning's.
 *
 * @param task which task's rows to take of a multitask adapter, from 0
 * @throws GradpromptError `not-a-prompt`, `model-mismatch` (another width), and those of `openSafetensors`
 */
export async function readPeftAdapter(folder: string, base: AdapterBase, task = 0): Promise<ActivePrompt> {
  const path = join(folder, 'adapter_config.json')
  const wrong = (found: string, hint?: string) =>
    new GradpromptError('not-a-prompt', `${folder} is not an adapter that can be used here`, {
      found,
      expected: 'an adapter of PROMPT_TUNING, P_TUNING, CPT, MULTITASK_PROMPT_TUNING, PREFIX_TUNING or ADAPTION_PROMPT',
      ...(hint === undefined ? {} : { hint }),
    })
  let raw: unknown
  try {
    raw = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw wrong(`adapter_config.json: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  const parsed = configSchema.safeParse(raw)
  if (!parsed.success) {
    const type = (raw as { peft_type?: unknown } | null)?.peft_type
    throw wrong(type === undefined ? 'no peft_type' : `peft_type ${JSON.stringify(type)}: ${parsed.error.issues[0]!.message}`)
  }
  const config = parsed.data
  const file = await openSafetensors(join(folder, 'adapter_model.safetensors'))
  try {
    const read = async (name: string, ...shape: number[]) => {
      const found = file.tensors.get(name)?.shape
      if (found === undefined) throw wrong(`no tensor ${name}`)
      if (found.join() !== shape.join()) {
        throw new GradpromptError('model-mismatch', `the adapter in ${folder} does not fit the model`, {
          found: `${name} of shape [${found.join(', ')}]`,
          expected: `[${shape.join(', ')}]`,
        })
      }
      return file.read(name)
    }
    const { hiddenSize, numLayers, numKeyValueHeads, headDim } = base.config
    if (config.peft_type === 'PREFIX_TUNING') {
      const width = 2 * numLayers * numKeyValueHeads * headDim
      const prefix = await read('prompt_embeddings', config.num_virtual_tokens, width)
      if (base.family.pairedKeys)
        for (let at = 0; at < prefix.length; at += headDim)
          if (Math.floor(at / (numKeyValueHeads * headDim)) % 2 === 0) prefix.set(unpaired(prefix.subarray(at, at + headDim)), at)
      return active('prefix-tuning', { numVirtualTokens: config.num_virtual_tokens }, { prefix })
    }
    if (config.peft_type === 'ADAPTION_PROMPT') {
      const { adapter_layers: layers, adapter_len: length } = config
      if (layers > numLayers) throw wrong(`${layers} adapter layers for a model of ${numLayers}`)
      const prompt = new Float32Array(layers * length * hiddenSize)
      const gate = new Float32Array(layers)
      for (let i = 0; i < layers; i++) {
        const at = adapterModule(base, numLayers - layers + i)
        prompt.set(await read(`${at}.adaption_prompt`, 1, length, hiddenSize), i * length * hiddenSize)
        gate.set(await read(`${at}.adaption_gate`, 1), i)
      }
      return active('adaption-prompt', { adapterLength: length, adapterLayers: layers }, { prompt, gate })
    }
    const count = config.num_virtual_tokens
    const prompt = await read('prompt_embeddings', count, hiddenSize)
    if (config.peft_type === 'MULTITASK_PROMPT_TUNING') {
      const { num_tasks: tasks, num_ranks: ranks } = config
      if (task >= tasks) throw wrong(`task ${task} of ${tasks}`, 'tasks are counted from 0')
      const columns = await read('prefix_task_cols', tasks, count, ranks)
      const rows = await read('prefix_task_rows', tasks, ranks, hiddenSize)
      for (let i = 0; i < count; i++)
        for (let j = 0; j < hiddenSize; j++) {
          let factor = 0
          for (let rank = 0; rank < ranks; rank++)
            factor += columns[(task * count + i) * ranks + rank]! * rows[(task * ranks + rank) * hiddenSize + j]!
          prompt[i * hiddenSize + j]! *= factor
        }
    }
    const rows = multiplied(prompt, base.family.inputMultiplier(base.config))
    return active('prompt-tuning', { numVirtualTokens: count, position: 'before-bos' }, { prompt: rows })
  } finally {
    await file.close()
  }
}

function active(type: string, options: object, parameters: Record<string, Float32Array>): ActivePrompt {
  return { method: promptMethods.get(type)!, config: { type, ...options }, parameters: new Map(Object.entries(parameters)) }
}
