import { z } from 'zod'
import { gelu } from '../../../kernels/gelu.js'
import { GELU_DENOMINATOR, GELU_NUMERATOR, rational } from '../../../kernels/rational.js'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { normalised } from '../generator.js'
import { normalNumbers } from '../initialisation.js'
import { unstacked } from '../layers.js'
import type { PromptMethod } from '../method.js'
import { attentionPool } from '../pooling.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * IAPT (Zhu et al. 2024, arXiv 2405.18203): before every layer a generator makes virtual tokens from the instruction's hidden rows H,
 *
 *     z = H W_down;  pooled_j = sum_i softmax_i(z W_pool)_ij z_i;  rows = R(pooled) W_up + bias
 *
 * with an activation R of the layer's own, a rational function that starts as GELU. The formulas are those that its authors print for
 * the same generator in a later paper (MiLoRA); no code is public. The tokens stand before the text at positions 0 … k-1; they see
 * the whole instruction, so that the loss is on answers alone and the pooler sees instructions alone. What a layer makes of them is
 * dropped, so they have keys and values and no hidden states. The bias is ours: with W_up zero it makes the start a real prompt.
 */
export const iaptSchema = z.strictObject({
  type: z.literal('iapt').describe('virtual tokens made from the instruction before every layer'),
  numVirtualTokens: z.int().min(1).max(1000).default(4).describe('rows that each generator makes'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('the tokens whose hidden rows the biases start from'),
  bottleneck: z.int().min(1).max(100_000).default(32).describe('width of the generators'),
  sharing: z.int().min(1).default(1).describe('layers that share a generator: so many at a time'),
  activation: z.enum(['rational', 'gelu', 'relu', 'silu']).default('rational').describe('rational: learned for each layer'),
  activationLearningRate: z.number().positive().default(1e-6).describe('highest learning rate of the coefficients'),
  bilevel: z.boolean().default(false).describe('learn the coefficients on held-out rows; a step then takes two gradients'),
  bias: z.boolean().default(true).describe('add a learned row to each that is made'),
  normalize: z
    .boolean()
    .default(true)
    .describe('divide hidden rows by their root mean square, since they grow from layer to layer'),
})

export type IaptConfig = z.output<typeof iaptSchema>

/** Where the rational start is GELU; pooled values beyond it are cut off. */
const TRUSTED = 5

const groupsOf = ({ sharing }: IaptConfig, numLayers: number) => Math.ceil(numLayers / sharing)

export const iapt: PromptMethod<IaptConfig> = declareCode(import.meta.url, {
  type: 'iapt',
  paper: 'Zhu et al. 2024, IAPT: Instruction-Aware Prompt Tuning for Large Language Models (arXiv 2405.18203)',
  learningRate: 0.001,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos', as: 'keys', perSequence: true }),

  check({ bottleneck, sharing, bilevel, activation }, { hiddenSize, numLayers }) {
    if (bottleneck > hiddenSize)
      return `method.bottleneck (${bottleneck}) is beyond the model's width (${hiddenSize}): take 1 to ${hiddenSize}`
    if (sharing > numLayers)
      return `method.sharing (${sharing}) is more than the model's layers (${numLayers}): take 1 to ${numLayers}`
    if (bilevel && activation !== 'rational')
      return `method.bilevel: true learns coefficients on held-out rows, and method.activation: ${activation} has none`
    return undefined
  },

  parameters(config, { hiddenSize, numLayers }) {
    const { numVirtualTokens, bottleneck, activation, bias } = config
    const groups = groupsOf(config, numLayers)
    const coefficients = { learningRate: config.activationLearningRate, ...(config.bilevel ? { heldOut: true } : {}) }
    return [
      { name: 'down', shape: [groups, hiddenSize, bottleneck] },
      { name: 'pool', shape: [groups, bottleneck, numVirtualTokens] },
      { name: 'up', shape: [groups, bottleneck, hiddenSize] },
      ...(bias ? [{ name: 'bias', shape: [numLayers, numVirtualTokens, hiddenSize] }] : []),
      ...(activation === 'rational'
        ? [
            { name: 'numerator', shape: [numLayers, GELU_NUMERATOR.length], ...coefficients },
            { name: 'denominator', shape: [numLayers, GELU_DENOMINATOR.length], ...coefficients },
          ]
        : []),
    ]
  },

  async initialise(config, context) {
    const { numVirtualTokens, bottleneck, activation, bias } = config
    const { model, seed } = context
    const { hiddenSize, numLayers } = model
    const groups = groupsOf(config, numLayers)
    const repeated = (values: readonly number[]) =>
      Float32Array.from({ length: numLayers * values.length }, (_, i) => values[i % values.length]!)
    const started = async () => {
      const states = await context.keysAndValues(await startingRows(config.init, numVirtualTokens, context))
      const rows = new Float32Array(numLayers * numVirtualTokens * hiddenSize)
      for (const [layer, { hidden }] of states.entries()) rows.set(hidden, layer * hidden.length)
      return rows
    }
    return new Map<string, Float32Array>([
      ['down', normalNumbers(groups * hiddenSize * bottleneck, hiddenSize ** -0.5, seed, 1)],
      ['pool', normalNumbers(groups * bottleneck * numVirtualTokens, bottleneck ** -0.5, seed, 2)],
      // Without a bias rows of zero would be no start: they take attention and give nothing.
      ['up', normalNumbers(groups * bottleneck * hiddenSize, bias ? 0 : 0.02, seed, 3)],
      ...(bias ? ([['bias', await started()]] as const) : []),
      ...(activation === 'rational'
        ? ([
            ['numerator', repeated(GELU_NUMERATOR)],
            ['denominator', repeated(GELU_DENOMINATOR)],
          ] as const)
        : []),
    ])
  },

  layerRows(config, parameters, rows) {
    const { layer, model } = rows
    const own = (name: string, index = layer) => unstacked(parameters[name]!)[index]!
    const group = Math.floor(layer / config.sharing)
    const hidden = config.normalize ? normalised(rows.hidden) : rows.hidden
    const z = tf.matMul(hidden as tf.Tensor2D, own('down', group) as tf.Tensor2D) // [N, b]
    const pooled = tf.clipByValue(attentionPool(rows, z, own('pool', group)), -TRUSTED, TRUSTED) // [B, k, b]
    const flat = tf.reshape(pooled, [-1, config.bottleneck]) // [B k, b]
    const active =
      config.activation === 'rational'
        ? rational(flat, own('numerator'), own('denominator'))
        : config.activation === 'gelu'
          ? gelu(flat, 'erf')
          : config.activation === 'relu'
            ? tf.relu(flat)
            : tf.mul(flat, tf.sigmoid(flat))
    const made = tf.matMul(active as tf.Tensor2D, own('up', group) as tf.Tensor2D) // [B k, d]
    if (!config.bias) return made
    const shape = [-1, config.numVirtualTokens, model.hiddenSize]
    return tf.reshape(tf.add(tf.reshape(made, shape), own('bias')), [-1, model.hiddenSize])
  },
})
