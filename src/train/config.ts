import { z } from 'zod'
import { jsonSchemaOf } from '../config/json-schema.js'
import { type OpenOption, ownSources, withOwnEntries } from '../config/own-entries.js'
import { type ConfigSource, configProblem, invalidConfig, sourceName } from '../config/problems.js'
import { checkTask, checkTurns, hasDev, preferenceShape, taskShape, template, turnsOf } from '../data/task-config.js'
import { compileTemplate } from '../data/texts/template.js'
import { aggregates } from '../data/texts/verbalizer.js'
import { allLossSchemas, losses, lossSchemas } from '../losses/index.js'
import type { Loss } from '../losses/loss.js'
import type { MadeWithModules, ModulePath } from '../own-modules.js'
import { defaultMethod } from '../prompts/default-method.js'
import type { PromptMethod } from '../prompts/method.js'
import { allMethodSchemas, methodSchemas, promptMethods } from '../prompts/methods/index.js'
import { type OpenInput, taskOpenOptions } from '../sources/task-entries.js'
import { trackers, trackOption } from '../track/index.js'
import { completePreferences } from './preferences.js'
import { privacySchema } from './privacy/options.js'
import { distillationSchema, refuseTeaching } from './study/distillation-options.js'

const count = z.int().min(1)

const regularization = z.strictObject({
  weight: z
    .number()
    .positive()
    .default(1)
    .describe("of the divergence from the frozen model, beside the label tokens' cross entropy"),
  temperature: z.number().positive().default(1).describe('divides the logits of both before they are compared'),
})

const average = z.strictObject({
  type: z.literal('gaussian').default('gaussian').describe('steps weigh as much as a Gaussian over the run says'),
  mean: z.number().min(0).max(1).default(0.9).describe('where in the run steps weigh most, as a share of its steps'),
  deviation: z.number().positive().default(0.1).describe('of the Gaussian, as a share of the steps'),
})

const earlyStopping = z.strictObject({
  patience: count.describe('dev evaluations without an improvement before the run stops'),
  metric: z
    .enum(['accuracy', 'macroF1', 'logLikelihood', 'rewardAccuracy'])
    .default('accuracy')
    .describe('the dev metric that has to improve'),
  minDelta: z.number().min(0).default(0).describe('the least change that counts as an improvement'),
})

const train = z.strictObject({
  steps: z.int().min(0).optional().describe('optimiser steps; excludes train.epochs; 0: the prompt stays as it starts'),
  epochs: z.number().positive().optional().describe('passes over the training rows (1 when train.steps is not given either)'),
  batchSize: count.default(16).describe('rows of a batch'),
  learningRate: z.number().positive().optional().describe("the schedule's highest learning rate; by default the method's own"),
  optimizer: z.enum(['adamw', 'adafactor']).default('adamw').describe('update rule'),
  beta1: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe('decay of the first moment: 0.9 for AdamW; Adafactor has none unless it is given'),
  beta2: z.number().min(0).lt(1).optional().describe("AdamW's decay of the second moment, 0.999 by default"),
  epsilon: z.number().positive().optional().describe("AdamW's term in the denominator (1e-8), Adafactor's in the square (1e-30)"),
  weightDecay: z.number().min(0).default(0).describe('decoupled weight decay'),
  schedule: z.enum(['linear', 'cosine', 'constant']).default('linear').describe('course of the learning rate after the warm-up'),
  warmup: z
    .number()
    .min(0)
    .refine(size => size < 1 || Number.isInteger(size), 'a whole number of steps, or a fraction below 1')
    .default(0.05)
    .describe('steps on which the learning rate rises: a fraction below 1, or a count'),
  maxGradientNorm: z.number().positive().nullable().default(1).describe('gradients are scaled down to this norm; null: never'),
  accumulate: count.default(1).describe('batches whose gradients make one optimiser step'),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe('share of the target that is spread over the vocabulary'),
  loss: z
    .discriminatedUnion('type', lossSchemas)
    .optional()
    .describe("what is minimised; by default the cross entropy of the answers' tokens, with train.labelSmoothing"),
  regularization: regularization
    .optional()
    .describe('hold the prompted model to what the frozen one, without a prompt, says at the labels'),
  distillation: distillationSchema
    .optional()
    .describe(
      'hold the prompted model to what it says at the labels under another prompt, which an earlier run learned, or to what another model says',
    ),
  average: average
    .optional()
    .describe('the prompt is a weighted mean over the steps; dev scores and the result are those of the mean'),
  templates: z
    .array(template)
    .min(1)
    .optional()
    .describe('further templates: each row draws one of these and template, by seed and epoch; scoring uses template alone'),
  frozenCache: z
    .number()
    .min(0)
    .default(1)
    .describe(
      'GB in which to keep what the layers below a late method make of the training rows, where these are seen again; 0: keep nothing',
    ),
  recompute: z
    .boolean()
    .default(false)
    .describe(
      'compute the layers again in the backward pass in place of keeping their activations: less memory for the same numbers, and slower steps',
    ),
  bucket: z.boolean().default(false).describe('make batches of rows of similar length'),
  truncate: z.boolean().default(false).describe('cut the text of a row that is longer than the context; otherwise an error'),
  evaluateEvery: count.optional().describe('steps between dev evaluations'),
  samples: z
    .int()
    .min(0)
    .default(3)
    .describe('of free text: dev rows that are answered at each dev evaluation, to be looked at; 0: none'),
  earlyStopping: earlyStopping.optional().describe('stop when dev no longer improves'),
  privacy: privacySchema
    .optional()
    .describe('differential privacy of the training records: clipped gradients of each, noise, and an account of both (DP-SGD)'),
  keep: z.enum(['best', 'last']).optional().describe('the checkpoint that becomes the result; best when there is a dev set'),
  checkpointEvery: count.optional().describe('steps between checkpoints; by default about two a minute'),
})

const { evaluate, seed, device, threads, memory, keepWeights, precision, out, ...task } = taskShape

export const configSchema = z.strictObject({
  ...task,
  ...preferenceShape,
  method: z.discriminatedUnion('type', methodSchemas).prefault(defaultMethod).describe('what is learned'),
  train: train.prefault({}).describe('how it is learned'),
  verbalizer: z
    .strictObject({
      aggregate: z.enum(aggregates).default('mean').describe("what becomes of the log-likelihoods of a class's words"),
      learned: z
        .boolean()
        .default(false)
        .describe('learn the weights of the words beside the prompt; a step then scores its rows too'),
      learningRate: z.number().positive().optional().describe('highest learning rate of these weights, 0.05 by default'),
    })
    .optional()
    .describe('how several words of a class (data.labels) make its score'),
  evaluate,
  control: z
    .strictObject({ instruction: z.string().optional().describe('a plain instruction put before the template') })
    .prefault({})
    .describe('the base model without the prompt, scored beside it'),
  seed,
  device,
  threads,
  memory,
  keepWeights,
  precision,
  track: trackOption,
  out,
})

type Parsed = z.output<typeof configSchema>

/** A method of people's own: an object, or the path of its module, with the options that it declares. */
export interface OwnMethod {
  readonly type: ModulePath | PromptMethod
  readonly [option: string]: unknown
}

/** The same of a loss. */
export interface OwnLoss {
  readonly type: ModulePath | Loss
  readonly [option: string]: unknown
}

type Input = Omit<z.input<typeof configSchema>, 'template' | 'answer'> &
  Partial<Pick<z.input<typeof configSchema>, 'template' | 'answer'>>
type TrainInput = NonNullable<Input['train']>

/** A config as a user writes it: only `data.train`, `template` and `answer` are needed, and of conversations the data alone. */
export type ConfigInput = OpenInput<Omit<Input, 'method' | 'train'>> & {
  method?: Input['method'] | OwnMethod
  train?: (Omit<TrainInput, 'loss'> & { loss?: TrainInput['loss'] | OwnLoss }) | undefined
}
/** A config with every default filled in. It parses to itself. */
export type Config = Omit<Parsed, 'train'> & {
  train: Omit<Parsed['train'], 'keep' | 'learningRate'> & { keep: 'best' | 'last'; learningRate: number }
}

/** The options that may name people's own entries. */
const openOptions: readonly OpenOption[] = [
  ...taskOpenOptions,
  ['method.type', promptMethods],
  ['train.loss.type', losses],
  ['track', trackers],
]

/**
 * A config whose own entries are loaded: `parseConfig` then knows them and their options.
 * @param run the run that the config is of
 */
export const loadConfigEntries = <Given>(input: Given, run?: MadeWithModules): Promise<Given> =>
  withOwnEntries(input, openOptions, run)

/** The modules that a config names, with the hashes of their files. */
export const configSources = (config: Config): Record<string, string> => ownSources(config, openOptions)

let known: { readonly version: string; readonly schema: typeof configSchema } | undefined

/** The schema with the options of people's own methods and losses that were loaded. */
function fullSchema(): typeof configSchema {
  const version = `${promptMethods.version} ${losses.version}`
  if (known?.version === version) return known.schema
  const method = z
    .discriminatedUnion('type', allMethodSchemas() as typeof methodSchemas)
    .prefault(defaultMethod)
    .describe(configSchema.shape.method.description!)
  const loss = z
    .discriminatedUnion('type', allLossSchemas() as unknown as typeof lossSchemas)
    .optional()
    .describe(train.shape.loss.description!)
  const { description } = configSchema.shape.train
  known = {
    version,
    schema: configSchema.extend({ method, train: train.extend({ loss }).prefault({}).describe(description!) }),
  }
  jsonSchema = undefined
  return known.schema
}

/** Options of a method that is not named are those of the default one. */
function withMethodType(input: unknown): unknown {
  const method = typeof input === 'object' && input !== null && 'method' in input ? input.method : undefined
  if (typeof method !== 'object' || method === null || Array.isArray(method) || 'type' in method) return input
  return { ...(input as object), method: { ...defaultMethod, ...method } }
}

/** How a method's parameters start, where it has a choice. */
const initOf = (method: Parsed['method']) => ('init' in method ? method.init : undefined)

/**
 * Checks a config and fills its defaults in.
 * @param source what the messages call it: a file's path, what knows who has set which option, or by default `config`
 * @throws GradpromptError `unknown-option` (with the nearest known option) or `invalid-config` (with the option's path)
 */
export function parseConfig(input: unknown, { source = 'config' }: { source?: ConfigSource } = {}): Config {
  const given = withMethodType(input)
  const parsed = fullSchema().safeParse(given)
  if (!parsed.success) throw configProblem(parsed.error.issues, given, configJsonSchema(), source)
  const config = parsed.data
  checkTogether(config, sourceName(source))
  const { train } = config
  if (train.steps === undefined) train.epochs ??= 1
  if (train.optimizer === 'adamw') {
    train.beta1 ??= 0.9
    train.beta2 ??= 0.999
  }
  train.epsilon ??= train.optimizer === 'adamw' ? 1e-8 : 1e-30
  const learningRate = train.learningRate ?? promptMethods.get(config.method.type).learningRate
  const type = train.loss?.type ?? 'cross-entropy'
  const loss = { loss: losses.get(type), options: train.loss ?? { type } }
  const preferences = completePreferences(config, loss, sourceName(source))
  return { ...config, ...preferences, train: { ...train, learningRate, keep: train.keep ?? (hasDev(config) ? 'best' : 'last') } }
}

/** What one option says about another. */
function checkTogether(config: Parsed, source: string): void {
  const { data, train, template } = config
  checkTask(config, source)
  const refuse = (message: string, hint: string) => {
    throw invalidConfig(source, message, { hint })
  }
  if (train.steps !== undefined && train.epochs !== undefined)
    refuse('train.steps and train.epochs exclude each other', 'keep one of the two')
  if (!hasDev(config)) {
    const hint = 'give a dev file (data.dev), or set a part of train aside (data.split.dev)'
    if (train.earlyStopping !== undefined) refuse('train.earlyStopping needs data.dev or data.split.dev', hint)
    if (train.evaluateEvery !== undefined) refuse('train.evaluateEvery needs data.dev or data.split.dev', hint)
    if (train.keep === 'best') refuse('train.keep: best needs data.dev or data.split.dev', hint)
  }
  if (train.steps !== undefined && train.warmup >= 1 && train.warmup > train.steps)
    refuse(`train.warmup (${train.warmup} steps) is longer than train.steps (${train.steps})`, 'shorten the warm-up')
  if (train.optimizer !== 'adamw' && train.beta2 !== undefined)
    refuse(`train.beta2 belongs to train.optimizer: adamw, not to ${train.optimizer}`, 'leave train.beta2 out')
  if (train.loss !== undefined && train.labelSmoothing > 0)
    refuse(
      'train.labelSmoothing belongs to the loss that stands where train.loss is not given',
      'keep one of the two: train.loss: { type: cross-entropy, labelSmoothing: 0.1 }',
    )
  const { regularization, distillation } = train
  if (regularization && distillation && regularization.temperature !== distillation.temperature)
    refuse(
      `train.regularization.temperature (${regularization.temperature}) and train.distillation.temperature (${distillation.temperature}) differ`,
      'compare with both teachers at one temperature',
    )
  if (distillation) refuseTeaching(distillation, { ...train, init: initOf(config.method) }, refuse)
  if (config.verbalizer !== undefined) {
    const { aggregate, learned, learningRate } = config.verbalizer
    if (!Object.values(data.labels ?? {}).some(words => typeof words !== 'string' && words.length > 1))
      refuse(
        'verbalizer needs a class with several words',
        'list them: data.labels: { "0": [negative, bad], "1": [positive, good] }',
      )
    if (learned && aggregate !== 'mean')
      refuse(`verbalizer.learned weighs a mean, and verbalizer.aggregate is ${aggregate}`, 'use verbalizer.aggregate: mean')
    if (learned && config.evaluate.calibrate)
      refuse(
        'verbalizer.learned and evaluate.calibrate exclude each other',
        'weights are learned for scores as they are: keep one of the two',
      )
    if (!learned && learningRate !== undefined)
      refuse('verbalizer.learningRate belongs to verbalizer.learned: true', 'leave it out, or learn the weights')
  }
  const isSoft = turnsOf(template).some(text => compileTemplate(text).soft.length > 0)
  if (promptMethods.get(config.method.type).softTokensAlone && !isSoft)
    refuse(
      `method.type: ${config.method.type} needs soft tokens in template`,
      'write them where they are to stand: {soft:3} or {soft:"It was"}',
    )
  if (initOf(config.method)?.type === 'labels' && data.labels === undefined)
    refuse('method.init.type: labels needs data.labels', 'give the label words: data.labels: { "0": negative, "1": positive }')
  if (initOf(config.method)?.type === 'pairs' && config.rejected === undefined)
    refuse(
      'method.init.type: pairs needs pairs of answers',
      'name the other one of each: rejected: " {rejected}" beside answer: " {chosen}"',
    )
  for (const [i, one] of (train.templates ?? []).entries()) checkTurns(one, `train.templates.${i}`, source)
}

let jsonSchema: z.core.JSONSchema.JSONSchema | undefined

/** The config's JSON Schema (draft 2020-12), for editors and for the list of options. */
export function configJsonSchema(): z.core.JSONSchema.JSONSchema {
  const schema = fullSchema()
  jsonSchema ??= jsonSchemaOf(schema)
  return jsonSchema
}
