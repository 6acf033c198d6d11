import { z } from 'zod'
import { jsonSchemaOf } from '../config/json-schema.js'
import { type ConfigSource, configProblem } from '../config/problems.js'
import { samplers } from './samplers/index.js'
import { objectives, overEntry } from './space/entries.js'

/** The options of a sweep: the block `sweep` of a config. What the options mean that it varies is unknown here. */

const count = z.int().min(1)
const name = z.string().min(1)

const halvingShape = {
  min: count.describe('steps before the first comparison'),
  factor: z.int().min(2).default(3).describe('of the trials that came so far, one in this many goes on, this many times as far'),
}

export const sweepSchema = z.strictObject({
  of: z
    .enum(['tune', 'search', 'evaluate'])
    .optional()
    .describe('what a trial is; by default search where the config has one, otherwise tune'),
  over: z
    .record(name, overEntry)
    .refine(over => Object.keys(over).length > 0, 'at least one option')
    .describe('options by their dotted names, each with a list of values, { min, max } or { mean, deviation }'),
  strategy: z
    .enum(Object.keys(samplers) as [string, ...string[]])
    .optional()
    .describe('how values are chosen; by default a grid where all options are lists, otherwise tpe'),
  trials: count.optional().describe('by default 30; of a grid all'),
  seeds: z
    .union([count.max(1000), z.array(z.int().min(0).max(0xffffffff)).min(1)])
    .optional()
    .describe('runs of each trial, which then counts as their mean: how many, or their seeds'),
  objective: objectives
    .optional()
    .describe('what is best, of the dev rows; two: the trials that none beats in both; by default the metric that matters most'),
  stop: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('halving').describe('successive halving by the dev curve'), ...halvingShape }),
      z.strictObject({ type: z.literal('hyperband').describe('halvings that begin later and later'), ...halvingShape }),
    ])
    .optional()
    .describe('stops the worse trials early; what they learned stays, and can be gone on with'),
  constraints: z
    .array(name)
    .optional()
    .describe(
      'what has to hold of every trial: "train.batchSize * train.accumulate <= 64", with + - * /, comparisons, and, or, not',
    ),
  seed: z.int().min(0).max(0xffffffff).default(13).describe('of the choice of values; that of the runs is seed, or seeds'),
  maxFailures: count.default(5).describe('failed trials in a row that end the sweep'),
})

export type SweepOptions = z.output<typeof sweepSchema>
export type SweepOptionsInput = z.input<typeof sweepSchema>

/** @throws GradpromptError `invalid-config`, `unknown-option` */
export function parseSweepOptions(input: unknown, source: ConfigSource): SweepOptions {
  const parsed = sweepSchema.safeParse(input)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map(issue => ({ ...issue, path: ['sweep', ...issue.path] }))
  throw configProblem(issues, { sweep: input }, { properties: { sweep: sweepJsonSchema() } }, source)
}

let jsonSchema: z.core.JSONSchema.JSONSchema | undefined

export function sweepJsonSchema(): z.core.JSONSchema.JSONSchema {
  jsonSchema ??= jsonSchemaOf(sweepSchema)
  return jsonSchema
}
