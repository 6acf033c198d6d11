import { tf } from '../../kernels/tf.js'
import type { ModelConfig } from '../../models/blocks/family.js'
import { runEagerly } from '../program/eager.js'
import type { LearnedTensor, Parameters, PromptMethod } from './method.js'
import { numSoftTokens } from './soft-rows.js'

type Config = { readonly type: string }

/** Whether a method comes to rows that are the same for every text and stand before it alone: with these options, where they are given. */
export function isStatic(method: PromptMethod, config?: Config): boolean {
  const { inputRows, sequenceRows, offset, layerRows, prefix, attention, layerOutput } = method
  if (config && numSoftTokens(config) > 0) return false
  return inputRows !== undefined && !sequenceRows && !offset && !layerRows && !prefix && !attention && !layerOutput
}

/**
 * The rows that a method puts at the input.
 *
 * @returns [numVirtualTokens, hiddenSize]
 */
export async function staticRows(method: PromptMethod, config: Config, tensors: readonly LearnedTensor[]): Promise<Float32Array> {
  const { rows } = await computed(method, tensors, parameters => ({ rows: method.inputRows!(config, parameters) }))
  return rows!
}

/**
 * The keys and values that a method puts before those of the text, layer by layer: two of [Hkv, numVirtualTokens, D] each.
 */
export async function staticPrefix(
  method: PromptMethod,
  config: Config,
  tensors: readonly LearnedTensor[],
  model: ModelConfig,
): Promise<{ key: Float32Array; value: Float32Array }[]> {
  const layers = Array.from({ length: model.numLayers }, (_, layer) => layer)
  const numbers = await computed(method, tensors, parameters =>
    Object.fromEntries(
      method.prefix!(config, parameters, model).flatMap(({ key, value }, layer) => [
        [`key${layer}`, key],
        [`value${layer}`, value],
      ]),
    ),
  )
  return layers.map(layer => ({ key: numbers[`key${layer}`]!, value: numbers[`value${layer}`]! }))
}

/**
 * What is added to embeddings by a method whose offset depends on the token alone, or on its position alone.
 *
 * @param embedded embeddings as the first layer takes them, [N, d]; row i stands at position i of its text, in the instruction
 * @returns [N, d]
 */
export async function staticOffset(
  method: PromptMethod,
  config: Config,
  tensors: readonly LearnedTensor[],
  embedded: Float32Array,
  hiddenSize: number,
): Promise<Float32Array> {
  const count = embedded.length / hiddenSize
  // No parameter has a name with a space.
  const rows = { name: 'embedded rows', shape: [count, hiddenSize], data: embedded }
  const { offset } = await computed(method, [...tensors, rows], ({ [rows.name]: x, ...parameters }) => {
    const textIndex = tf.range(0, count, 1, 'int32')
    return { offset: method.offset!(config, parameters, { embedded: x!, textIndex, answerMask: tf.zeros([count]) }) }
  })
  return offset!
}

async function computed(
  { type }: PromptMethod,
  tensors: readonly LearnedTensor[],
  fn: (parameters: Parameters) => Record<string, tf.Tensor>,
): Promise<Record<string, Float32Array>> {
  const values = Object.fromEntries(tensors.map(({ name, shape, data }) => [name, { shape, data }]))
  const inputs = Object.fromEntries(tensors.map(({ name, shape }) => [name, { shape, dtype: 'float32' as const }]))
  const results = await runEagerly({ name: `${type} prompt`, inputs, fn }, values)
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]))
}
