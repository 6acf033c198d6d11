import { z } from 'zod'
import { embeddingDeviation, normalNumbers } from '../initialisation.js'
import { start } from './start.js'

export const random = start({
  schema: z.strictObject({
    type: z.literal('random').describe('start from normal noise'),
    scale: z.number().positive().optional().describe("standard deviation; by default the embedding table's own"),
  }),
  rows: async ({ scale }, count, context) =>
    normalNumbers(count * context.model.hiddenSize, scale ?? (await embeddingDeviation(context)), context.seed),
})
