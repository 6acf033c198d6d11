import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { NORM_EPSILON, normalised } from '../generator.js'
import { uniformNumbers } from '../initialisation.js'
import type { InitialisationContext, Parameters, PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * ADePT (Tang et al. 2025, arXiv 2501.03291): a short soft prompt, and an offset of every token's embedding e by a small network,
 * `ReLU(e A + a) B + b`. The offset depends on the token alone, so it can be folded into an embedding table.
 *
 * With `gate` few tokens have one (the idea of RELIEF, Zhu et al. 2024, arXiv 2408.03195, on graphs; by a gradient and not by reinforcement
 * learning): a bounded offset, `m tanh(offset / m)`, times a gate between 0 and 1 that a linear score of the embedding opens or shuts, and
 * `lambda` times the share of open ones is minimised as well (hard concrete gates, Louizos et al. 2018, arXiv 1712.01312). Theirs are drawn
 * anew in every step; here they are what they are in evaluation, so that learning and using a prompt compute the same. A gate that has shut
 * is not opened again by the loss.
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
  gate: z
    .strictObject({
      lambda: z
        .number()
        .min(0)
        .default(0.05)
        .describe('weight of the share of training tokens whose gates are open, beside the loss'),
      maxOffset: z.number().min(0).default(0.1).describe('no number of an offset is larger; 0: no offsets'),
      learningRate: z.number().positive().default(0.02).describe("highest learning rate of the gates' scores"),
    })
    .optional()
    .describe('offsets of few tokens: an L0 penalty on gates, and offsets that are bounded'),
  // The authors' own.
  offsetLearningRate: z.number().positive().default(0.0001).describe("highest learning rate of the network's weights"),
})

export type AdeptConfig = z.output<typeof adeptSchema>

/** The largest r with m d + 2 d r + r + d <= l d. */
const rankOf = ({ rank, budgetTokens, numVirtualTokens }: AdeptConfig, hiddenSize: number) =>
  rank ?? Math.floor(((budgetTokens - numVirtualTokens - 1) * hiddenSize) / (2 * hiddenSize + 1))

/** Of hard concrete gates: the temperature, and the interval that a sigmoid is stretched to before it is cut to 0 to 1. */
const [TEMPERATURE, LOWEST, HIGHEST] = [2 / 3, -0.1, 1.1]
/** Scores begin where gates are all but open. */
const OPEN = 2
/** By so many tokens of training rows it is known how many gates are open. */
const PROBED = 256

/** Scores of embeddings, [N, d] -> [N, 1] */
const scoresOf = ({ gate, gateBias }: Parameters, embedded: tf.Tensor) =>
  tf.add(tf.matMul(normalised(embedded) as tf.Tensor2D, gate as tf.Tensor2D), gateBias!)

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
      ...(config.gate
        ? [
            { name: 'gate', shape: [hiddenSize, 1], learningRate: config.gate.learningRate },
            { name: 'gateBias', shape: [1], learningRate: config.gate.learningRate },
            { name: 'probe', shape: [PROBED, hiddenSize], frozen: true },
          ]
        : []),
    ]
  },

  async initialise(config, context) {
    const { hiddenSize } = context.model
    const rank = rankOf(config, hiddenSize)
    return new Map<string, Float32Array>([
      ...(config.gate
        ? ([
            ['gate', new Float32Array(hiddenSize)],
            ['gateBias', Float32Array.of(OPEN)],
            ['probe', await context.embeddingRows(probedTokens(context))],
          ] as const)
        : []),
      ['prompt', await startingRows(config.init, config.numVirtualTokens, context)],
      ['offsetDown', uniformNumbers(hiddenSize * rank, rank ** -0.5, context.seed, 1)],
      ['offsetDownBias', new Float32Array(rank)],
      ['offsetUp', new Float32Array(rank * hiddenSize)],
      ['offsetUpBias', new Float32Array(hiddenSize)],
    ])
  },

  inputRows: (_, { prompt }) => prompt!, // [m, d]
  offsetBy: 'token',

  offset({ gate }, parameters, { embedded }) {
    const { offsetDown, offsetDownBias, offsetUp, offsetUpBias } = parameters
    const inner = tf.relu(tf.add(tf.matMul(embedded as tf.Tensor2D, offsetDown as tf.Tensor2D), offsetDownBias!)) // [N, r]
    const offset = tf.add(tf.matMul(inner as tf.Tensor2D, offsetUp as tf.Tensor2D), offsetUpBias!) // [N, d]
    if (!gate) return offset
    const { maxOffset } = gate
    const bounded = maxOffset === 0 ? tf.mul(offset, 0) : tf.mul(tf.tanh(tf.div(offset, maxOffset)), maxOffset) // [N, d]
    const stretched = tf.add(tf.mul(tf.sigmoid(scoresOf(parameters, embedded)), HIGHEST - LOWEST), LOWEST)
    return tf.mul(bounded, tf.clipByValue(stretched, 0, 1)) // [N, d]
  },

  penalty({ gate }, parameters) {
    if (!gate) return undefined
    const shift = TEMPERATURE * Math.log(-LOWEST / HIGHEST)
    const open = tf.sigmoid(tf.sub(scoresOf(parameters, parameters.probe!), shift)) // [PROBED, 1]
    return tf.mul(tf.mean(open), gate.lambda) as tf.Scalar
  },

  figures({ gate }, parameters): Readonly<Record<string, number>> {
    if (!gate) return {}
    const [weights, bias, probe] = ['gate', 'gateBias', 'probe'].map(name => parameters.get(name)!) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ]
    const width = weights.length
    const isOpen = (row: Float32Array) => {
      const size = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / width + NORM_EPSILON)
      const score = row.reduce((sum, x, i) => sum + (x / size) * weights[i]!, bias[0]!)
      return (HIGHEST - LOWEST) / (1 + Math.exp(-score)) + LOWEST > 0
    }
    const rows = Array.from({ length: PROBED }, (_, i) => probe.subarray(i * width, (i + 1) * width))
    return { coverage: gate.maxOffset === 0 ? 0 : rows.filter(isOpen).length / PROBED }
  },
})

/** Tokens of training rows as often as they stand there, one row after another; again and again, where they are fewer. */
function probedTokens({ exampleRows }: InitialisationContext): number[] {
  const ids = exampleRows(PROBED).flatMap(({ ids }) => ids)
  const stride = Math.max(1, Math.floor(ids.length / PROBED))
  return Array.from({ length: PROBED }, (_, i) => ids[(i * stride) % Math.max(1, ids.length)] ?? 0)
}
