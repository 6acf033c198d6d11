import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/family.js'
import { declareCode } from '../../code-identity.js'
import type { ExampleRow } from '../../data/examples.js'
import { GradpromptError } from '../../errors.js'
import type { PromptMethod } from '../method.js'

/**
 * Context-aware prompt tuning (Blau et al. 2024, arXiv 2410.17222), as PEFT defines it: the prompt is a few training examples, each of
 * its rows may move a little (delta) but not far, those of labels not at all; and the examples' own labels are learned beside the rows'.
 *
 * Token types are PEFT's: of example e (from 0) the template before the input is 4 e + 1, the input 4 e + 2, the template behind it 4 e +
 * 3, the label 4 e + 4. After every step a row of delta is shortened to at most epsilon sqrt(d / 2048). The labels of the last example
 * weigh `decay`, those of the one before `decay` squared, and so on; the loss is the weighted sum over the number of labels.
 */
export const cptSchema = z.strictObject({
  type: z.literal('cpt').describe('training examples before the text, whose embeddings are learned within narrow bounds'),
  examples: z.int().min(1).max(10_000).default(4).describe('training rows to show, drawn by seed, the classes in turn'),
  separator: z.string().default('\n\n').describe('text behind each example'),
  // PEFT's 0.1 is for rows of a wide model; here it would be a sixtieth of a row's length. 1 was tried on dev (scripts/study).
  inputEpsilon: z
    .number()
    .min(0)
    .default(1)
    .describe('how far the row of an input token may move, times the square root of width / 2048'),
  formatEpsilon: z.number().min(0).default(1).describe('the same for tokens of the template'),
  decay: z
    .number()
    .positive()
    .max(1)
    .default(0.95)
    .describe("weight of an example's label beside that of the one behind it; 1 weighs all alike"),
  tokenIds: z
    .array(z.int().min(0))
    .min(1)
    .max(100_000)
    .optional()
    .describe('the tokens of the prompt; by default those of the drawn examples'),
  tokenTypes: z
    .array(z.int().min(0).max(1_000_000))
    .min(1)
    .max(100_000)
    .optional()
    .describe('what each of method.tokenIds is, as PEFT counts (cpt_tokens_type_mask)'),
})

export type CptConfig = z.output<typeof cptSchema>

/** Positions in a token's type modulo 4; 0 is a label. */
const BEFORE_INPUT = 1
const INPUT = 2
const BEHIND_INPUT = 3
const LABEL = 4

const isLabel = (type: number) => type > 0 && type % 4 === 0

/** How far each row of delta may move; rows that are no part of an example or a label of one stay where they are. */
const limitsOf = ({ tokenTypes = [], inputEpsilon, formatEpsilon }: CptConfig, { hiddenSize }: Pick<ModelConfig, 'hiddenSize'>) =>
  tokenTypes.map(type => [0, formatEpsilon, inputEpsilon, formatEpsilon][type % 4]! * Math.sqrt(hiddenSize / 2048))

export const cpt: PromptMethod<CptConfig> = declareCode(import.meta.url, {
  type: 'cpt',
  paper:
    'Blau et al. 2024, Context-aware Prompt Tuning: Advancing In-Context Learning with Adversarial Methods (arXiv 2410.17222)',
  learningRate: 0.005,
  placement: ({ tokenIds = [] }) => ({ numVirtualTokens: tokenIds.length, position: 'before-bos' }),

  check({ tokenIds, tokenTypes }, { vocabSize }) {
    if (tokenIds?.length !== tokenTypes?.length)
      return (
        `method.tokenIds (${tokenIds?.length ?? 'left out'}) and method.tokenTypes (${tokenTypes?.length ?? 'left out'}) ` +
        'belong together, one type for each token'
      )
    const beyond = tokenIds?.find(id => id >= vocabSize)
    return beyond === undefined
      ? undefined
      : `method.tokenIds holds ${beyond}, beyond the model's vocabulary (0 to ${vocabSize - 1})`
  },

  examples: ({ examples, tokenIds }) => (tokenIds === undefined ? examples : undefined),

  resolve(config, { exampleRows, tokenizer }) {
    if (config.tokenIds !== undefined) return config
    const rows = exampleRows(config.examples)
    if (rows.length < config.examples) {
      throw new GradpromptError(
        'invalid-config',
        `method.examples (${config.examples}) is beyond the training rows (${rows.length})`,
        {
          hint: `take method.examples from 1 to ${rows.length}`,
        },
      )
    }
    const separator = config.separator === '' ? [] : tokenizer.encode(config.separator, { addSpecialTokens: false })
    return {
      ...config,
      tokenIds: rows.flatMap(({ ids }) => [...ids, ...separator]),
      tokenTypes: rows.flatMap(({ kinds }, example) =>
        [...typesOf(kinds), ...separator.map(() => BEHIND_INPUT)].map(type => 4 * example + type),
      ),
    }
  },

  parameters({ tokenIds = [] }, { hiddenSize }) {
    return [
      { name: 'delta', shape: [tokenIds.length, hiddenSize] },
      { name: 'base', shape: [tokenIds.length, hiddenSize], frozen: true },
    ]
  },

  async initialise({ tokenIds = [] }, { embeddingRows, model }) {
    return new Map([
      ['delta', new Float32Array(tokenIds.length * model.hiddenSize)],
      ['base', await embeddingRows(tokenIds)],
    ])
  },

  inputRows({ tokenTypes = [] }, { delta, base }) {
    const moves = tf.tensor2d(tokenTypes.map(type => [type % 4 === 0 ? 0 : 1])) // [m, 1]
    return tf.add(base!, tf.mul(delta!, moves)) // [m, d]
  },

  constrain(config, parameters, model) {
    const delta = parameters.get('delta')!
    for (const [i, limit] of limitsOf(config, model).entries()) {
      const row = delta.subarray(i * model.hiddenSize, (i + 1) * model.hiddenSize)
      const norm = Math.hypot(...row)
      if (norm > limit) for (let j = 0; j < row.length; j++) row[j]! *= limit / norm
    }
  },

  ownTargets({ tokenIds = [], tokenTypes = [], decay }) {
    const groups = [...new Set(tokenTypes.filter(isLabel))].sort((a, b) => b - a)
    return tokenTypes.flatMap((type, i) =>
      // Nothing predicts the first token.
      isLabel(type) && i > 0 ? [{ row: i - 1, id: tokenIds[i]!, weight: decay ** (groups.indexOf(type) + 1) }] : [],
    )
  },
})

function typesOf(kinds: ExampleRow['kinds']): number[] {
  const lastInput = kinds.lastIndexOf('input')
  return kinds.map((kind, i) => {
    if (kind === 'label') return LABEL
    if (kind === 'input') return INPUT
    return lastInput >= 0 && i > lastInput ? BEHIND_INPUT : BEFORE_INPUT
  })
}
