import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { declareCode } from '../../code-identity.js'
import { normalNumbers } from '../initialisation.js'
import { layersProblem, layersSchema, listed, unstacked } from '../layers.js'
import type { PromptMethod } from '../method.js'
import { orthonormalise } from '../orthonormal.js'

/**
 * LoReFT (Wu et al. 2024, arXiv 2404.03592, eq. 2): what a layer gives out at the first and the last tokens of an instruction is changed
 * within a subspace of few dimensions, `h + R' (W h + b - R h)`, where the rows of R are orthonormal. Nothing is changed at the tokens of
 * an answer. DiReFT (its eq. 3) leaves out what stands there, `h + R' (W h + b)`, and lets R be any matrix.
 */
export const loreftSchema = z.strictObject({
  type: z.literal('loreft').describe('what layers give out at the ends of an instruction, changed within a few dimensions'),
  rank: z.int().min(1).max(10_000).default(8).describe('dimensions that are changed'),
  layers: layersSchema.optional().describe('layers that are changed, from 0: one, or a list; by default all'),
  firstTokens: z
    .int()
    .min(0)
    .max(100_000)
    .default(7)
    .describe('tokens at the beginning of an instruction that are changed, BOS among them; of a short one half of it at most'),
  lastTokens: z
    .int()
    .min(0)
    .max(100_000)
    .default(7)
    .describe('tokens at the end of an instruction that are changed; of a short one half of it at most'),
  variant: z
    .enum(['loreft', 'direft'])
    .default('loreft')
    .describe(
      "direft: without the difference from what stands there, and R is no rotation: fewer products, and the authors' ablation",
    ),
})

export type LoreftConfig = z.output<typeof loreftSchema>

const layersOf = ({ layers }: LoreftConfig, { numLayers }: ModelConfig) =>
  layers === undefined ? Array.from({ length: numLayers }, (_, layer) => layer) : listed(layers)

export const loreft: PromptMethod<LoreftConfig> = declareCode(import.meta.url, {
  type: 'loreft',
  paper: 'Wu et al. 2024, ReFT: Representation Finetuning for Language Models (arXiv 2404.03592)',
  learningRate: 0.0009,
  placement: ({ firstTokens, lastTokens }) => ({
    numVirtualTokens: 0,
    position: 'before-bos',
    edges: { first: firstTokens, last: lastTokens },
  }),

  check(config, model) {
    const { rank, firstTokens, lastTokens } = config
    if (rank > model.hiddenSize)
      return `method.rank (${rank}) is beyond the model's width (${model.hiddenSize}): take 1 to ${model.hiddenSize}`
    if (firstTokens + lastTokens === 0) return 'method.firstTokens and method.lastTokens are both 0: no token would be changed'
    return layersProblem('method.layers', layersOf(config, model), model.numLayers - 1)
  },

  frozenLayers: (config, model) => Math.min(...layersOf(config, model)),

  parameters(config, model) {
    const [layers, { rank }] = [layersOf(config, model).length, config]
    return [
      { name: 'rotation', shape: [layers, rank, model.hiddenSize] },
      { name: 'source', shape: [layers, rank, model.hiddenSize] },
      { name: 'bias', shape: [layers, rank] },
    ]
  },

  /** The model starts unchanged: W = R, or of DiReFT W = 0. */
  async initialise(config, { model, seed }) {
    const layers = layersOf(config, model).length
    const rotation = normalNumbers(layers * config.rank * model.hiddenSize, 1, seed)
    eachLayer(rotation, layers, config.rank)
    return new Map([
      ['rotation', rotation],
      ['source', config.variant === 'loreft' ? rotation.slice() : new Float32Array(rotation.length)],
      ['bias', new Float32Array(layers * config.rank)],
    ])
  },

  /** The rows of every R stay orthonormal: the nearest ones to where a step has moved them. */
  constrain(config, parameters, model) {
    if (config.variant === 'loreft') eachLayer(parameters.get('rotation')!, layersOf(config, model).length, config.rank)
  },

  layerOutput(config, { rotation, source, bias }, { layer, model, hidden, edgeMask }) {
    const index = layersOf(config, model).indexOf(layer)
    if (index < 0) return undefined
    const [r, w] = [unstacked(rotation!)[index] as tf.Tensor2D, unstacked(source!)[index] as tf.Tensor2D] // [r, d]
    const made = tf.add(tf.matMul(hidden as tf.Tensor2D, w, false, true), unstacked(bias!)[index]!) // [N, r]
    const wanted = config.variant === 'loreft' ? tf.sub(made, tf.matMul(hidden as tf.Tensor2D, r, false, true)) : made
    const masked = tf.mul(wanted, tf.expandDims(edgeMask, 1)) // [N, r]
    return tf.add(hidden, tf.matMul(masked as tf.Tensor2D, r)) // [N, d]
  },
})

function eachLayer(rotation: Float32Array, layers: number, rank: number): void {
  const size = rotation.length / layers
  for (let i = 0; i < layers; i++) orthonormalise(rotation.subarray(i * size, (i + 1) * size), rank)
}
