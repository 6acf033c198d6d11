import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { uniformNumbers } from '../initialisation.js'
import type { PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * ADePT (Tang et al. 2025, arXiv 2501.03291): a short soft prompt, and an offset of every token's embedding e by a small network,
 * `ReLU(e A + a) B + b`. The offset depends on the token alone, so it can be folded into an embedding table.
 */
export const adeptSchema = z.strictObject({
  type: z.literal('adept').describe('a short prompt, and an offset of each token by a small network'),
  numVirtualTokens: z.int().min(1).max(100_000).default(12).describe('rows of the soft prompt'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  rank: z.int().min(1).optional().describe('width of the network; by default what budgetTokens leaves'),
  budgetTokens: z
    .int()
    .min(2)
    .default(20)
    .describe('the learned numbers are as many as those of a plain prompt of this many rows'),
  // The authors' own.
  offsetLearningRate: z.number().positive().default(0.0001).describe("highest learning rate of the network's weights"),
})

export type AdeptConfig = z.output<typeof adeptSchema>

/** The largest r with m d + 2 d r + r + d <= l d. */
const rankOf = ({ rank, budgetTokens, numVirtualTokens }: AdeptConfig, hiddenSize: number) =>
  rank ?? Math.floor(((budgetTokens - numVirtualTokens - 1) * hiddenSize) / (2 * hiddenSize + 1))

export const adept: PromptMethod<AdeptConfig> = declareCode(import.meta.url, {
  type: 'adept',
  paper: 'Tang et al. 2025, ADePT: Adaptive Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning (arXiv 2501.03291)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos' }),

  check(config, { hiddenSize }) {
    const rank = rankOf(config, hiddenSize)
    if (rank < 1)
      return (
        `method.budgetTokens (${config.budgetTokens}) leaves no rank beside method.numVirtualTokens (${config.numVirtualTokens}): ` +
        `take at least ${config.numVirtualTokens + 1 + Math.ceil((2 * hiddenSize + 1) / hiddenSize)}`
      )
    if (rank > hiddenSize) return `method.rank (${rank}) is beyond the model's width (${hiddenSize}): take 1 to ${hiddenSize}`
    return undefined
  },

  parameters(config, { hiddenSize }) {
    const rank = rankOf(config, hiddenSize)
    const learningRate = config.offsetLearningRate
    return [
      { name: 'prompt', shape: [config.numVirtualTokens, hiddenSize] },
      { name: 'offsetDown', shape: [hiddenSize, rank], learningRate },
      { name: 'offsetDownBias', shape: [rank], learningRate },
      { name: 'offsetUp', shape: [rank, hiddenSize], learningRate },
      { name: 'offsetUpBias', shape: [hiddenSize], learningRate },
    ]
  },

  async initialise(config, context) {
    const { hiddenSize } = context.model
    const rank = rankOf(config, hiddenSize)
    return new Map([
      ['prompt', await startingRows(config.init, config.numVirtualTokens, context)],
      ['offsetDown', uniformNumbers(hiddenSize * rank, rank ** -0.5, context.seed, 1)],
      ['offsetDownBias', new Float32Array(rank)],
      ['offsetUp', new Float32Array(rank * hiddenSize)],
      ['offsetUpBias', new Float32Array(hiddenSize)],
    ])
  },

  inputRows: (_, { prompt }) => prompt!, // [m, d]
  offsetBy: 'token',

  offset(_, { offsetDown, offsetDownBias, offsetUp, offsetUpBias }, { embedded }) {
    const inner = tf.relu(tf.add(tf.matMul(embedded as tf.Tensor2D, offsetDown as tf.Tensor2D), offsetDownBias!)) // [N, r]
    return tf.add(tf.matMul(inner as tf.Tensor2D, offsetUp as tf.Tensor2D), offsetUpBias!) // [N, d]
  },
})
