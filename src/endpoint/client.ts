import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { GradpromptError, refuseAborted } from '../errors.js'
import { retryAfter } from '../hub/client.js'
import { type Call, type CallJournal, readCalls } from './journal.js'
import type { EndpointOptions } from './options.js'

/**
 * A model behind an OpenAI-compatible endpoint: one answer to a chat, again after a wait where the endpoint is busy, silent or broken, never twice
 * for the same request. It knows nothing of what it is asked for.
 */

export interface ChatRequest {
  readonly messages: readonly { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[]
  readonly temperature: number
  readonly maxTokens: number
  readonly seed: number
}

export interface EndpointContext {
  /** By which calls are accounted for. */
  readonly role: string
  readonly journal: CallJournal
  readonly signal?: AbortSignal | undefined
  /** Asked before a request is sent: what it costs at most. It throws where that is not to be spent. */
  readonly allow?: ((most: { readonly calls: number; readonly cost: number }) => void) | undefined
  readonly warn?: ((code: string, message: string) => void) | undefined
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** Seconds of the first wait, which doubles. */
  readonly wait?: number
}

const LONGEST_WAIT = 120
const MOST_BYTES = 8e6
/** Characters of a token, at least: of what a request costs at most. */
const CHARACTERS = 2

export class Endpoint {
  readonly #options: EndpointOptions
  readonly #context: EndpointContext
  readonly #key: string | undefined
  readonly #replay: ReadonlyMap<string, Call> | undefined
  readonly #models = new Set<string>()
  /** Requests under way, by their hash: two that are alike are one. */
  readonly #open = new Map<string, Promise<Call>>()
  #nextSlot = 0
  /** Of requests under way. */
  #reserved = { calls: 0, cost: 0 }

  /** @throws GradpromptError `endpoint-key-missing`, `file-not-found` */
  constructor(options: EndpointOptions, context: EndpointContext) {
    this.#options = options
    this.#context = context
    const { key, replay } = options
    if (replay !== undefined) {
      if (!existsSync(replay))
        throw new GradpromptError('file-not-found', `${replay} is not there`, {
          found: 'nothing',
          expected: 'calls.jsonl of a run',
          hint: 'leave replay out, and requests are sent',
        })
      this.#replay = new Map(readCalls(replay).map(call => [call.request, call]))
    } else if (key !== undefined) this.#key = keyOf(key, context.environment ?? process.env)
  }

  /**
   * The answer to a chat: from the journal where it stands there.
   * @throws GradpromptError `endpoint-refused`, `endpoint-busy`, `endpoint-unreachable`, `endpoint-bad-reply`, `replay-missing`, `aborted`; what
   *   `allow` throws
   */
  async chat(request: ChatRequest): Promise<Call> {
    const body = this.#bodyOf(request)
    const hash = createHash('sha256').update(body).digest('hex')
    const known = this.#context.journal.find(hash)
    if (known !== undefined) return known
    if (this.#replay !== undefined) return this.#replayed(hash)
    const open = this.#open.get(hash) ?? this.#asked(hash, body, request)
    this.#open.set(hash, open)
    return open.finally(() => this.#open.delete(hash))
  }

  #replayed(hash: string): Call {
    const call = this.#replay!.get(hash)
    if (call === undefined)
      throw new GradpromptError('replay-missing', `${this.#options.replay} has no answer to a request`, {
        found: `a request with the hash ${hash.slice(0, 12)}…`,
        expected: 'the requests of the recorded run: the same config, seed and data',
        hint: 'leave replay out, and requests are sent',
      })
    const own = { ...call, role: this.#context.role }
    this.#context.journal.add(own)
    return own
  }

  async #asked(hash: string, body: string, { maxTokens }: ChatRequest): Promise<Call> {
    const { role, journal, allow } = this.#context
    const cost = this.#costOf(body.length / CHARACTERS, maxTokens)
    allow?.({ calls: this.#reserved.calls + 1, cost: this.#reserved.cost + cost })
    this.#reserved.calls++
    this.#reserved.cost += cost
    try {
      const { tries, ...reply } = await this.#send(body)
      const { promptTokens, generatedTokens } = reply
      const call = { request: hash, role, ...reply, cost: this.#costOf(promptTokens, generatedTokens), tries }
      journal.add(call)
      this.#noticeModel(call.model)
      return call
    } finally {
      this.#reserved.calls--
      this.#reserved.cost -= cost
    }
  }

  #costOf(input: number, output: number): number {
    const { price } = this.#options
    return price === undefined ? 0 : (input * price.input + output * price.output) / 1e6
  }

  #noticeModel(model: string): void {
    if (model === '' || this.#models.has(model)) return
    this.#models.add(model)
    if (this.#models.size > 1)
      this.#context.warn?.(
        'endpoint-model-changed',
        `${this.#options.url} answers with ${model} now, and answered with ${[...this.#models][0]} before: figures of the two are not comparable`,
      )
  }

  #bodyOf({ messages, temperature, maxTokens, seed }: ChatRequest): string {
    const { model, parameters } = this.#options
    const fields = { model, messages, temperature, max_tokens: maxTokens, seed, ...parameters }
    return JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)))
  }

  async #send(body: string): Promise<Reply & { tries: number }> {
    const { tries } = this.#options
    const { signal, wait = 1 } = this.#context
    for (let attempt = 1; ; attempt++) {
      await this.#slot()
      const outcome = await this.#once(body)
      if ('text' in outcome) return { ...outcome, tries: attempt }
      if (!outcome.again || attempt >= tries) throw outcome.error
      // Many clients that failed together do not come again together.
      const seconds = outcome.seconds ?? wait * 2 ** (attempt - 1) * (0.75 + Math.random() / 2)
      if (seconds > LONGEST_WAIT) throw outcome.error
      await delay(seconds * 1000, undefined, { signal }).catch(() => refuseAborted(signal))
    }
  }

  /** Waits for a request's turn. */
  async #slot(): Promise<void> {
    const { requestsPerMinute } = this.#options
    const { signal } = this.#context
    refuseAborted(signal)
    if (requestsPerMinute === undefined) return
    const now = performance.now()
    const own = Math.max(now, this.#nextSlot)
    this.#nextSlot = own + 60_000 / requestsPerMinute
    await delay(own - now, undefined, { signal }).catch(() => refuseAborted(signal))
  }

  async #once(body: string): Promise<Reply | Failure> {
    const { url, timeout } = this.#options
    const { signal } = this.#context
    const silence = AbortSignal.timeout(timeout * 1000)
    try {
      const response = await fetch(`${url.replace(/\/+$/, '')}/chat/completions`, {
        method: 'POST',
        // A key is for this address and no other.
        redirect: 'manual',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'gradprompt',
          ...(this.#key !== undefined && { authorization: `Bearer ${this.#key}` }),
        },
        body,
        signal: signal === undefined ? silence : AbortSignal.any([silence, signal]),
      })
      const text = await bounded(response)
      if (response.status === 200) return this.#read(text)
      return this.#refusal(response, text)
    } catch (cause) {
      refuseAborted(signal)
      if (cause instanceof GradpromptError) return { again: false, error: cause }
      const { code, message } = ((cause as { cause?: unknown }).cause ?? cause) as { code?: unknown; message?: unknown }
      const found = silence.aborted ? `no answer in ${timeout} s` : String(code ?? message ?? cause)
      return {
        again: true,
        error: this.#problem('endpoint-unreachable', 'cannot be reached', found, 'check url, or raise timeout'),
      }
    }
  }

  #read(text: string): Reply | Failure {
    let reply: ChatReply | null
    try {
      reply = JSON.parse(text) as ChatReply | null
    } catch {
      return this.#badReply(/^\s*</.test(text) ? 'a page of HTML' : 'a text that is no JSON', text)
    }
    const choice = reply?.choices?.[0]
    const said = choice?.message?.content
    if (typeof said !== 'string' || said.trim() === '') return this.#badReply('no text in choices[0].message.content', text)
    const tokens = (given: unknown, characters: number) =>
      typeof given === 'number' && given >= 0 && Number.isFinite(given) ? given : Math.ceil(characters / 4)
    return {
      text: said,
      model: typeof reply?.model === 'string' ? reply.model : '',
      finishReason: String(choice?.finish_reason ?? ''),
      promptTokens: tokens(reply?.usage?.prompt_tokens, 0),
      generatedTokens: tokens(reply?.usage?.completion_tokens, said.length),
    }
  }

  #badReply(what: string, text: string): Failure {
    const hint =
      'check that url is the base of an OpenAI-compatible API; a model that thinks first may need more tokens (parameters)'
    const error = this.#problem(
      'endpoint-bad-reply',
      'answers with nothing that can be read',
      `${what}: ${text.slice(0, 200)}`,
      hint,
    )
    return { again: true, error }
  }

  #refusal({ status, headers }: Response, text: string): Failure {
    const found = `${status}: ${text.slice(0, 300)}`
    const again = status === 408 || status === 409 || status === 429 || status >= 500
    if (!again) {
      const hint =
        status === 401 || status === 403
          ? 'check the environment variable that key names'
          : status === 404
            ? 'check url and model'
            : 'what the endpoint does not take can be left out: parameters: { seed: null }'
      return { again, error: this.#problem('endpoint-refused', 'refuses a request', found, hint) }
    }
    const seconds = retryAfter(headers.get('retry-after'))
    const error = this.#problem(
      'endpoint-busy',
      'is busy, or broken',
      found,
      'lower requestsPerMinute, or resume later: what was answered is kept',
    )
    return { again, error, ...(seconds !== undefined && { seconds }) }
  }

  /** Nothing of an error tells the key, also where the endpoint repeats it. */
  #problem(code: string, what: string, found: string, hint: string): GradpromptError {
    const { url, model } = this.#options
    const safe = this.#key === undefined ? found : found.replaceAll(this.#key, '…')
    return new GradpromptError(code, `${url} ${what}`, {
      found: safe.replaceAll(/\s+/g, ' '),
      expected: `an answer of ${model}`,
      hint,
      exitCode: 1,
    })
  }
}

type Reply = Pick<Call, 'text' | 'model' | 'finishReason' | 'promptTokens' | 'generatedTokens'>

interface Failure {
  readonly again: boolean
  readonly error: GradpromptError
  readonly seconds?: number
}

interface ChatReply {
  readonly model?: unknown
  readonly choices?: readonly { readonly message?: { readonly content?: unknown }; readonly finish_reason?: unknown }[]
  readonly usage?: { readonly prompt_tokens?: unknown; readonly completion_tokens?: unknown }
}

function keyOf(name: string, environment: Readonly<Record<string, string | undefined>>): string {
  const key = environment[name]?.trim()
  if (key !== undefined && key !== '') return key
  throw new GradpromptError('endpoint-key-missing', `the environment has no ${name}`, {
    found: 'nothing, or an empty text',
    expected: 'the key of the endpoint',
    hint: `export ${name}=… in the shell, never in the config`,
  })
}

/** The text of a response, at most so long. */
async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += (part as Uint8Array).length
    if (size > MOST_BYTES) break
    parts.push(part as Uint8Array)
  }
  return Buffer.concat(parts).toString('utf8')
}
