import { z } from 'zod'
import { jsonSchemaOf } from '../config/json-schema.js'
import { type OpenOption, ownSources, withOwnEntries } from '../config/own-entries.js'
import { type ConfigSource, configProblem, invalidConfig, sourceName } from '../config/problems.js'
import { typedOptions } from '../config/typed-options.js'
import { checkTask, placeShape, type TaskConfig, taskShape } from '../data/task-config.js'
import { fillPrompt, requirePlace } from '../data/texts/prompt-place.js'
import type { MadeWithModules, ModulePath } from '../own-modules.js'
import { type OpenInput, taskOpenOptions } from '../sources/task-entries.js'
import { trackers, trackOption } from '../track/index.js'
import { searchMethods, searchSchemas } from './methods/index.js'
import type { SearchDefaults, SearchMethod, SearchNeeds } from './moves/method.js'
import { measureOption } from './score/measure.js'
import { checkCases } from './writing/case-columns.js'

const count = z.int().min(1)

/** What a config says in the place of training rows where the search makes them. */
export const noRows = 'no rows'
const limit = z.number().positive()

const { model, families, data, template, answer, answerType, answerEnd, evaluate, seed, out } = taskShape

const searchData = data
  .extend({
    train: data.shape.train
      .default(noRows)
      .describe(`${data.shape.train.description}; only a search that makes its questions itself (ipc) does without`),
  })
  .describe(data.description!)

const RERANK = 10

/** What every search has beside its own options. */
const common = {
  prompt: z
    .union([
      z.string().min(1),
      z.array(z.union([z.string().min(1), z.strictObject({ frozen: z.string().min(1).describe('text that stays') })])).min(1),
    ])
    .optional()
    .describe(
      'where the search begins: a text, or a list of texts of which some are { frozen: text }; by default as the method needs',
    ),
  extractor: z
    .string()
    .min(1)
    .optional()
    .describe(
      'the model reasons first, and this text asks for the answer behind its reasoning; may have {column} placeholders; auto tries a few',
    ),
  maxNewTokens: z
    .union([count, z.literal('auto')])
    .optional()
    .describe('tokens of reasoning, at most; by default 256; auto tries a few'),
  preflight: z
    .enum(['refuse', 'warn'])
    .optional()
    .describe(
      'what becomes of a search with an extractor under which the model gives none of the answers on sixteen questions; by default it is refused',
    ),
  weights: z
    .enum(['stored', 'fp32'])
    .optional()
    .describe('width of the weights that text is generated with; by default as the checkpoint stores them'),
  questions: count
    .optional()
    .describe('training rows that prompts are scored on, drawn by seed; by default 32, of a private search all, and no fewer'),
  batchSize: count.optional().describe('of these, how many each step takes; by default all'),
  steps: count.optional().describe('optimisation steps; by default as the method needs'),
  measure: measureOption.optional(),
  pseudoLabels: z
    .strictObject({
      perClass: count.default(8).describe('questions that are kept of each class: those the model is surest of'),
      confidence: z.number().min(0).max(1).default(0).describe('probability among the labels that a kept answer has at least'),
    })
    .optional()
    .describe("take the model's own answers under the first prompt for the questions' labels, and no label from the file"),
  fluency: z
    .number()
    .min(0)
    .optional()
    .describe("weight of the mean negative log-likelihood of the prompt's own tokens; by default as the method needs, mostly 0"),
  mellowmax: z
    .number()
    .positive()
    .optional()
    .describe("loss of an answer: mellowmax of its tokens' negated logits, with this alpha, instead of their mean cross entropy"),
  vocabulary: z
    .union([z.enum(['ascii', 'words', 'any']), z.array(z.string().min(1)).min(1)])
    .optional()
    .describe('tokens that are tried: printable ASCII (mostly the default), words with commas and periods, any, or these alone'),
  drift: z
    .union([z.enum(['drop', 'allow']), z.strictObject({ penalty: limit.describe('nats that are added to the loss') })])
    .default('drop')
    .describe('what becomes of prompts whose text the tokenizer reads as other tokens'),
  budget: z
    .strictObject({
      generatedTokens: limit.optional().describe('tokens that the model writes'),
      computedTokens: limit.optional().describe('token rows that go through the model; a gradient counts three times'),
      seconds: limit.optional().describe('of searching'),
      calls: count.optional().describe('requests to endpoints, of all roles; never passed'),
      cost: limit.optional().describe('of endpoints, in the currency of their price; never passed'),
    })
    .prefault({})
    .describe('where the search ends, whatever the steps'),
  rerank: count.default(RERANK).describe('best prompts that are ranked anew on dev at the end'),
  evaluateEvery: count.optional().describe('steps between dev evaluations of the best prompt; by default five in all'),
  checkpointEvery: count.optional().describe('steps between checkpoints; by default about two a minute'),
}

type Common = z.output<z.ZodObject<typeof common>>
/** Options that every resolved search has. */
type Filled = 'steps' | 'prompt' | 'fluency' | 'vocabulary' | 'measure'
/** Of a search that has all rows there is none: whoever gives one is refused (`run/private-rows.ts`). */
const QUESTIONS = 32

/** Where a search begins that says nothing else: as many tokens as nanoGCG begins with. */
const TWENTY = Array.from({ length: 20 }, () => ' x').join('')

/** The union of searches by their type, each with the common options; people's own come last. */
function searches() {
  const builtIn = searchSchemas.map(schema => schema.extend(common))
  const own = searchMethods.own.map(([type, { options, paper }]) => typedOptions(type, options, paper, common))
  const all = [...builtIn, ...own] as unknown as readonly [z.ZodObject<typeof common & { type: z.ZodLiteral<string> }>]
  return z.discriminatedUnion('type', all).describe('how it is searched')
}

export const searchConfigSchema = z.strictObject({
  model,
  families,
  data: searchData,
  template: template.describe(
    'the text before the answer, with {prompt} where the searched tokens stand, and {column} placeholders',
  ),
  answer,
  answerType,
  answerEnd,
  search: searches(),
  evaluate,
  seed,
  ...placeShape,
  track: trackOption,
  out,
})

/** A search's config as a user writes it. */
export type SearchConfigInput = OpenInput<Omit<z.input<typeof searchConfigSchema>, 'search'>> & {
  search: (z.input<typeof searchConfigSchema>['search'] & { [option: string]: unknown }) | OwnSearch
}

/** A search of people's own: an object, or the path of its module, with the options that it declares beside the common ones. */
export interface OwnSearch {
  readonly type: ModulePath | SearchMethod
  readonly [option: string]: unknown
}

/** A search's config with every default filled in. It parses to itself. */
export type SearchConfig = Omit<z.output<typeof searchConfigSchema>, 'search'> & {
  readonly search: Omit<Common, 'maxNewTokens'> & { readonly [Name in Filled]: NonNullable<Common[Name]> } & {
    readonly type: string
    /** A number wherever a search runs: `auto` is settled before it begins. */
    readonly maxNewTokens?: number | undefined
  }
}

/** The options that may name people's own entries. */
const openOptions: readonly OpenOption[] = [...taskOpenOptions, ['search.type', searchMethods], ['track', trackers]]

/**
 * A config whose own entries are loaded: `parseSearchConfig` then knows them and their options.
 * @param run the run that the config is of
 */
export const loadSearchEntries = <Given>(input: Given, run?: MadeWithModules): Promise<Given> =>
  withOwnEntries(input, openOptions, run)

/** The modules that a config names, with the hashes of their files. */
export const searchSources = (config: SearchConfig): Record<string, string> => ownSources(config, openOptions)

let known: { readonly version: number; readonly schema: typeof searchConfigSchema } | undefined

/** The schema with the options of people's own searches that were loaded. */
function fullSchema(): typeof searchConfigSchema {
  const { version } = searchMethods
  if (known?.version === version) return known.schema
  known = {
    version,
    schema: version === 0 ? searchConfigSchema : searchConfigSchema.extend({ search: searches() }),
  }
  jsonSchema = undefined
  return known.schema
}

/** What the search's method has opened for it. */
export const needsOf = ({ search }: Pick<SearchConfig, 'search'>): SearchNeeds =>
  searchMethods.get(search.type).needs?.(search) ?? {}

/**
 * Checks a search's config and fills its defaults in.
 * @throws GradpromptError `unknown-option`, `invalid-config`, `no-prompt-place`
 */
export function parseSearchConfig(input: unknown, { source: given = 'config' }: { source?: ConfigSource } = {}): SearchConfig {
  const parsed = fullSchema().safeParse(input)
  if (!parsed.success) throw configProblem(parsed.error.issues, input, searchConfigJsonSchema(), given)
  const source = sourceName(given)
  const config = parsed.data
  requirePlace(config.template)
  const { isPrivate = false } = searchMethods.get(config.search.type)
  const questions = config.search.questions ?? (isPrivate ? undefined : QUESTIONS)
  if (config.search.batchSize !== undefined && config.search.batchSize > (questions ?? Number.POSITIVE_INFINITY))
    throw invalidConfig(source, `search.batchSize (${config.search.batchSize}) is more than search.questions (${questions})`, {
      hint: 'lower search.batchSize, or leave it out',
    })
  const { search } = config
  if (config.data.train === noRows) refuseBare(config, input, given)
  const { steps, defaults = {}, writes: isWriting = false, judges = false, drawsRows = false } = searchMethods.get(search.type)
  const writes = isWriting || judges
  if (drawsRows && !isPrivate && search.batchSize !== undefined)
    throw invalidConfig(source, `search.batchSize has no effect: ${search.type} draws parts of the questions of its own`, {
      hint: 'leave it out; search.questions and search.feedback say how many there are',
    })
  const own: SearchDefaults = typeof defaults === 'function' ? defaults(search) : defaults
  if (isPrivate) refuseUnscored(search, own, source)
  const { extractor } = search
  const resolved = {
    ...config,
    search: {
      ...search,
      ...(questions !== undefined && { questions }),
      steps: search.steps ?? steps,
      prompt: search.prompt ?? own.prompt ?? TWENTY,
      fluency: search.fluency ?? own.fluency ?? 0,
      vocabulary: search.vocabulary ?? own.vocabulary ?? ('ascii' as const),
      measure: search.measure ?? (search.mellowmax === undefined ? own.measure : undefined) ?? ('cross-entropy' as const),
      ...(extractor !== undefined && { maxNewTokens: search.maxNewTokens ?? 256 }),
      ...((extractor !== undefined || writes) && { weights: search.weights ?? ('stored' as const) }),
    },
  }
  for (const name of ['maxNewTokens', 'preflight', 'weights'] as const)
    if (extractor === undefined && search[name] !== undefined && !(writes && name === 'weights'))
      throw invalidConfig(source, `search.${name} has no effect without search.extractor`, {
        hint: 'search.extractor: "\nTherefore, the final answer is" lets the model reason before it answers',
      })
  if (search.mellowmax !== undefined && (extractor !== undefined || (search.measure ?? 'cross-entropy') === 'probability'))
    throw invalidConfig(source, 'search.mellowmax is a loss of its own', {
      hint: `leave out search.mellowmax, or search.${extractor === undefined ? 'measure' : 'extractor'}`,
    })
  checkTask(taskConfig(resolved as SearchConfig, ''), source)
  if (needsOf(resolved as SearchConfig).cases !== undefined) checkCases({ ...config, ...search, labels: config.data.labels })
  return resolved as SearchConfig
}

/** What makes scores others, where no score decides anything. @throws GradpromptError `invalid-config` */
function refuseUnscored(search: Common & { readonly type: string }, own: SearchDefaults, source: string): void {
  const usual = { fluency: own.fluency ?? 0, mellowmax: undefined, drift: 'drop', rerank: RERANK } as const
  const name = (Object.keys(usual) as (keyof typeof usual)[]).find(
    name => search[name] !== undefined && search[name] !== usual[name],
  )
  if (name === undefined) return
  throw invalidConfig(source, `search.${name} has no effect: ${search.type} chooses by no score of its prompts`, {
    hint: 'leave it out',
  })
}

/** @throws GradpromptError `invalid-config` where rows are needed */
function refuseBare(config: z.output<typeof searchConfigSchema>, input: unknown, given: ConfigSource): void {
  const { data, search } = config
  if (needsOf({ search } as unknown as SearchConfig).cases === undefined) {
    const path = ['data', 'train']
    throw configProblem(
      [{ code: 'invalid_type', expected: 'string', path, message: '', input: undefined }],
      input,
      searchConfigJsonSchema(),
      given,
    )
  }
  const option = data.labels === undefined ? undefined : (['split', 'limit'] as const).find(name => data[name] !== undefined)
  if (data.labels !== undefined && option === undefined && search.pseudoLabels === undefined) return
  throw invalidConfig(
    sourceName(given),
    data.labels === undefined
      ? 'data.labels is missing'
      : `${option === undefined ? 'search.pseudoLabels' : `data.${option}`} has no effect`,
    {
      found: 'no data.train',
      expected: data.labels === undefined ? 'the labels that texts are to have' : 'training rows',
      hint: 'data: { labels: { a: a, b: b } }; rows of your own go into data.train, data.dev and data.test',
    },
  )
}

/** A search's task with a text in the place of its prompt: how its rows are read. */
export function taskConfig(config: SearchConfig, prompt: string): TaskConfig {
  const { search: _, template, ...task } = config
  return { ...task, template: fillPrompt(template, prompt) }
}

let jsonSchema: z.core.JSONSchema.JSONSchema | undefined

/** The config's JSON Schema (draft 2020-12), for editors and for the list of options. */
export function searchConfigJsonSchema(): z.core.JSONSchema.JSONSchema {
  const schema = fullSchema()
  jsonSchema ??= jsonSchemaOf(schema)
  return jsonSchema
}
