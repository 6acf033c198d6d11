import { z } from 'zod'
import { declareCode } from '../../code-identity.js'
import type { PromptMethod } from '../method.js'
import { checkReparametrization, reparametrizationNames, reparametrizations } from '../reparametrization.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * Prompt tuning (Lester et al. 2021, arXiv 2104.08691), as PEFT defines it: `[numVirtualTokens, hidden]` rows before the text. What is
 * learned are the rows themselves, or numbers that they are made of (`reparametrization.ts`).
 */
export const promptTuningSchema = z.strictObject({
  type: z.literal('prompt-tuning').describe('learned rows before the input embeddings'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that are learned'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  position: z
    .enum(['before-bos', 'after-bos'])
    .default('before-bos')
    .describe("where the rows stand when the tokenizer adds a BOS; before-bos is PEFT's order"),
  reparametrization: z
    .enum(reparametrizationNames)
    .default('none')
    .describe('what the rows are made of while they are learned: themselves, or a network, a mix of vocabulary rows, a product'),
  bottleneck: z.int().min(1).max(100_000).optional().describe('residual-mlp: width of the network, 256 by default'),
  sharedMlp: z.boolean().optional().describe('residual-mlp: one network for all rows, as by default, or one for each'),
  residualStart: z
    .number()
    .optional()
    .describe("residual-mlp: what the layer norm's weight starts from: 0 begins at the rows themselves; the authors' code has 1"),
  mlpLearningRate: z
    .number()
    .positive()
    .optional()
    .describe("residual-mlp: highest learning rate of the network's weights, 0.001 by default"),
  basisTokens: z.int().min(1).max(100_000).optional().describe('superposition: vocabulary rows that are mixed, 128 by default'),
  rank: z.int().min(1).max(100_000).optional().describe('low-rank: rank of the product, 8 by default'),
})

export type PromptTuningConfig = z.output<typeof promptTuningSchema>

const reparametrizationOf = ({ reparametrization = 'none' }: Partial<PromptTuningConfig>) => reparametrizations[reparametrization]

export const promptTuning: PromptMethod<PromptTuningConfig> = declareCode(import.meta.url, {
  type: 'prompt-tuning',
  paper: 'Lester, Al-Rfou and Constant 2021, The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv 2104.08691)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens, position }) => ({ numVirtualTokens, position }),
  check: checkReparametrization,
  parameters: (config, model) => reparametrizationOf(config).parameters(config, model),
  inputRows: (config, parameters) => reparametrizationOf(config).rows(config, parameters), // [m, d]
  initialise: async (config, context) =>
    reparametrizationOf(config).start(config, await startingRows(config.init, config.numVirtualTokens, context), context),
})
