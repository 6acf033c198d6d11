import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { declareCode } from '../../code-identity.js'
import { elementCount } from '../../numbers.js'
import { normalNumbers, uniformNumbers } from '../initialisation.js'
import { unstacked } from '../layers.js'
import type { InitialisationContext, PromptMethod } from '../method.js'
import { type Init, initSchema, startingRows } from '../starts/index.js'

/**
 * Prefix tuning (Li and Liang 2021, arXiv 2101.00190), known as P-tuning v2 when nothing is projected (Liu et al. 2021, arXiv
 * 2110.07602): keys and values of every layer are learned, in PEFT's layout. The text stands behind them at positions m, m + 1, …. Tokens
 * that stay as they start stand first (Eyuboglu et al. 2025, Cartridges, arXiv 2506.06266).
 */
export const prefixTuningSchema = z.strictObject({
  type: z.literal('prefix-tuning').describe('learned keys and values in every layer'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('keys and values that are learned in each layer'),
  projection: z.boolean().default(false).describe('learn them through a network that all layers share'),
  encoderHiddenSize: z.int().min(1).optional().describe("width of the projection's network; by default that of a layer's keys"),
  frozenTokens: z
    .int()
    .min(0)
    .optional()
    .describe(
      'so many of the first tokens stay as they start, by default none; 1 keeps the one that attention rests on, as Cartridges do',
    ),
  init: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('zero').describe('start from zero') }),
      z.strictObject({
        type: z.literal('random').describe('start from normal noise'),
        scale: z.number().positive().default(1).describe("standard deviation; PEFT's is 1"),
      }),
      ...initSchema.options.filter(option => option.shape.type.value !== 'random'),
    ])
    .optional()
    .describe('what they start from; of rows, the keys and values that the model makes of them; by default of vocabulary rows'),
})

export type PrefixTuningConfig = z.output<typeof prefixTuningSchema>

/** Name of the tokens that stay as they start. */
const frozenName = 'prefix.frozen'

/** Numbers of one token's keys in one layer. */
const width = ({ numKeyValueHeads, headDim }: ModelConfig) => numKeyValueHeads * headDim

/** By default the prefix is what a soft prompt of drawn vocabulary rows comes to: it starts as prompt tuning does. */
const initOf = ({ init, projection }: PrefixTuningConfig) =>
  init ?? (projection ? { type: 'random' as const, scale: 1 } : { type: 'vocabulary' as const })

export const prefixTuning: PromptMethod<PrefixTuningConfig> = declareCode(import.meta.url, {
  type: 'prefix-tuning',
  paper: 'Li and Liang 2021, Prefix-Tuning: Optimizing Continuous Prompts for Generation (arXiv 2101.00190)',
  learningRate: 0.005,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos', as: 'keys' }),

  check(config) {
    const { type } = initOf(config)
    if (config.projection && type !== 'random')
      return `method.init.type: ${type} and method.projection: true exclude each other: a network's output starts at random`
    if (!config.projection && config.encoderHiddenSize !== undefined)
      return 'method.encoderHiddenSize is the width of a network, and method.projection (false) asks for none'
    const { frozenTokens = 0, numVirtualTokens } = config
    if (config.projection && frozenTokens > 0)
      return `method.frozenTokens (${frozenTokens}) and method.projection: true exclude each other: all tokens come from one network`
    if (frozenTokens >= numVirtualTokens)
      return `method.frozenTokens (${frozenTokens}) leaves nothing to learn of method.numVirtualTokens (${numVirtualTokens})`
    return undefined
  },

  /** Of the projection under PEFT's names; weights are [out, in]. */
  parameters({ numVirtualTokens, projection, encoderHiddenSize, frozenTokens = 0 }, model) {
    const inputs = width(model)
    const outputs = 2 * model.numLayers * inputs
    if (!projection)
      return [
        ...(frozenTokens > 0 ? [{ name: frozenName, shape: [frozenTokens, outputs], frozen: true }] : []),
        { name: 'prefix', shape: [numVirtualTokens - frozenTokens, outputs] },
      ]
    const hidden = encoderHiddenSize ?? inputs
    return [
      { name: 'embedding.weight', shape: [numVirtualTokens, inputs] },
      { name: 'transform.0.weight', shape: [hidden, inputs] },
      { name: 'transform.0.bias', shape: [hidden] },
      { name: 'transform.2.weight', shape: [outputs, hidden] },
      { name: 'transform.2.bias', shape: [outputs] },
    ]
  },

  async initialise(config, context) {
    const { model, seed } = context
    const { numVirtualTokens } = config
    const init = initOf(config)
    const { frozenTokens = 0 } = config
    const [first, ...network] = prefixTuning.parameters({ ...config, frozenTokens: 0 }, model)
    const count = elementCount(first!.shape)
    const start = async () => {
      if (init.type === 'zero') return new Float32Array(count)
      if (init.type === 'random') return normalNumbers(count, init.scale ?? 1, seed)
      return ownKeysAndValues(await startingRows(init as Init, numVirtualTokens, context), numVirtualTokens, context)
    }
    // As torch starts a linear layer: uniform within 1 / sqrt(inputs).
    const inputs = network.map(({ shape }) => shape[1]!)
    const started = await start()
    const border = frozenTokens * first!.shape[1]!
    return new Map([
      ...(border > 0 ? [[frozenName, started.slice(0, border)] as const] : []),
      [first!.name, border > 0 ? started.slice(border) : started],
      ...network.map(({ name, shape }, i) => {
        const bound = (inputs[i] ?? inputs[i - 1]!) ** -0.5
        return [name, uniformNumbers(elementCount(shape), bound, seed, i + 1)] as const
      }),
    ])
  },

  prefix(config, parameters, model) {
    const { numLayers, numKeyValueHeads, headDim } = model
    const stacked = tf.reshape(rows(config, parameters), [config.numVirtualTokens, 2 * numLayers, numKeyValueHeads, headDim])
    const parts = unstacked(tf.transpose(stacked, [1, 2, 0, 3])) // 2 L of [Hkv, m, D]
    return Array.from({ length: numLayers }, (_, layer) => ({ key: parts[2 * layer]!, value: parts[2 * layer + 1]! }))
  },
})

/** [m, 2 L Hkv D]: for each layer its keys, then its values, head after head. */
function rows({ projection, frozenTokens = 0 }: PrefixTuningConfig, parameters: Readonly<Record<string, tf.Tensor>>): tf.Tensor {
  if (!projection) return frozenTokens > 0 ? tf.concat([parameters[frozenName]!, parameters.prefix!], 0) : parameters.prefix!
  const linear = (x: tf.Tensor, name: string) =>
    tf.add(tf.matMul(x as tf.Tensor2D, parameters[`${name}.weight`] as tf.Tensor2D, false, true), parameters[`${name}.bias`]!)
  return linear(tf.tanh(linear(parameters['embedding.weight']!, 'transform.0')), 'transform.2')
}

/** What the model itself makes of rows at the input, in the layout of `prefix`: [m, 2 L Hkv D]. */
async function ownKeysAndValues(
  input: Float32Array,
  count: number,
  { model, keysAndValues }: InitialisationContext,
): Promise<Float32Array> {
  const { numKeyValueHeads, headDim, numLayers } = model
  const prefix = new Float32Array(count * 2 * numLayers * width(model))
  for (const [layer, { key, value }] of (await keysAndValues(input)).entries())
    for (const [kind, numbers] of [key, value].entries())
      for (let head = 0; head < numKeyValueHeads; head++)
        for (let token = 0; token < count; token++) {
          const from = (head * count + token) * headDim
          const to = ((token * numLayers + layer) * 2 + kind) * width(model) + head * headDim
          prefix.set(numbers.subarray(from, from + headDim), to)
        }
  return prefix
}
