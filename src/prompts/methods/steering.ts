import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { declareCode } from '../../code-identity.js'
import type { AnsweredText, AnswerPair } from '../../data/answer-pairs.js'
import { layersProblem, layersSchema, listed, unstacked } from '../layers.js'
import type { InitialisationContext, PromptMethod } from '../method.js'

/**
 * Steering vectors: one vector for each of one or several layers is added to what the layer gives out at every token of a text and of its
 * answer, `h + s v`, where the strength s is chosen when the prompt is used. Learned by gradient (Subramani et al. 2022, arXiv 2205.05124)
 * it starts at zero; started from pairs it is the mean difference between what the layer makes of chosen answers and of rejected ones
 * (contrastive activation addition, Rimsky et al. 2024, arXiv 2312.06681, eq. 1), which needs no step.
 */
export const steeringSchema = z.strictObject({
  type: z
    .literal('steering')
    .describe('a vector that is added to what a layer gives out, with a strength that is chosen at inference'),
  layers: layersSchema
    .optional()
    .describe('the layer, from 0, that it is added to, or a list, each with a vector of its own; by default the middle one'),
  init: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('zero').describe('start from nothing: the model is as it was') }),
      z.strictObject({
        type: z
          .literal('pairs')
          .describe(
            'start from the mean difference of chosen and rejected answers in that layer; with train.steps: 0 that is all',
          ),
        count: z.int().min(1).max(1_000_000).default(200).describe('pairs, drawn by seed, or as many as there are'),
        tokens: z
          .enum(['last', 'answer'])
          .default('last')
          .describe('what of an answer counts: its last token, as in CAA, or the mean of all of its tokens'),
      }),
    ])
    .prefault({ type: 'zero' })
    .describe('what the vectors start from'),
})

export type SteeringConfig = z.output<typeof steeringSchema>

const layersOf = ({ layers }: SteeringConfig, { numLayers }: ModelConfig) => listed(layers ?? Math.floor(numLayers / 2))

export const steering: PromptMethod<SteeringConfig> = declareCode(import.meta.url, {
  type: 'steering',
  paper: 'Rimsky et al. 2024, Steering Llama 2 via Contrastive Activation Addition (arXiv 2312.06681)',
  // On dev 0.02 was still learning after 48 steps (scripts/study).
  learningRate: 0.2,
  placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),

  check(config, model) {
    const layers = layersOf(config, model)
    const last = model.numLayers - 1
    const problem = layersProblem('method.layers', layers, last)
    if (problem !== undefined || config.init.type !== 'pairs' || !layers.includes(last)) return problem
    return `method.init.type: pairs reads what the layer behind takes, and there is none behind layer ${last}: take 0 to ${last - 1}`
  },

  frozenLayers: (config, model) => Math.min(...layersOf(config, model)),
  parameters: (config, model) => [{ name: 'vector', shape: [layersOf(config, model).length, model.hiddenSize] }],

  async initialise(config, context) {
    const layers = layersOf(config, context.model)
    const vectors = new Float32Array(layers.length * context.model.hiddenSize)
    if (config.init.type === 'pairs') {
      const pairs = context.answerPairs(config.init.count)
      for (const [i, layer] of layers.entries())
        vectors.set(await meanDifference(pairs, layer, config.init.tokens, context), i * context.model.hiddenSize)
    }
    return new Map([['vector', vectors]])
  },

  layerOutput(config, { vector }, { layer, model, hidden }) {
    const index = layersOf(config, model).indexOf(layer)
    return index < 0 ? undefined : tf.add(hidden, unstacked(vector!)[index]!) // [N, d]
  },

  atStrength: (_, parameters, strength) => {
    const vectors = parameters.get('vector')!
    return new Map([...parameters, ['vector', vectors.map(x => x * strength)]])
  },
})

/** What chosen answers have more of than rejected ones in a layer, on the mean: [d] */
async function meanDifference(
  pairs: readonly AnswerPair[],
  layer: number,
  tokens: 'last' | 'answer',
  context: InitialisationContext,
): Promise<Float64Array> {
  const { hiddenSize } = context.model
  const sum = new Float64Array(hiddenSize)
  for (const [side, sign] of [
    ['chosen', 1],
    ['rejected', -1],
  ] as const) {
    const texts = pairs.map(pair => pair[side])
    const states = await context.layerOutputs(texts, layer)
    for (const [i, text] of texts.entries()) {
      const counted = countedTokens(text, tokens)
      const share = sign / (pairs.length * counted.length)
      for (const token of counted) for (let k = 0; k < hiddenSize; k++) sum[k]! += share * states[i]![token * hiddenSize + k]!
    }
  }
  return sum
}

function countedTokens({ ids, answerStart }: AnsweredText, tokens: 'last' | 'answer'): number[] {
  const from = tokens === 'last' ? ids.length - 1 : answerStart
  return Array.from({ length: ids.length - from }, (_, i) => from + i)
}
