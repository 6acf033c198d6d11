import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { uniformNumbers } from '../initialisation.js'
import type { PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * DePT (Shi and Lipani 2024, arXiv 2309.05173): a short soft prompt, and a low-rank offset by text position for what the shorter
 * prompt saves. The definition is clean where the released code is not: a token's index is its rank in its own text, padding never
 * counts, and training and generation are the same function.
 */
export const deptSchema = z.strictObject({
  type: z.literal('dept').describe('a short prompt, and a low-rank offset by position in the text'),
  numVirtualTokens: z.int().min(1).max(100_000).default(12).describe('rows of the soft prompt'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  maxTextLength: z.int().min(1).default(256).describe('text positions that have an offset; what stands behind them has none'),
  longTexts: z
    .enum(['refuse', 'clip'])
    .default('refuse')
    .describe(
      'training rows of more tokens: refuse them, or learn from them with no offset behind maxTextLength, as scoring does',
    ),
  rank: z.int().min(1).optional().describe('rank of the offset; by default what budgetTokens leaves'),
  budgetTokens: z
    .int()
    .min(2)
    .default(20)
    .describe('the learned numbers are as many as those of a plain prompt of this many rows'),
  offset: z
    .enum(['text', 'all'])
    .default('all')
    .describe('whether generated tokens have an offset (all) or the instruction alone'),
  // The released code has 1e-4 to 5e-3 beside embeddings of T5, which are far larger than a decoder's.
  offsetLearningRate: z.number().positive().default(0.0001).describe("highest learning rate of the offset's factors"),
  scale: z.number().positive().default(1).describe('multiplies the offset; the released code has 8 / sqrt(rank)'),
})

export type DeptConfig = z.output<typeof deptSchema>

/** `r = floor((l - m) d / (s + d))`: with it m d + (s + d) r <= l d. */
const rankOf = ({ rank, budgetTokens, numVirtualTokens, maxTextLength }: DeptConfig, hiddenSize: number) =>
  rank ?? Math.floor(((budgetTokens - numVirtualTokens) * hiddenSize) / (maxTextLength + hiddenSize))

export const dept: PromptMethod<DeptConfig> = declareCode(import.meta.url, {
  type: 'dept',
  paper: 'Shi and Lipani 2024, DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning (arXiv 2309.05173)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens, offset }) => ({ numVirtualTokens, position: 'before-bos', answersApart: offset === 'text' }),

  check(config, { hiddenSize }) {
    const rank = rankOf(config, hiddenSize)
    if (rank < 1)
      return (
        `method.budgetTokens (${config.budgetTokens}) leaves no rank beside method.numVirtualTokens (${config.numVirtualTokens}): ` +
        `take at least ${config.numVirtualTokens + Math.ceil((config.maxTextLength + hiddenSize) / hiddenSize)}`
      )
    const most = Math.min(hiddenSize, config.maxTextLength)
    if (rank > most)
      return `method.rank (${rank}) is beyond method.maxTextLength (${config.maxTextLength}) or the model's width (${hiddenSize}): take 1 to ${most}`
    return undefined
  },

  textLimit: ({ longTexts, maxTextLength, offset }) =>
    longTexts === 'clip'
      ? undefined
      : {
          option: 'method.maxTextLength',
          tokens: maxTextLength,
          answers: offset === 'all',
          hint: 'raise it, or set method.longTexts: clip, with which what stands behind has no offset',
        },

  parameters(config, { hiddenSize }) {
    const rank = rankOf(config, hiddenSize)
    const learningRate = config.offsetLearningRate
    return [
      { name: 'prompt', shape: [config.numVirtualTokens, hiddenSize] },
      { name: 'offsetA', shape: [config.maxTextLength, rank], learningRate },
      { name: 'offsetB', shape: [rank, hiddenSize], learningRate },
    ]
  },

  async initialise(config, context) {
    const { model, seed } = context
    const rank = rankOf(config, model.hiddenSize)
    return new Map([
      ['prompt', await startingRows(config.init, config.numVirtualTokens, context)],
      ['offsetA', uniformNumbers(config.maxTextLength * rank, rank ** -0.5, seed, 1)],
      ['offsetB', new Float32Array(rank * model.hiddenSize)],
    ])
  },

  inputRows: (_, { prompt }) => prompt!, // [m, d]
  offsetBy: 'position',

  /** Row i of the offset is c A_i B, for i < s. */
  offset(config, { offsetA, offsetB }, { textIndex, answerMask }) {
    const length = tf.scalar(config.maxTextLength, 'int32')
    const nothing = tf.zerosLike(tf.slice(offsetA!, [0, 0], [1, -1])) // [1, r]
    const table = tf.concat([offsetA as tf.Tensor2D, nothing as tf.Tensor2D], 0) // [s + 1, r]
    let index = tf.minimum(textIndex, length) // [N]
    if (config.offset === 'text') index = tf.where(tf.greater(answerMask, 0), tf.zerosLike(index).add(length), index)
    const rows = tf.gather(table, index as tf.Tensor1D) // [N, r]
    return tf.mul(tf.matMul(rows as tf.Tensor2D, offsetB as tf.Tensor2D), config.scale) // [N, d]
  },
})
