import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { GradpromptError } from '../../errors.js'
import { normalised } from '../generator.js'
import type { PromptMethod } from '../method.js'
import { startingRows } from '../starts/index.js'

/**
 * Soft thoughts (SoftCoT, Xu et al. 2025, arXiv 2502.12134): behind the question stand N placeholder tokens, which the frozen model reads
 * once; its last hidden states there, h, go through one learned linear map and stand in their places when it reads the text again and
 * answers, `R(h) W + e`, with a root mean square R of one and the placeholder's own embedding e.
 *
 * The paper's assistant is a smaller model of its own; here the model is its own assistant, so that there is one model to load and W can
 * start as the identity, times what makes R(h) as long as an embedding. Without W the model reads the placeholders. The paper's rows
 * stand at the end of the user's message; here in front of the instruction's last tokens, from which the answer goes on.
 */
export const softCotSchema = z.strictObject({
  type: z
    .literal('softcot')
    .describe('soft thoughts behind the question: what the model makes of placeholders there, through one learned map'),
  numVirtualTokens: z
    .int()
    .min(0)
    .max(1000)
    .default(4)
    .describe('thoughts where the prompt is used; 0: none, and the model is as it was'),
  trainTokens: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe("thoughts while it learns; by default as many as are used. The paper's: 32, and 4 in use"),
  placeholder: z
    .string()
    .min(1)
    .default('...')
    .describe('text of the placeholders: best one token that no text has; of several, they follow each other again and again'),
  beforeLast: z
    .int()
    .min(1)
    .max(1000)
    .default(1)
    .describe(
      'how many last tokens of the instruction stand behind the thoughts: at least the one from which the answer goes on',
    ),
})

export type SoftCotConfig = z.output<typeof softCotSchema>

/** By so many rows of the vocabulary it is known how long embeddings are. */
const LOOKED_AT = 256

const learned = ({ numVirtualTokens, trainTokens = numVirtualTokens }: SoftCotConfig) => trainTokens

export const softCot: PromptMethod<SoftCotConfig> = declareCode(import.meta.url, {
  type: 'softcot',
  paper: 'Xu et al. 2025, SoftCoT: Soft Chain-of-Thought for Efficient Reasoning with LLMs (arXiv 2502.12134)',
  learningRate: 0.0002,
  placement: ({ numVirtualTokens, beforeLast }) =>
    numVirtualTokens === 0
      ? { numVirtualTokens, position: 'before-bos' }
      : { numVirtualTokens, position: 'before-bos', perSequence: true, beforeLast },
  whileLearning: config => ({ ...config, numVirtualTokens: learned(config) }),

  check: config =>
    learned(config) === 0
      ? 'method.numVirtualTokens (0) leaves no thought from which the map could be learned: take at least 1, or name method.trainTokens'
      : undefined,

  parameters: (config, { hiddenSize }) => [
    { name: 'map', shape: [hiddenSize, hiddenSize] },
    { name: 'placeholders', shape: [Math.max(config.numVirtualTokens, learned(config)), hiddenSize], frozen: true },
  ],

  async initialise(config, context) {
    const { tokenizer, embeddingRows, model } = context
    const { hiddenSize } = model
    const ids = tokenizer.encode(config.placeholder, { addSpecialTokens: false })
    if (ids.length === 0)
      throw new GradpromptError('invalid-config', 'method.placeholder has no token', {
        found: JSON.stringify(config.placeholder),
        expected: "text of the model's vocabulary",
      })
    const count = Math.max(config.numVirtualTokens, learned(config))
    const some = await startingRows({ type: 'vocabulary' }, LOOKED_AT, context)
    const length = Math.sqrt(some.reduce((sum, x) => sum + x * x, 0) / LOOKED_AT)
    const map = new Float32Array(hiddenSize * hiddenSize)
    for (let i = 0; i < hiddenSize; i++) map[i * (hiddenSize + 1)] = length / Math.sqrt(hiddenSize)
    return new Map([
      ['map', map],
      ['placeholders', await embeddingRows(Array.from({ length: count }, (_, i) => ids[i % ids.length]!))],
    ])
  },

  sequenceRows({ numVirtualTokens: count }, { map, placeholders }, rows) {
    const [batch] = rows.instructionMask.shape as [number, number]
    const own = tf.slice(placeholders as tf.Tensor2D, [0, 0], [count, -1]) // [m, d]
    const read = tf.tile(own, [batch, 1]) // [B m, d]
    const thoughts = normalised(rows.states(read)) // [B m, d]
    return tf.add(tf.matMul(thoughts as tf.Tensor2D, map as tf.Tensor2D), read) // [B m, d]
  },
})
