import { z } from 'zod'
import { start } from './start.js'

const schema = z
  .strictObject({
    type: z.literal('runs').describe('start from the prompts that earlier runs learned'),
    from: z.array(z.string().min(1)).min(1).max(1000).describe('run folders, or files that runs wrote'),
    mix: z
      .enum(['one', 'average', 'similarity', 'panda'])
      .default('average')
      .describe(
        'how several prompts become one: one takes the only one; average weighs all alike; similarity weighs by the cosine of a ' +
          "prompt's mean row with that of the task's own examples; panda by the neurons that both activate in the model",
      ),
  })
  .refine(({ from, mix }) => mix !== 'one' || from.length === 1, 'mix: one takes one run in from; use average for several')

export const runs = start({
  schema,
  rows: async (options, count, context) => (await import('../transfer.js')).transferredRows(options, count, context),
})
