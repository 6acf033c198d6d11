import { z } from 'zod'
import { jsonSchemaOf } from '../config/json-schema.js'
import { type OpenOption, ownSources, withOwnEntries } from '../config/own-entries.js'
import { type ConfigSource, configProblem, sourceName } from '../config/problems.js'
import { hasDev } from '../data/task-config.js'
import { allLossSchemas, losses, type lossSchemas } from '../losses/index.js'
import type { Loss } from '../losses/loss.js'
import type { MadeWithModules, ModulePath } from '../own-modules.js'
import { defaultMethod } from '../prompts/default-method.js'
import { domainSchema } from '../prompts/domain/options.js'
import type { PromptMethod } from '../prompts/method.js'
import { allMethodSchemas, type methodSchemas, promptMethods } from '../prompts/methods/index.js'
import { startOf } from '../prompts/starts/index.js'
import { type OpenInput, taskOpenOptions } from '../sources/task-entries.js'
import { trackers } from '../track/index.js'
import { reptileRate } from './meta/options.js'
import { type Config, configSchema, trainSchema } from './options/schema.js'
import { checkTogether, initOf, optimizerOf } from './options/together.js'
import { completePreferences } from './preferences.js'

export { type Config, configSchema } from './options/schema.js'

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
    .describe(trainSchema.shape.loss.description!)
  const { description } = configSchema.shape.train
  known = {
    version,
    schema: configSchema.extend({ method, train: trainSchema.extend({ loss }).prefault({}).describe(description!) }),
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
  const optimizer = optimizerOf(train)
  if (optimizer === 'adamw') {
    train.beta1 ??= 0.9
    train.beta2 ??= 0.999
  }
  if (optimizer !== 'sgd') train.epsilon ??= optimizer === 'adamw' ? 1e-8 : 1e-30
  const usual =
    train.meta?.update === 'reptile' && optimizer === 'sgd' ? reptileRate : promptMethods.get(config.method.type).learningRate
  const learningRate = train.learningRate ?? usual
  const type = train.loss?.type ?? 'cross-entropy'
  const loss = { loss: losses.get(type), options: train.loss ?? { type } }
  if (train.prior !== undefined || startOf(initOf(config.method))?.ofDomain) config.domain ??= domainSchema.parse({})
  const preferences = completePreferences(config, loss, sourceName(source))
  return {
    ...config,
    ...preferences,
    train: { ...train, optimizer, learningRate, keep: train.keep ?? (hasDev(config) ? 'best' : 'last') },
  }
}

let jsonSchema: z.core.JSONSchema.JSONSchema | undefined

/** The config's JSON Schema (draft 2020-12), for editors and for the list of options. */
export function configJsonSchema(): z.core.JSONSchema.JSONSchema {
  const schema = fullSchema()
  jsonSchema ??= jsonSchemaOf(schema)
  return jsonSchema
}
