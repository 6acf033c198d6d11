import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/family.js'
import { declareCode } from '../../code-identity.js'
import { normalNumbers } from '../initialisation.js'
import { unstacked } from '../layers.js'
import type { PromptMethod } from '../method.js'

/**
 * LLaMA-Adapter (Zhang et al. 2023, arXiv 2303.16199), as PEFT defines it: in the last layers every row also attends to learned rows,
 * by a softmax of its own and times a gate that starts at zero. The model starts unchanged.
 */
export const adaptionPromptSchema = z.strictObject({
  type: z.literal('adaption-prompt').describe('learned rows that late layers attend to, behind a gate that starts closed'),
  adapterLength: z.int().min(1).max(100_000).default(10).describe('rows that are learned for each layer'),
  adapterLayers: z.int().min(1).optional().describe('how many layers have them, counted from the last; by default all but two'),
  initScale: z.number().positive().default(0.1).describe("standard deviation of the rows at the start; PEFT's is 1"),
  gateLearningRate: z.number().positive().default(0.02).describe('highest learning rate of the gates'),
})

export type AdaptionPromptConfig = z.output<typeof adaptionPromptSchema>

const layersOf = ({ adapterLayers }: AdaptionPromptConfig, { numLayers }: ModelConfig) =>
  adapterLayers ?? Math.max(1, numLayers - 2)

export const adaptionPrompt: PromptMethod<AdaptionPromptConfig> = declareCode(import.meta.url, {
  type: 'adaption-prompt',
  paper: 'Zhang et al. 2023, LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention (arXiv 2303.16199)',
  learningRate: 0.002,
  placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),

  check({ adapterLayers = 1 }, { numLayers }) {
    if (adapterLayers > numLayers)
      return `method.adapterLayers (${adapterLayers}) is more than the model's layers (${numLayers}): take 1 to ${numLayers}`
    return undefined
  },

  frozenLayers: (config, model) => model.numLayers - layersOf(config, model),

  parameters(config, model) {
    const layers = layersOf(config, model)
    return [
      { name: 'prompt', shape: [layers, config.adapterLength, model.hiddenSize] },
      { name: 'gate', shape: [layers], learningRate: config.gateLearningRate },
    ]
  },

  async initialise(config, { model, seed }) {
    const layers = layersOf(config, model)
    return new Map([
      ['prompt', normalNumbers(layers * config.adapterLength * model.hiddenSize, config.initScale, seed)],
      ['gate', new Float32Array(layers)],
    ])
  },

  /** gate softmax(q K' / sqrt(D)) V', with K' and V' of the learned rows, which have no position. */
  attention(config, { prompt, gate }, { layer, query, scale, project }, model) {
    const index = layer - model.numLayers + layersOf(config, model)
    if (index < 0) return undefined
    const { key, value } = project(unstacked(prompt!)[index]!) // [Hkv, n, D]
    const [keyHeads, , size] = key.shape as [number, number, number]
    const grouped = tf.reshape(query, [keyHeads, -1, size]) // the query heads of a key head one after the other
    const weights = tf.softmax(tf.mul(tf.matMul(grouped, key, false, true), scale))
    const added = tf.matMul(tf.mul(weights, unstacked(gate!)[index]!), value)
    return tf.reshape(added, query.shape)
  },
})
