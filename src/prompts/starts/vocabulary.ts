import { z } from 'zod'
import { drawIds } from '../initialisation.js'
import { start } from './start.js'

export const vocabulary = start({
  schema: z.strictObject({
    type: z.literal('vocabulary').describe('start from rows of the embedding table drawn by seed; special tokens are left out'),
    mostCommon: z
      .int()
      .min(1)
      .optional()
      .describe('draw from this many lowest ids, the commonest tokens of a BPE; Lester et al.: 5000'),
  }),
  rows({ mostCommon }, count, context) {
    const { vocabSize } = context.model
    return context.embeddingRows(drawIds(count, Math.min(mostCommon ?? vocabSize, vocabSize), context))
  },
})
