import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { declareCode } from '../../code-identity.js'
import { bottleneckParameters, narrowed, normalised, startingBottleneck, widened } from '../generator.js'
import { normalNumbers } from '../initialisation.js'
import type { PromptMethod } from '../method.js'
import { adaptiveMaximum, adaptiveMean, attentionPool, lastRow } from '../pooling.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * Late prompt tuning (Liu et al. 2022, arXiv 2210.11292): the virtual tokens join the text before one late layer and go on from there
 * as ordinary rows, at positions 0 … k-1. No gradient passes below that layer, which makes a step cheaper. They are learned as they
 * are, or made from the instruction's rows before that layer: `g(h W_down + b_down) W_up + b_up` with ReLU as g, where h is the last
 * row and all k come from it (NPG), or where the narrowed rows are pooled to k (APG, MPG; attention is ours).
 */
export const lptSchema = z.strictObject({
  type: z.literal('lpt').describe('virtual tokens that join the text before a late layer'),
  numVirtualTokens: z.int().min(1).max(100_000).default(5).describe('rows that join the text'),
  init: initSchema
    .prefault({ type: 'vocabulary' })
    .describe('the tokens whose hidden rows before that layer the rows start from'),
  insertionLayer: z.int().min(0).optional().describe('the layer, from 0, before which they join; by default the middle one'),
  generator: z
    .enum(['none', 'last-token', 'mean', 'max', 'attention'])
    .default('none')
    .describe("none: the same rows for every text; otherwise how the instruction's rows make them"),
  bottleneck: z.int().min(1).max(100_000).default(128).describe('width of the generator'),
  normalize: z.boolean().default(true).describe("divide the instruction's rows by their root mean square first"),
  generatorLearningRate: z
    .number()
    .positive()
    .default(0.001)
    .describe("highest learning rate of the generator's network; that of the run is for rows as long as hidden ones"),
})

export type LptConfig = z.output<typeof lptSchema>

const layerOf = ({ insertionLayer }: LptConfig, { numLayers }: ModelConfig) => insertionLayer ?? Math.floor(numLayers / 2)

const sizes = ({ numVirtualTokens: count, generator, bottleneck }: LptConfig, { hiddenSize }: ModelConfig) => ({
  hiddenSize,
  bottleneck,
  count,
  outputs: generator === 'last-token' ? count * hiddenSize : hiddenSize,
})

export const lpt: PromptMethod<LptConfig> = declareCode(import.meta.url, {
  type: 'lpt',
  paper: 'Liu et al. 2022, Late Prompt Tuning: A Late Prompt Could Be Better Than Many Prompts (arXiv 2210.11292)',
  // Rows before the middle layer are some fifty times as long as embeddings: on dev 0.005 and 0.05 hardly moved them (scripts/study).
  learningRate: 0.3,
  placement: (config, model) => ({
    numVirtualTokens: config.numVirtualTokens,
    position: 'before-bos',
    insertionLayer: layerOf(config, model),
    perSequence: config.generator !== 'none',
  }),

  check({ insertionLayer = 0, generator, bottleneck }, { numLayers, hiddenSize }) {
    if (insertionLayer >= numLayers)
      return `method.insertionLayer (${insertionLayer}) is beyond the model's last layer (${numLayers - 1}): take 0 to ${numLayers - 1}`
    if (generator !== 'none' && bottleneck > hiddenSize)
      return `method.bottleneck (${bottleneck}) is beyond the model's width (${hiddenSize}): take 1 to ${hiddenSize}`
    return undefined
  },

  parameters(config, model) {
    const { numVirtualTokens, generator, bottleneck } = config
    if (generator === 'none') return [{ name: 'prompt', shape: [numVirtualTokens, model.hiddenSize] }]
    return [
      ...bottleneckParameters(sizes(config, model), config.generatorLearningRate),
      ...(generator === 'attention' ? [{ name: 'pool', shape: [bottleneck, numVirtualTokens] }] : []),
    ]
  },

  async initialise(config, context) {
    const { model, seed } = context
    const { numVirtualTokens, bottleneck, generator } = config
    const states = await context.keysAndValues(await startingRows(config.init, numVirtualTokens, context))
    const { hidden } = states[layerOf(config, model)]!
    if (generator === 'none') return new Map([['prompt', hidden]])
    return new Map<string, Float32Array>([
      ...startingBottleneck(sizes(config, model), hidden, seed),
      ...(generator === 'attention'
        ? ([['pool', normalNumbers(bottleneck * numVirtualTokens, bottleneck ** -0.5, seed, 2)]] as const)
        : []),
    ])
  },

  layerRows(config, parameters, rows) {
    const { generator, numVirtualTokens, normalize } = config
    if (rows.layer !== layerOf(config, rows.model)) return undefined
    if (generator === 'none') return parameters.prompt!
    const narrow = narrowed(parameters, normalize ? normalised(rows.hidden) : rows.hidden) // [N, b]
    const pooled = {
      'last-token': () => lastRow(rows, narrow),
      mean: () => adaptiveMean(rows, narrow, numVirtualTokens),
      max: () => adaptiveMaximum(rows, narrow, numVirtualTokens),
      attention: () => attentionPool(rows, narrow, parameters.pool!),
    }[generator]()
    return widened(parameters, tf.relu(pooled))
  },
})
