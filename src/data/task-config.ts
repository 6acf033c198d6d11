import { z } from 'zod'
import { defaultSeed } from '../config/call-options.js'
import { configProblem, invalidConfig } from '../config/problems.js'
import { isModulePath } from '../own-modules.js'
import { bundledModel } from '../package-root.js'
import { type DeviceChoice, defaultDevice, devicePattern, deviceWords } from '../program/devices.js'
import { keepingChoices } from '../program/keeping.js'
import { precisions } from '../program/precision.js'
import { recordTasks } from './task-records.js'
import { answerTypes } from './texts/answer-type.js'
import type { Preferences } from './texts/preferences.js'
import type { Template } from './texts/template.js'
import { type Aggregate, aggregates } from './texts/verbalizer.js'

/**
 * The options that every job over rows of a task has in common, whatever it learns or searches for: which model, which rows, how a row
 * becomes a text and its answer, how rows are scored, on what it runs. `train/config.ts` and `search/config.ts` add their own.
 */

const count = z.int().min(1)
export const filePath = z.string().min(1)
const fractionOrCount = z
  .number()
  .positive()
  .refine(size => size < 1 || Number.isInteger(size), 'a whole number of rows, or a fraction below 1')

// `z.record` leaves out a key of this name without a word.
const lostName = '__proto__'
const labelWords = z.preprocess(
  (given: Record<string, string | string[]>, context) => {
    if (typeof given === 'object' && given !== null && Object.hasOwn(given, lostName))
      context.addIssue({ code: 'custom', message: `no label that is called ${lostName}`, path: [lostName], input: given })
    return given
  },
  z
    .record(z.string(), z.union([z.string(), z.array(z.string().min(1)).min(1)]))
    .refine(labels => Object.keys(labels).length > 0, 'at least one label'),
)

const deviceChoice = z.string().regex(devicePattern, { error: `one of ${deviceWords.join(', ')}` }) as unknown as z.ZodType<
  DeviceChoice,
  DeviceChoice
>

const data = z.strictObject({
  train: filePath.describe(
    'training rows: .tsv .csv .jsonl .ndjson .json .parquet, each also with .gz behind it, or a split on the Hugging Face Hub: hf:owner/name/split',
  ),
  dev: filePath.optional().describe('rows that choose the best checkpoint; or see data.split'),
  test: filePath.optional().describe('rows that are scored once, at the end'),
  columns: z
    .array(z.string().min(1))
    .min(1)
    .refine(names => new Set(names).size === names.length, 'a list of names that differ')
    .optional()
    .describe('names of the columns, for a file without a header'),
  readers: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('readers of data formats of your own, by the paths of their modules'),
  task: z
    .union([
      z.enum(recordTasks.keys()),
      z
        .string()
        .refine(name => recordTasks.has(name) || isModulePath(name), { abort: true, error: 'the path of a module of your own' }),
    ])
    .optional()
    .describe('a benchmark, whose files are read into the columns question and answer'),
  labels: labelWords
    .optional()
    .describe(
      'value in the label column -> word in the answer, or several, of which the first is learned; by default the values themselves, when they are few',
    ),
  limit: z
    .union([
      count,
      z.strictObject({
        train: count.optional().describe('training rows to keep'),
        dev: count.optional().describe('dev rows to keep'),
        test: count.optional().describe('test rows to keep'),
      }),
    ])
    .optional()
    .describe('keep this many rows of each file: of train drawn by seed, of dev and test by data.splitSeed'),
  split: z
    .strictObject({
      dev: fractionOrCount.optional().describe('rows of train to set aside for dev: a count, or a fraction below 1'),
      test: fractionOrCount.optional().describe('rows of train to set aside for test: a count, or a fraction below 1'),
    })
    .optional()
    .describe('set parts of train aside, each with its share of every class'),
  splitSeed: z
    .int()
    .min(0)
    .max(0xffffffff)
    .nullable()
    .default(13)
    .describe(
      'decides which rows are dev and test, whatever the seed; null: seed does, regardless of classes, as in runs of versions without this option',
    ),
})

const messages = z
  .array(
    z.strictObject({
      role: z
        .enum(['system', 'user', 'assistant', 'conversation'])
        .describe('who speaks; conversation: the turns of the column that content names'),
      content: z.string().describe('what is said, with {column} placeholders'),
    }),
  )
  .min(1)

export const template = z.union([z.string(), messages])

/** Where a run computes, and what it may take. */
export const placeShape = {
  device: deviceChoice
    .default(defaultDevice)
    .describe(
      'where the model runs, cuda:1 for the second of several, cuda:0,cuda:1 for two at once; auto: on the fastest device that computes as the processor does and has room for the weights, which is said',
    ),
  threads: z.int().min(1).max(1024).optional().describe('CPU threads; by default one a core'),
  memory: z.number().positive().optional().describe('memory budget in GB; by default what the machine has free'),
  keepWeights: z
    .enum(keepingChoices)
    .optional()
    .describe(
      'how weights are kept, on disk and in memory: fp32; compact, in 16 bits or blocks of 8 with the same values; auto (the default): fp32 where that takes half of the memory budget at most, and no more than 4 GB',
    ),
  precision: z
    .enum(precisions)
    .optional()
    .describe(
      'in which width products are computed: fp32 (the default); fp16 or bf16, with weights rounded to it and everything else in fp32, for graphics processors: docs/gpu.md',
    ),
}

/** What is asked of which model, and over which rows. */
export const askedShape = {
  model: filePath.default(bundledModel).describe('a folder, a .gguf file, or a model of the Hugging Face Hub'),
  families: z.array(z.string().min(1)).min(1).optional().describe('model families of your own, by the paths of their modules'),
  data: data.describe('rows to learn from; paths are relative to the working directory'),
  template: template.describe(
    'the text before the answer, with {column} placeholders ({{ and }} are braces), or a list of chat messages',
  ),
  answer: z.string().min(1).describe('the text that is learned, with {column} placeholders'),
  answerType: z
    .enum(answerTypes)
    .nullable()
    .default('auto')
    .describe(
      "whether answers are classes, of which every row's is one, or free text; auto: judged by the training rows, and said; null: as versions without this option judged",
    ),
  answerEnd: z
    .string()
    .min(1)
    .default('auto')
    .describe(
      'what ends an answer: learned behind it, and where generation stops; a text such as ###, or a special token; auto: the end of the turn in the chat template, behind a text template the end-of-text token, learned with free text and with labels that begin one another; none: nothing',
    ),
}

/** A zod shape: spread it into the schema of a config. */
export const taskShape = {
  ...askedShape,
  evaluate: z
    .strictObject({
      limit: count.optional().describe('dev rows that are scored, drawn by data.splitSeed; by default all'),
      batchSize: count.optional().describe('rows that are scored at once'),
      calibrate: z
        .union([z.boolean(), z.string().min(1)])
        // A flag's words come as text.
        .transform(text => (text === 'true' ? true : text === 'false' ? false : text))
        .optional()
        .describe('subtract what the labels score after a text that says nothing: that text, or true for N/A'),
    })
    .prefault({})
    .describe('how it is scored'),
  seed: z.int().min(0).max(0xffffffff).default(defaultSeed).describe('decides every random choice'),
  ...placeShape,
  out: filePath.optional().describe('the run folder; by default a new name under runs/'),
}

/** Where data have preferences: for jobs that learn from these or are scored on them. */
export const preferenceShape = {
  rejected: z
    .string()
    .min(1)
    .optional()
    .describe(
      'the answer that people did not choose, with {column} placeholders: rows are then pairs, scored by which is likelier; a loss over pairs takes the answer with {rejected} for {chosen}',
    ),
  thumbs: z
    .string()
    .min(1)
    .optional()
    .describe('the column that says whether people liked the answer (true or false, 1 or 0), for a loss that reads it'),
}

type Parsed = z.output<z.ZodObject<typeof taskShape>>

/** The options of a task with every default filled in, and what some jobs add to how its rows are read. */
export type TaskConfig = Omit<Parsed, 'template'> &
  Preferences & {
    readonly template: Template
    readonly train?: { readonly templates?: readonly Template[] | undefined; readonly truncate?: boolean | undefined }
    readonly verbalizer?: { readonly aggregate: Aggregate } | undefined
  }

export const hasDev = ({ data }: Pick<Parsed, 'data'>): boolean => data.dev !== undefined || data.split?.dev !== undefined

/** The texts of a template. */
export const turnsOf = (template: Template): string[] =>
  typeof template === 'string' ? [template] : template.map(({ content }) => content)

/**
 * What one option of a task says about another.
 * @param source what the message calls the config
 * @throws GradpromptError `invalid-config`
 */
export function checkTask(
  { data, template, answerType }: Pick<TaskConfig, 'data' | 'template' | 'answerType'>,
  source: string,
): void {
  if (answerType === 'text' && data.labels !== undefined)
    throw invalidConfig(source, 'answerType: text and data.labels exclude each other', {
      hint: 'labels are classes: leave one of the two out',
    })
  for (const part of ['dev', 'test'] as const)
    if (data[part] !== undefined && data.split?.[part] !== undefined)
      throw invalidConfig(source, `data.${part} and data.split.${part} exclude each other`, { hint: 'keep one of the two' })
  checkTurns(template, 'template', source)
}

/** @throws GradpromptError `invalid-config` where a list of messages ends with the assistant's */
export function checkTurns(template: Template, option: string, source: string): void {
  if (typeof template !== 'string' && template.at(-1)?.role === 'assistant')
    throw invalidConfig(source, `the last message of ${option} is the assistant: that place is the answer`, {
      hint: 'move its text to the answer',
    })
}

const runTask = z.object({
  ...taskShape,
  ...preferenceShape,
  train: z.object({ truncate: z.boolean().optional(), templates: z.array(template).optional() }).optional(),
  verbalizer: z.object({ aggregate: z.enum(aggregates).default('mean') }).optional(),
  control: z.object({ instruction: z.string().optional() }).optional(),
  search: z
    .looseObject({ type: z.string(), extractor: z.string().optional(), weights: z.enum(['stored', 'fp32']).optional() })
    .optional(),
})

/** The task of a run, whatever it learned or searched for and by whose method. */
export type RunTask = TaskConfig & {
  readonly control?: { readonly instruction?: string | undefined } | undefined
  readonly search?:
    | { readonly type: string; readonly extractor?: string | undefined; readonly weights?: 'stored' | 'fp32' | undefined }
    | undefined
}

/**
 * Reads of a run's config what says how its rows are read and scored. The options of its method are left alone, so that a run can be
 * used without the code that made it.
 * @throws GradpromptError `unknown-option`, `invalid-config`
 */
export function parseRunTask(config: unknown, source: string): RunTask {
  const parsed = runTask.safeParse(config)
  if (parsed.success) return parsed.data as RunTask
  throw configProblem(parsed.error.issues, config, z.toJSONSchema(runTask, { io: 'input' }), source)
}
