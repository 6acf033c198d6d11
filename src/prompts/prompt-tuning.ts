import { z } from 'zod'

const init = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('text').describe('start from the embeddings of a text, repeated or cut to the number of virtual tokens'),
    text: z.string().min(1).describe('the text to start from, for example an instruction'),
  }),
  z.strictObject({
    type: z.literal('vocabulary').describe('start from rows of the embedding table drawn by seed; special tokens are left out'),
    mostCommon: z
      .int()
      .min(1)
      .optional()
      .describe('draw from this many lowest ids, the commonest tokens of a BPE; Lester et al.: 5000'),
  }),
  z.strictObject({
    type: z.literal('labels').describe('start from the embeddings of the label words, then from drawn vocabulary rows'),
  }),
  z.strictObject({
    type: z.literal('random').describe('start from normal noise'),
    scale: z.number().positive().optional().describe("standard deviation; by default the embedding table's own"),
  }),
])

/** Prompt tuning (Lester et al. 2021, arXiv 2104.08691), as PEFT defines it: `[numVirtualTokens, hidden]` rows before the text. */
export const promptTuningSchema = z.strictObject({
  type: z.literal('prompt-tuning').describe('learned rows before the input embeddings'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that are learned'),
  init: init.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  position: z
    .enum(['before-bos', 'after-bos'])
    .default('before-bos')
    .describe("where the rows stand when the tokenizer adds a BOS; before-bos is PEFT's order"),
})
