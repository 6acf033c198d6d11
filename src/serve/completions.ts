import { randomInt, randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { framed, noFrame } from '../generate/framing.js'
import { type GenerationInput, renderInput, wholeInput } from '../generate/input.js'
import { limitsOf } from '../generate/limits/asked.js'
import type { WrittenChoice } from '../generate/limits/choices.js'
import type { Generation, GenerationRequest, Generator } from '../generate/request.js'
import { generationRequest, requestFor, withEnds } from '../generate/settings.js'
import { contrastIn, modelNamed, type ServedModel } from './models.js'
import { ApiProblem } from './problem.js'
import { type ChatBody, type CompletionBody, guidedIn, settingsOf } from './requests.js'
import { chatFormat, type Envelope, type ResponseFormat, textFormat, type Usage } from './responses.js'
import { longText, type TokenizingThread } from './tokenizing.js'

/** What answers requests. */
export interface Backend {
  readonly generator: Generator
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'applyChatTemplate' | 'token' | 'tokenBytes' | 'longestToken'>
  /** Tokenises what is long without holding up the others; by default `tokenizer` does. */
  readonly encodeLong?: TokenizingThread['encode']
  readonly contextLength: number
  readonly vocabSize: number
  readonly models: readonly ServedModel[]
  /** The arithmetic: `fp32` is exact. */
  readonly weights: string
  /** Tells apart answers of other weights or versions. */
  readonly fingerprint: string
  /** Of a chat request that does not say how many; a completion has 16, as in the API. */
  readonly maxNewTokens: number
  /** Answers that are computed or wait for it, more are refused. Default 512. */
  readonly mostPending?: number
}

export const usualPending = 512

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
  /** What was taken for granted about what is asked. */
  readonly notice?: string | undefined
}

const usualCompletionTokens = 16

/** @throws ApiProblem `model_not_found`; GradpromptError as the chat template does, `context-exceeded` */
export async function chatJob(backend: Backend, body: ChatBody): Promise<Job> {
  refuseUnanswerable(backend, body.n ?? 1)
  refuseTooLong(
    backend,
    body.messages.map(({ content }) => content.length),
  )
  const messages = body.messages.map(({ role, ...fields }) => ({ ...fields, role: role === 'developer' ? 'system' : role }))
  const { enable_thinking, reasoning_effort, chat_template_kwargs } = body
  const variables = {
    ...(enable_thinking !== undefined && { enable_thinking }),
    ...(reasoning_effort !== undefined && { reasoning_effort }),
    ...chat_template_kwargs,
  }
  const { frame } = modelNamed(backend.models, body.model)
  const notices: string[] = []
  const announce = ({ message }: { readonly message: string }) => notices.push(message)
  const input = frame === undefined ? { messages, variables } : framed({ messages }, frame, 'the request', announce)
  const { text, addSpecialTokens } = renderInput(backend.tokenizer, input, { variables })
  const ids = await encoded(backend, body, text, addSpecialTokens)
  const wanted = body.max_completion_tokens ?? body.max_tokens
  return job(backend, body, chatFormat, [{ text, ids, input: wholeInput(input, { variables }) }], {
    wanted,
    usual: backend.maxNewTokens,
    logProbabilities: body.logprobs === true,
    alternatives: body.top_logprobs ?? 0,
    notice: notices[0],
  })
}

/** @throws ApiProblem `model_not_found`, `invalid_value`; GradpromptError `context-exceeded` */
export async function completionJob(backend: Backend, body: CompletionBody): Promise<Job> {
  const several = askedIn(body)
  refuseUnanswerable(backend, several.length * (body.n ?? 1))
  for (const one of several) if (typeof one === 'string') refuseTooLong(backend, [one.length])
  const { frame } = modelNamed(backend.models, body.model)
  const notices: string[] = []
  const announce = ({ message }: { readonly message: string }) => notices.push(message)
  const asked = async (one: Asked): Promise<AskedText> => {
    if (Array.isArray(one)) {
      if (frame?.always !== true) return { text: '', ids: one }
      throw new ApiProblem(400, 'invalid_value', 'prompt: this model takes texts, which stand in a template, and no tokens', {
        param: 'prompt',
      })
    }
    if (frame !== undefined) {
      const input = framed(one, frame, 'the request', announce)
      const { text, addSpecialTokens } = renderInput(backend.tokenizer, input)
      refuseTooLong(backend, [text.length])
      return { text, ids: await encoded(backend, body, text, addSpecialTokens), input }
    }
    if (typeof one === 'string') return { text: one, ids: await encoded(backend, body, one), input: { prompt: one } }
    throw new ApiProblem(400, 'invalid_value', 'columns: this model has no template for them', { param: 'columns' })
  }
  const prompts: AskedText[] = []
  for (const one of several) prompts.push(await asked(one))
  for (const ids of several) {
    const outside = Array.isArray(ids) ? ids.find(id => id >= backend.vocabSize) : undefined
    if (outside !== undefined)
      throw new ApiProblem(400, 'invalid_value', `prompt: there is no token ${outside}`, { param: 'prompt' })
  }
  const wanted = body.max_tokens
  return job(backend, body, textFormat, prompts, {
    wanted,
    usual: usualCompletionTokens,
    logProbabilities: body.logprobs !== undefined,
    alternatives: body.logprobs ?? 0,
    notice: notices[0],
  })
}

/** What a long text is tokenised by holds up nobody else, where the model reads it as the backend does. */
async function encoded(
  backend: Backend,
  { model }: { readonly model: string },
  text: string,
  addSpecialTokens = true,
): Promise<readonly number[]> {
  const { tokenizer = backend.tokenizer } = modelNamed(backend.models, model)
  if (text.length < longText || tokenizer !== backend.tokenizer || backend.encodeLong === undefined)
    return tokenizer.encode(text, { addSpecialTokens })
  return backend.encodeLong(text, { addSpecialTokens })
}

/** Characters that tokens are reckoned to have at least, where a vocabulary has none that is longer. */
const fewCharacters = 16

/**
 * What cannot fit is refused by its length alone, before it is tokenised: no token has more characters than the longest.
 * @throws GradpromptError `context-exceeded`
 */
function refuseTooLong({ tokenizer, contextLength }: Backend, lengths: readonly number[]): void {
  const length = lengths.reduce((a, b) => a + b, 0)
  const most = contextLength * Math.max(fewCharacters, tokenizer.longestToken)
  if (length <= most) return
  throw new GradpromptError('context-exceeded', "the prompt does not fit into the model's context", {
    found: `${length} characters`,
    expected: `at most ${contextLength} tokens, which have no more than ${most} characters`,
    hint: 'shorten the prompt',
  })
}

/** @throws ApiProblem `invalid_value` for more answers than there is ever room for */
function refuseUnanswerable({ mostPending = usualPending }: Backend, answers: number): void {
  if (answers <= mostPending) return
  const text = `n: ${answers} answers to one request; this server computes at most ${mostPending} at a time`
  throw new ApiProblem(400, 'invalid_value', text, { param: 'n' })
}

/** A text, token ids, or columns of a template. */
type Asked = string | number[] | Readonly<Record<string, unknown>>

function askedIn({ prompt, columns }: CompletionBody): readonly Asked[] {
  if (columns !== undefined) return Array.isArray(columns) ? columns : [columns]
  if (prompt === undefined) return []
  return typeof prompt === 'string' ? [prompt] : isIds(prompt) ? [prompt] : prompt
}

/** What the model goes on with; of tokens that were given the text is not known. */
interface AskedText {
  readonly text: string
  readonly ids: readonly number[]
  readonly input?: GenerationInput
}

const isIds = (prompt: Exclude<CompletionBody['prompt'], string | undefined>): prompt is number[] => typeof prompt[0] === 'number'

async function job(
  backend: Backend,
  body: ChatBody | CompletionBody,
  format: ResponseFormat,
  prompts: readonly AskedText[],
  {
    wanted,
    usual,
    notice,
    ...scores
  }: {
    wanted: number | undefined
    usual: number
    notice: string | undefined
    logProbabilities: boolean
    alternatives: number
  },
): Promise<Job> {
  const model = modelNamed(backend.models, body.model)
  const samples = body.n ?? 1
  const isRun = model.prompt !== undefined || model.frame !== undefined
  const own = settingsOf(body, { prompt: model.prompt, isRun, seed: randomInt(2 ** 31), ...scores })
  const settings = withEnds({ ...own, contrast: contrastIn(backend.models, body) }, model.ends)
  const room = { contextLength: backend.contextLength, numVirtualTokens: model.numVirtualTokens }
  const notices = notice === undefined ? [] : [notice]
  // Tokens that were given go on as they are, and stand in no template.
  const isFramed = prompts.every(({ text }) => text !== '')
  const limits = limitsOf(guidedIn(body), model.frame ?? noFrame, isFramed ? model.labels : undefined, ({ message }) =>
    notices.push(message),
  )
  const { choices } = limits
  const asked = { origin: 'the prompt', tokenizer: model.tokenizer ?? backend.tokenizer, room, limits }
  if (choices !== undefined) refuseTooManyChoices(choices, prompts.length)
  const requests: GenerationRequest[] = []
  for (const [i, { text, ids, input }] of prompts.entries()) {
    const asks = requestFor(asked, text, ids, { settings, maxNewTokens: wanted, usual })
    const first = { ...asks, ...(input && { asked: input }) }
    for (let j = 0; j < samples; j++)
      requests.push({ ...first, ...generationRequest(first.ids, first.maxNewTokens, settings, i * samples + j) })
    // Choices are tokenised behind each prompt: others have their turn in between.
    if (choices !== undefined) await setImmediate()
  }
  const { stream = false, stream_options } = body
  return {
    model: model.id,
    format,
    requests,
    samples,
    stream,
    includeUsage: stream_options?.include_usage === true,
    notice: notices.join('; ') || undefined,
  }
}

/** Characters of choices behind one prompt, which nobody else is served between: some tenths of a second. */
const mostChoiceCharacters = 2 ** 18
/** The same over all prompts of a request. */
const mostInAll = 2 ** 20
/** What a short choice costs besides. */
const charactersOfChoice = 64

/** @throws ApiProblem `invalid_value` for choices that it would take too long to tokenise behind so many prompts */
function refuseTooManyChoices(choices: readonly WrittenChoice[], prompts: number): void {
  const each = choices.reduce((sum, { written }) => sum + charactersOfChoice + written.length, 0)
  if (each <= mostChoiceCharacters && each * prompts <= mostInAll) return
  const found = `${choices.length} choices behind ${prompts === 1 ? 'a prompt' : `${prompts} prompts`}`
  const text = `guided_choice: ${found} are too much for one request: ask for fewer or shorter ones, or for fewer prompts at a time`
  throw new ApiProblem(400, 'invalid_value', text, { param: 'guided_choice' })
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
  const completion_tokens = generations.reduce((sum, { ids, severally }) => sum + (severally?.tokens ?? ids.length), 0)
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}
