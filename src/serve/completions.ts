import { randomInt, randomUUID } from 'node:crypto'
import type { AnswerStops } from '../data/texts/answer-end.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type Frame, framed } from '../generate/framing.js'
import { renderInput } from '../generate/input.js'
import type { Generation, GenerationRequest, Generator } from '../generate/request.js'
import { generationRequest, tokenBudget, withEnds } from '../generate/settings.js'
import { ApiProblem } from './problem.js'
import { type ChatBody, type CompletionBody, settingsOf } from './requests.js'
import { chatFormat, type Envelope, type ResponseFormat, textFormat, type Usage } from './responses.js'

/** A model as clients name it: the base model, or a soft prompt on it. */
export interface ServedModel {
  readonly id: string
  /** The name by which the generator knows the soft prompt. */
  readonly prompt?: string
  readonly numVirtualTokens: number
  /** Reads what texts to it hold; by default the backend's. */
  readonly tokenizer?: Pick<Tokenizer, 'encode'>
  /** Words that a search has found: every text stands in their template. */
  readonly frame?: Frame
  /** What ends an answer under its prompt. */
  readonly ends?: AnswerStops
}

/** What answers requests. */
export interface Backend {
  readonly generator: Generator
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'applyChatTemplate' | 'token' | 'tokenBytes'>
  readonly contextLength: number
  readonly vocabSize: number
  readonly models: readonly ServedModel[]
  /** Tells apart answers of other weights or versions. */
  readonly fingerprint: string
  /** Of a chat request that does not say how many; a completion has 16, as in the API. */
  readonly maxNewTokens: number
}

/** Where the answer to one HTTP request goes. */
export interface Reply {
  json(value: object): void
  /** An event of a stream, which begins with the first one. */
  event(value: object | '[DONE]'): void
}

/** The generations that one HTTP request asks for, and how they are written. */
export interface Job {
  readonly model: string
  readonly format: ResponseFormat
  readonly requests: readonly GenerationRequest[]
  /** Several samples of one prompt count its tokens once. */
  readonly samples: number
  readonly stream: boolean
  readonly includeUsage: boolean
}

const usualCompletionTokens = 16

/** @throws ApiProblem `model_not_found`; GradpromptError as the chat template does, `context-exceeded` */
export function chatJob(backend: Backend, body: ChatBody): Job {
  const messages = body.messages.map(({ role, ...fields }) => ({ ...fields, role: role === 'developer' ? 'system' : role }))
  const { enable_thinking, reasoning_effort, chat_template_kwargs } = body
  const variables = {
    ...(enable_thinking !== undefined && { enable_thinking }),
    ...(reasoning_effort !== undefined && { reasoning_effort }),
    ...chat_template_kwargs,
  }
  const { frame } = modelNamed(backend, body.model)
  const input = frame === undefined ? { messages, variables } : framed({ messages }, frame, 'the request')
  const { text, addSpecialTokens } = renderInput(backend.tokenizer, input, { variables })
  const ids = tokenizerOf(backend, body).encode(text, { addSpecialTokens })
  const wanted = body.max_completion_tokens ?? body.max_tokens
  return job(backend, body, chatFormat, [ids], {
    wanted,
    usual: backend.maxNewTokens,
    logProbabilities: body.logprobs === true,
    alternatives: body.top_logprobs ?? 0,
  })
}

/** @throws ApiProblem `model_not_found`, `invalid_value`; GradpromptError `context-exceeded` */
export function completionJob(backend: Backend, body: CompletionBody): Job {
  const { prompt } = body
  const several = typeof prompt === 'string' ? [prompt] : isIds(prompt) ? [prompt] : prompt
  const tokenizer = tokenizerOf(backend, body)
  const { frame } = modelNamed(backend, body.model)
  const prompts = several.map(one => {
    if (frame === undefined) return typeof one === 'string' ? tokenizer.encode(one) : one
    if (typeof one !== 'string')
      throw new ApiProblem(400, 'invalid_value', 'prompt: this model takes texts, which stand in a template, and no tokens', {
        param: 'prompt',
      })
    const { text, addSpecialTokens } = renderInput(backend.tokenizer, framed(one, frame, 'the request'))
    return tokenizer.encode(text, { addSpecialTokens })
  })
  for (const ids of several) {
    const outside = typeof ids === 'string' ? undefined : ids.find(id => id >= backend.vocabSize)
    if (outside !== undefined)
      throw new ApiProblem(400, 'invalid_value', `prompt: there is no token ${outside}`, { param: 'prompt' })
  }
  const wanted = body.max_tokens
  return job(backend, body, textFormat, prompts, {
    wanted,
    usual: usualCompletionTokens,
    logProbabilities: body.logprobs !== undefined,
    alternatives: body.logprobs ?? 0,
  })
}

const tokenizerOf = (backend: Backend, { model }: { readonly model: string }) =>
  modelNamed(backend, model).tokenizer ?? backend.tokenizer

const isIds = (prompt: Exclude<CompletionBody['prompt'], string>): prompt is number[] => typeof prompt[0] === 'number'

function job(
  backend: Backend,
  body: ChatBody | CompletionBody,
  format: ResponseFormat,
  prompts: readonly (readonly number[])[],
  { wanted, usual, ...scores }: { wanted: number | undefined; usual: number; logProbabilities: boolean; alternatives: number },
): Job {
  const model = modelNamed(backend, body.model)
  const samples = body.n ?? 1
  const settings = withEnds(settingsOf(body, { prompt: model.prompt, seed: randomInt(2 ** 31), ...scores }), model.ends)
  const room = { contextLength: backend.contextLength, numVirtualTokens: model.numVirtualTokens }
  const requests = prompts.flatMap((ids, i) => {
    const budget = tokenBudget('the prompt', ids.length, room, wanted, usual)
    return Array.from({ length: samples }, (_, j) => generationRequest(ids, budget, settings, i * samples + j))
  })
  const { stream = false, stream_options } = body
  return { model: model.id, format, requests, samples, stream, includeUsage: stream_options?.include_usage === true }
}

export function modelNamed({ models }: Backend, id: string): ServedModel {
  const found = models.find(model => model.id === id)
  if (found !== undefined) return found
  const names = models.map(model => model.id).join(', ')
  throw new ApiProblem(404, 'model_not_found', `there is no model ${JSON.stringify(id.slice(0, 200))} here, but ${names}`, {
    param: 'model',
  })
}

/**
 * Generates what a job asks for and replies, at once or as a stream of server-sent events.
 * @returns what was used; nothing when `signal` ended it before
 */
export async function answer(backend: Backend, job: Job, reply: Reply, signal: AbortSignal): Promise<Usage | undefined> {
  const { generator, tokenizer, fingerprint } = backend
  const { format, stream, includeUsage } = job
  const envelope: Envelope = {
    id: `${format.idPrefix}-${randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model: job.model,
    system_fingerprint: fingerprint,
  }
  const chunk = (choices: readonly object[], usage: Usage | null = null) =>
    reply.event({ ...envelope, object: format.chunkObject, choices, ...(includeUsage && { usage }) })

  // One that fails takes the others with it: there is one reply.
  const failed = new AbortController()
  const stopping = AbortSignal.any([signal, failed.signal])
  const generate = async (request: GenerationRequest, index: number): Promise<Generation> => {
    if (!stream) return generator.generate({ ...request, signal: stopping })
    let sent = ''
    const say = (text: string) => {
      if (text === '' || stopping.aborted) return
      if (sent === '') open()
      sent += text
      chunk([format.piece(index, text)])
    }
    const open = () => {
      const opening = format.opening(index)
      if (opening !== undefined) chunk([opening])
    }
    const generation = await generator.generate({ ...request, signal: stopping, onText: say })
    if (generation.finishReason === 'aborted' || stopping.aborted) return generation
    say(generation.text.slice(sent.length))
    if (sent === '') open()
    chunk([format.ending(index, generation, tokenizer)])
    return generation
  }
  const generations = await Promise.all(
    job.requests.map((request, index) =>
      generate(request, index).catch((error: unknown) => {
        failed.abort()
        throw error
      }),
    ),
  )
  if (signal.aborted) return undefined
  if (generations.some(({ finishReason }) => finishReason === 'aborted'))
    throw new ApiProblem(503, 'stopped', 'the generation was stopped')
  const usage = usageOf(generations, job.samples)
  if (stream) {
    if (includeUsage) chunk([], usage)
    reply.event('[DONE]')
  } else {
    const choices = generations.map((generation, index) => format.choice(index, generation, tokenizer))
    reply.json({ ...envelope, object: format.object, choices, usage })
  }
  return usage
}

function usageOf(generations: readonly Generation[], samples: number): Usage {
  const prompts = generations.filter((_, i) => i % samples === 0)
  const prompt_tokens = prompts.reduce((sum, { promptTokens }) => sum + promptTokens, 0)
  const completion_tokens = generations.reduce((sum, { ids }) => sum + ids.length, 0)
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}
