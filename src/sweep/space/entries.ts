import { z } from 'zod'

/** How a config says which values an option may have, and what a sweep is for. */

const name = z.string().min(1)

const when = z
  .record(name, z.union([z.string(), z.number(), z.boolean(), z.array(z.union([z.string(), z.number(), z.boolean()])).min(1)]))
  .optional()
  .describe('the option is given only where others have these values: { train.optimizer: adafactor }, or a list of values')

const list = z.strictObject({
  values: z.array(z.unknown()).min(1).describe('the values; numbers in rising order are taken for steps of a scale'),
  weights: z.array(z.number().positive()).min(1).optional().describe('how often each is drawn, beside the others'),
  when,
})

const range = z.strictObject({
  min: z.number().describe('the least value'),
  max: z.number().describe('the greatest value'),
  log: z.boolean().default(false).describe('even steps are factors: for learning rates'),
  step: z.number().positive().optional().describe('values are min, min + step, …'),
  points: z.int().min(2).optional().describe('of a grid: how many values, evenly apart'),
  when,
})

const normal = z.strictObject({
  mean: z.number().describe('of a normal distribution; with log, the value whose logarithm is in the middle'),
  deviation: z.number().positive().describe('its standard deviation; with log, a factor above 1'),
  log: z.boolean().default(false).describe('the logarithm is normal'),
  min: z.number().optional().describe('draws below it are drawn again'),
  max: z.number().optional().describe('draws above it are drawn again'),
  when,
})

/** An option that varies: a list, a range, a distribution. */
export const overEntry = z.union([z.array(z.unknown()).min(1), list, range, normal])
export type OverEntry = z.output<typeof overEntry>

const objective = z.union([
  name,
  z.strictObject({
    metric: name.describe(
      'a dev metric (accuracy, macroF1, logLikelihood, …), or parameters, virtualTokens, seconds, steps, generatedTokens',
    ),
    direction: z.enum(['maximize', 'minimize']).optional().describe('by default as the metric is better'),
  }),
])

export const objectives = z.union([objective, z.array(objective).min(1).max(2)])
export type ObjectivesGiven = z.output<typeof objectives>
