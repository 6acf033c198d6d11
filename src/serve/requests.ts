import { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { didYouMean } from '../errors.js'
import { messageSchema } from '../generate/input.js'
import type { LimitsAsked } from '../generate/limits/asked.js'
import type { GenerationSettings } from '../generate/settings.js'
import { ApiProblem } from './problem.js'

const mostChoices = 128
const mostPrompts = 256
const mostStops = 16
const mostGuided = 1000
const mostPattern = 2000
const mostSchema = 65_536
/** As in OpenAI's chat API. */
const mostAlternatives = 20

const count = z.int().min(1)
const stopString = z.string().min(1).max(1000)

const responseFormat = z.union(
  [
    z.object({ type: z.enum(['text', 'json_object']) }),
    z.object({
      type: z.literal('json_schema'),
      json_schema: z.object({
        name: z.string().optional(),
        description: z.string().optional(),
        strict: z.boolean().nullable().optional(),
        schema: z.record(z.string(), z.unknown()),
      }),
    }),
  ],
  '{ "type": "text" }, { "type": "json_object" }, or { "type": "json_schema", "json_schema": { "schema": … } }',
)

/** Fields of both endpoints. Those below `seed` are not OpenAI's; they are named as in vLLM and llama.cpp. */
const common = {
  model: z.string().min(1),
  stream: z.boolean().optional(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).optional(),
  n: count.max(mostChoices).optional(),
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().gt(0).max(1).optional(),
  stop: z.union([stopString, z.array(stopString).max(mostStops)], `a text, or a list of at most ${mostStops}`).optional(),
  seed: z.int().optional(),
  top_k: count.optional(),
  min_p: z.number().min(0).max(1).optional(),
  repetition_penalty: z.number().gt(0).max(10).optional(),
  /** A served prompt to answer against, and how much: see `ContrastAsked`. */
  against: z.string().min(1).optional(),
  contrast: z.number().min(0).max(10).optional(),
  /** The only answers that may be given. */
  guided_choice: z.array(z.string().min(1).max(1000)).min(1).max(mostGuided).optional(),
  /** A regular expression that the answer matches as a whole. */
  guided_regex: z.string().min(1).max(mostPattern).optional(),
  /** A JSON Schema that the answer is JSON for, or its text. */
  guided_json: z.union([z.string().max(mostSchema), z.record(z.string(), z.unknown())], 'a JSON Schema, or its text').optional(),
  /** OpenAI's way to say the same, and `json_object` for JSON of any kind. */
  response_format: responseFormat.optional(),
  /** The probability that the model would have left such a limit without it: `rejected_mass` of each choice. */
  rejected_mass: z.boolean().optional(),
  stop_token_ids: z.array(z.int().min(0)).max(mostStops).optional(),
}

const chatMessage = messageSchema.extend({
  role: z.enum(['system', 'developer', 'user', 'assistant'], 'system, developer, user or assistant: tools are not supported'),
  tool_calls: z.array(z.never()).max(0, 'an empty list: tool calls are not supported').optional(),
})

const chatSchema = z.object({
  ...common,
  messages: z.array(chatMessage).min(1),
  max_completion_tokens: count.optional(),
  max_tokens: count.optional(),
  logprobs: z.boolean().optional(),
  top_logprobs: z.int().min(0).max(mostAlternatives).optional(),
  /** Variables of the chat template, whatever the model's has. */
  chat_template_kwargs: z.record(z.string(), z.unknown()).optional(),
  enable_thinking: z.boolean().optional(),
  reasoning_effort: z.string().optional(),
})

const columnValues = z.record(z.string(), z.unknown())

/** Looked at as a whole: there may be millions. */
const tokenIds = z.custom<number[]>(
  value => Array.isArray(value) && value.length > 0 && value.every(id => Number.isInteger(id) && id >= 0),
  'a list of token ids',
)

const completionSchema = z.object({
  ...common,
  prompt: z
    .union(
      [z.string(), tokenIds, z.array(z.string()).min(1).max(mostPrompts), z.array(tokenIds).min(1).max(mostPrompts)],
      `a text, a list of token ids, or a list of at most ${mostPrompts} of either`,
    )
    .optional(),
  /** Not OpenAI's: in the place of a prompt, values for the columns of the template that the model was learned with. */
  columns: z
    .union([columnValues, z.array(columnValues).min(1).max(mostPrompts)], `an object, or a list of at most ${mostPrompts}`)
    .optional(),
  max_tokens: count.optional(),
  /** The log-probability of each token, with those of so many of the likeliest in its place. */
  logprobs: z.int().min(0).max(mostAlternatives).optional(),
})

export type ChatBody = z.infer<typeof chatSchema>
export type CompletionBody = z.infer<typeof completionSchema>

/** Fields that change no answer. */
const ignored = new Set([
  ...['user', 'metadata', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention', 'parallel_tool_calls'],
])

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0
const isOneOf = (...values: readonly unknown[]) => ({ test: (value: unknown) => values.includes(value) })

/** Fields of the API that are not supported, and the values of them that ask for nothing. */
const unsupported: Readonly<Record<string, { test(value: unknown): boolean }>> = {
  frequency_penalty: isOneOf(0),
  presence_penalty: isOneOf(0),
  logit_bias: { test: isEmpty },
  best_of: isOneOf(1),
  echo: isOneOf(false),
  suffix: isOneOf(''),
  tools: { test: isEmpty },
  tool_choice: isOneOf('none', 'auto'),
  functions: { test: isEmpty },
  function_call: isOneOf('none', 'auto'),
  modalities: { test: value => Array.isArray(value) && value.every(modality => modality === 'text') },
  audio: isOneOf(),
  prediction: isOneOf(),
  web_search_options: isOneOf(),
  moderation: isOneOf(),
  store: isOneOf(false),
  service_tier: isOneOf('auto', 'default'),
  verbosity: isOneOf('medium'),
}

/** @throws ApiProblem 400 that names the field */
export function parseChat(body: unknown): ChatBody {
  const chat = parse(chatSchema, body)
  if (chat.top_logprobs !== undefined && chat.logprobs !== true)
    throw new ApiProblem(400, 'invalid_value', 'top_logprobs: needs logprobs to be true', { param: 'top_logprobs' })
  return chat
}

/** @throws ApiProblem 400 that names the field */
export function parseCompletion(body: unknown): CompletionBody {
  const completion = parse(completionSchema, body)
  const { prompt, columns } = completion
  if (prompt === undefined && columns === undefined)
    throw new ApiProblem(400, 'missing_required_parameter', 'prompt is missing', { param: 'prompt' })
  if (prompt !== undefined && columns !== undefined)
    throw new ApiProblem(400, 'invalid_value', 'columns: takes the place of prompt, and both are given', { param: 'columns' })
  return completion
}

function parse<Schema extends z.ZodObject>(schema: Schema, body: unknown): z.infer<Schema> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new ApiProblem(400, 'invalid_body', 'the body must be a JSON object')
  if (countValues(body, mostValues) > mostValues) throw tooManyValues()
  const known = Object.keys(schema.shape)
  const given: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(body)) {
    // The API takes null for a field that is left out.
    if (value === null || ignored.has(name)) continue
    if (Object.hasOwn(schema.shape, name)) given[name] = value
    else if (!Object.hasOwn(unsupported, name)) throw unknownField(name, known)
    else if (!unsupported[name]!.test(value))
      throw new ApiProblem(400, 'unsupported_parameter', `${name} is not supported here: leave it out`, { param: name })
  }
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const { name, isMissing, message } = valueProblem(parsed.error.issues, given)
  throw new ApiProblem(400, isMissing ? 'missing_required_parameter' : 'invalid_value', message, { param: name })
}

/** What a schema looks at one by one, numbers left out: that takes far longer than reading them. */
const mostValues = 20_000

/**
 * Refuses by its bytes what would take seconds to read, and hold up everybody else: lists in lists by the million, or as many names.
 * @throws ApiProblem 400
 */
export function refuseManyValues(body: Uint8Array): void {
  let count = 0
  let isText = false
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]
    if (byte === quote) isText = !isText
    else if (isText && byte === backslash) i++
    else if (!isText && (byte === colon || byte === bracket || byte === brace)) count++
  }
  if (count > mostValues) throw tooManyValues()
}

const [quote, backslash, colon, bracket, brace] = Buffer.from('"\\:[{')

const tooManyValues = () => new ApiProblem(400, 'invalid_body', `the body holds more than ${mostValues} texts, lists and objects`)

function countValues(value: unknown, most: number): number {
  let count = 0
  const waiting: object[] = [[value]]
  for (let next = waiting.pop(); next !== undefined && count <= most; next = waiting.pop()) {
    for (const each of Array.isArray(next) ? next : Object.values(next)) {
      if (typeof each === 'number') continue
      count++
      if (typeof each === 'object' && each !== null) waiting.push(each)
    }
  }
  return count
}

function unknownField(name: string, known: readonly string[]): ApiProblem {
  const hint = didYouMean(name, known)
  const text = `there is no field ${JSON.stringify(name.slice(0, 80))}${hint === undefined ? '' : `; ${hint}`}`
  return new ApiProblem(400, 'unknown_parameter', text, { param: name })
}

/**
 * What the answer is limited to.
 * @throws ApiProblem `invalid_value` for two limits at a time, and for what is no JSON
 */
export function guidedIn(body: Omit<z.infer<z.ZodObject<typeof common>>, 'model'>): LimitsAsked {
  const { guided_choice: choices, guided_regex: regex, guided_json, response_format: format } = body
  const schemas = [
    ...(guided_json === undefined ? [] : [{ param: 'guided_json', schema: guided_json }]),
    ...(format?.type === 'json_object' ? [{ param: 'response_format', schema: { type: 'object' } }] : []),
    ...(format?.type === 'json_schema' ? [{ param: 'response_format', schema: format.json_schema.schema }] : []),
  ]
  const given = [...(choices ? ['guided_choice'] : []), ...(regex ? ['guided_regex'] : []), ...schemas.map(({ param }) => param)]
  if (given.length > 1)
    throw new ApiProblem(400, 'invalid_value', `${given[1]}: the answer is limited by ${given[0]} already`, { param: given[1]! })
  const [schema] = schemas
  const jsonSchema = typeof schema?.schema === 'string' ? parsedSchema(schema.schema) : schema?.schema
  refuseLongRepeats(regex ?? JSON.stringify(jsonSchema) ?? '', given[0] ?? '')
  return { choices, regex, jsonSchema, rejectedMass: given.length > 0 && body.rejected_mass === true }
}

function parsedSchema(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new ApiProblem(400, 'invalid_value', `guided_json: ${message.slice(0, 200)}`, { param: 'guided_json' })
  }
}

/** A part that may stand so often takes so much time to prepare, in which nobody else is served. */
const mostRepeats = 128

function refuseLongRepeats(grammar: string, param: string): void {
  const bounds = grammar.matchAll(/\{(\d+)(?:,(\d*))?\}|"(?:max|min)(?:Length|Items|Properties)":(\d+)/g)
  const most = Math.max(0, ...[...bounds].flatMap(([, ...numbers]) => numbers.map(Number).filter(Number.isFinite)))
  if (most <= mostRepeats) return
  throw new ApiProblem(
    400,
    'invalid_value',
    `${param}: a part of it may stand ${most} times; at most ${mostRepeats} are allowed here`,
    {
      param,
    },
  )
}

/**
 * How to generate. As in the API, text is sampled at temperature 1 unless the request says otherwise; what was learned or found answers
 * greedily unless it is asked to sample.
 * @param seed for a request without one
 */
export function settingsOf(
  body: Omit<z.infer<z.ZodObject<typeof common>>, 'model'>,
  {
    prompt,
    isRun,
    seed,
    logProbabilities,
    alternatives,
  }: { prompt: string | undefined; isRun: boolean; seed: number; logProbabilities: boolean; alternatives: number },
): GenerationSettings {
  const samples = (body.top_p ?? 1) < 1 || body.top_k !== undefined || (body.min_p ?? 0) > 0
  return {
    temperature: body.temperature ?? (isRun && !samples ? 0 : 1),
    topK: body.top_k,
    topP: body.top_p,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    seed: body.seed ?? seed,
    stop: typeof body.stop === 'string' ? [body.stop] : body.stop,
    stopTokenIds: body.stop_token_ids,
    logProbabilities: logProbabilities || undefined,
    alternatives: alternatives || undefined,
    prompt,
  }
}
