import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ModelConfig, ModelFamily } from '../../models/blocks/family.js'
import { valueProblem } from '../config/problems.js'
import { GradpromptError, shellWord } from '../errors.js'
import { exists } from '../files.js'
import { openSafetensors, type SafetensorsFile } from '../formats/safetensors.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import { promptMethods } from '../prompts/methods/index.js'
import { refuseChangedModel } from './adapter-tensors.js'

/** Adapters that PEFT wrote, as prompts that act on a model. `export/peft-adapter.ts` makes them. */

/** The model that an adapter is for. */
export interface AdapterBase {
  readonly config: ModelConfig
  readonly family: Pick<ModelFamily, 'attentionModule' | 'inputMultiplier' | 'pairedKeys'>
}

const multiplied = (values: Float32Array, by: number) => (by === 1 ? values : values.map(x => x * by))

/** A head's numbers with those that turn together half a head apart, from side by side. */
const unpaired = (values: Float32Array) =>
  values.map((_, i) => values[((2 * i) % values.length) + Number(i >= values.length / 2)]!)

/** What PEFT calls the attention that an adaption prompt sits in. */
export const adapterModule = ({ family }: AdapterBase, layer: number) => `base_model.model.${family.attentionModule(layer)}`

const size = z.int().min(1).max(1_000_000)
type AdapterConfig = z.infer<typeof configSchema>
const configSchema = z.discriminatedUnion('peft_type', [
  z.object({ peft_type: z.enum(['PROMPT_TUNING', 'P_TUNING', 'CPT']), num_virtual_tokens: size }),
  z.object({ peft_type: z.literal('MULTITASK_PROMPT_TUNING'), num_virtual_tokens: size, num_tasks: size, num_ranks: size }),
  z.object({ peft_type: z.literal('PREFIX_TUNING'), num_virtual_tokens: size }),
  z.object({ peft_type: z.literal('ADAPTION_PROMPT'), adapter_layers: size, adapter_len: size }),
])

/** The model that an adapter says it was learned on, where it says one. */
export async function adapterBase(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, 'adapter_config.json'), 'utf8').catch(() => '{}')
  try {
    const { base_model_name_or_path: base } = (JSON.parse(text) ?? {}) as { base_model_name_or_path?: unknown }
    return typeof base === 'string' && base !== '' ? base : undefined
  } catch {
    // What is wrong with the file is said when it is read.
    return undefined
  }
}

/** What an adapter holds, as far as it is known without its model. */
export interface AdapterSummary {
  readonly type: AdapterConfig['peft_type']
  readonly base: string | undefined
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[] }[]
}

/** @throws GradpromptError `not-a-prompt`, `unsupported-format`, `not-finite`, and those of `openSafetensors` */
export async function summarizeAdapter(folder: string): Promise<AdapterSummary> {
  const { peft_type: type } = await adapterConfig(folder)
  const file = await openWeights(folder)
  try {
    for (const name of file.tensors.keys()) await finite(folder, file, name)
    const tensors = [...file.tensors].map(([name, { shape }]) => ({ name, shape }))
    return { type, base: await adapterBase(folder), tensors }
  } finally {
    await file.close()
  }
}

/**
 * Reads an adapter folder that PEFT wrote. What PEFT stores of P-tuning and CPT are plain rows, so they act as prompt tuning's.
 *
 * @param task which task's rows to take of a multitask adapter, from 0
 * @throws GradpromptError `not-a-prompt`, `model-mismatch` (another width), `unsupported-adapter` (it holds more than a prompt), `not-finite`, and those
 *   of `openSafetensors`
 */
export async function readPeftAdapter(
  folder: string,
  base: AdapterBase & { readonly path?: string },
  task = 0,
): Promise<ActivePrompt> {
  const wrong = wrongIn(folder)
  const config = await adapterConfig(folder)
  const file = await openWeights(folder)
  const used = new Set<string>()
  const whole = async (prompt: ActivePrompt) => {
    await refuseChangedModel(folder, file, used, base.path)
    return prompt
  }
  try {
    const read = async (name: string, ...shape: number[]) => {
      used.add(name)
      const found = file.tensors.get(name)?.shape
      if (found === undefined) throw wrong(`no tensor ${name}`)
      if (found.join() !== shape.join()) {
        throw new GradpromptError('model-mismatch', `the adapter in ${folder} does not fit the model`, {
          found: `${name} of shape [${found.join(', ')}]`,
          expected: `[${shape.join(', ')}]`,
        })
      }
      return finite(folder, file, name)
    }
    const { hiddenSize, numLayers, numKeyValueHeads, headDim } = base.config
    if (config.peft_type === 'PREFIX_TUNING') {
      const width = 2 * numLayers * numKeyValueHeads * headDim
      const prefix = await read('prompt_embeddings', config.num_virtual_tokens, width)
      if (base.family.pairedKeys)
        for (let at = 0; at < prefix.length; at += headDim)
          if (Math.floor(at / (numKeyValueHeads * headDim)) % 2 === 0) prefix.set(unpaired(prefix.subarray(at, at + headDim)), at)
      return await whole(active('prefix-tuning', { numVirtualTokens: config.num_virtual_tokens }, { prefix }))
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
      return await whole(active('adaption-prompt', { adapterLength: length, adapterLayers: layers }, { prompt, gate }))
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
    return await whole(active('prompt-tuning', { numVirtualTokens: count, position: 'before-bos' }, { prompt: rows }))
  } finally {
    await file.close()
  }
}

function active(type: string, options: object, parameters: Record<string, Float32Array>): ActivePrompt {
  return { method: promptMethods.get(type), config: { type, ...options }, parameters: new Map(Object.entries(parameters)) }
}

/** A tensor's numbers: with one that is none whatever a model says is none. @throws GradpromptError `not-finite` */
async function finite(folder: string, file: SafetensorsFile, name: string): Promise<Float32Array> {
  const data = await file.read(name)
  if (data.every(Number.isFinite)) return data
  throw new GradpromptError('not-finite', `the tensor "${name}" of the adapter in ${folder} holds numbers that are not finite`, {
    expected: 'numbers: no NaN, no infinity',
    hint: 'the file is damaged, or its training came apart: fetch it again, or take an earlier checkpoint',
  })
}

const wrongIn = (folder: string) => (found: string, hint?: string) =>
  new GradpromptError('not-a-prompt', `${folder} is not an adapter that can be used here`, {
    found,
    expected: 'an adapter of PROMPT_TUNING, P_TUNING, CPT, MULTITASK_PROMPT_TUNING, PREFIX_TUNING or ADAPTION_PROMPT',
    ...(hint === undefined ? {} : { hint }),
  })

/** @throws GradpromptError `not-a-prompt` */
async function adapterConfig(folder: string): Promise<AdapterConfig> {
  const wrong = wrongIn(folder)
  let raw: unknown
  try {
    raw = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'))
  } catch (cause) {
    throw wrong(`adapter_config.json: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  const parsed = configSchema.safeParse(raw)
  if (parsed.success) return parsed.data
  const type = (raw as { peft_type?: unknown } | null)?.peft_type
  if (typeof type === 'string' && parsed.error.issues[0]!.path[0] === 'peft_type')
    throw wrong(
      `peft_type ${JSON.stringify(type)}`,
      'where it changes the weights of the model, as LoRA does, merge it in Python (merge_and_unload, then save_pretrained) and give that folder as the model',
    )
  throw wrong(
    type === undefined ? 'no peft_type' : `peft_type ${JSON.stringify(type)}: ${valueProblem(parsed.error.issues, raw).message}`,
  )
}

/** @throws GradpromptError `unsupported-format`, and as `openSafetensors` does */
async function openWeights(folder: string): Promise<SafetensorsFile> {
  const [weights, pickle] = [join(folder, 'adapter_model.safetensors'), join(folder, 'adapter_model.bin')]
  if (!(await exists(weights)) && (await exists(pickle))) throw isPickle(folder, pickle, weights)
  return openSafetensors(weights)
}

const isPickle = (folder: string, pickle: string, weights: string) =>
  new GradpromptError('unsupported-format', `the adapter in ${folder} holds its weights as a pickle, which is never opened`, {
    found: 'adapter_model.bin',
    expected: 'adapter_model.safetensors',
    hint: `convert it where you trust it: python -c ${shellWord(`import torch; from safetensors.torch import save_file; save_file(torch.load(${JSON.stringify(pickle)}, weights_only=True), ${JSON.stringify(weights)})`)}`,
  })
