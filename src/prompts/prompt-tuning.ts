import { z } from 'zod'
import { initSchema, startingRows } from './initialisation.js'
import type { PromptMethod } from './method.js'

/** Prompt tuning (Lester et al. 2021, arXiv 2104.08691), as PEFT defines it: `[numVirtualTokens, hidden]` rows before the text. */
export const promptTuningSchema = z.strictObject({
  type: z.literal('prompt-tuning').describe('learned rows before the input embeddings'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that are learned'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  position: z
    .enum(['before-bos', 'after-bos'])
    .default('before-bos')
    .describe("where the rows stand when the tokenizer adds a BOS; before-bos is PEFT's order"),
})

export type PromptTuningConfig = z.output<typeof promptTuningSchema>

export const promptTuning: PromptMethod<PromptTuningConfig> = {
  type: 'prompt-tuning',
  paper: 'Lester, Al-Rfou and Constant 2021, The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv 2104.08691)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens, position }) => ({ numVirtualTokens, position }),
  parameters: ({ numVirtualTokens }, { hiddenSize }) => [{ name: 'prompt', shape: [numVirtualTokens, hiddenSize] }],
  inputRows: (_, { prompt }) => prompt!, // [m, d]
  initialise: async ({ init, numVirtualTokens }, context) =>
    new Map([['prompt', await startingRows(init, numVirtualTokens, context)]]),
}
