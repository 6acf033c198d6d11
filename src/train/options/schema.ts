import { z } from 'zod'
import { askedShape, placeShape, preferenceShape, taskShape, template } from '../../data/task-config.js'
import { aggregates } from '../../data/texts/verbalizer.js'
import { lossSchemas } from '../../losses/index.js'
import { defaultMethod } from '../../prompts/default-method.js'
import { domainSchema } from '../../prompts/domain/options.js'
import { methodSchemas } from '../../prompts/methods/index.js'
import { trackOption } from '../../track/index.js'
import { metaSchema } from '../meta/options.js'
import { privacySchema } from '../privacy/options.js'
import { distillationSchema } from '../study/distillation-options.js'

/** Every option of a run that learns, and what a config is once it is read. What one option says about another stands beside. */

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

export const trainSchema = z.strictObject({
  steps: z.int().min(0).optional().describe('optimiser steps; excludes train.epochs; 0: the prompt stays as it starts'),
  epochs: z.number().positive().optional().describe('passes over the training rows (1 when train.steps is not given either)'),
  batchSize: count.default(16).describe('rows of a batch'),
  learningRate: z.number().positive().optional().describe("the schedule's highest learning rate; by default the method's own"),
  optimizer: z
    .enum(['adamw', 'adafactor', 'sgd'])
    .optional()
    .describe('update rule; by default adamw, and sgd for train.meta.update: reptile'),
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
  prior: z
    .strictObject({
      weight: z.number().positive().default(0.01).describe("of the squared distance, beside the label tokens' cross entropy"),
    })
    .optional()
    .describe("hold the mean of the prompt's rows near the mean of what the task's inputs are like (domain; after BayesPrompt)"),
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
  meta: metaSchema
    .optional()
    .describe(
      'learn a start over several tasks, for later runs to begin from (method.init.type: runs): Reptile, first-order MAML, SUPMER',
    ),
  keep: z.enum(['best', 'last']).optional().describe('the checkpoint that becomes the result; best when there is a dev set'),
  checkpointEvery: count.optional().describe('steps between checkpoints; by default about two a minute'),
})

const { evaluate, seed, out } = taskShape

export const configSchema = z.strictObject({
  ...askedShape,
  ...preferenceShape,
  method: z.discriminatedUnion('type', methodSchemas).prefault(defaultMethod).describe('what is learned'),
  domain: domainSchema
    .optional()
    .describe(
      "what the task's inputs are like, as particles that are kept with the prompt (BayesPrompt): estimated for method.init.type: domain and train.prior, or where it is given; evaluate and predict make ensembles of it",
    ),
  train: trainSchema.prefault({}).describe('how it is learned'),
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
  ...placeShape,
  track: trackOption,
  out,
})

export type Parsed = z.output<typeof configSchema>

/** A config with every default filled in. It parses to itself. */
export type Config = Omit<Parsed, 'train'> & {
  train: Omit<Parsed['train'], 'keep' | 'learningRate' | 'optimizer'> & {
    keep: 'best' | 'last'
    learningRate: number
    optimizer: NonNullable<Parsed['train']['optimizer']>
  }
}
