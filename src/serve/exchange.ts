import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { didYouMean } from '../errors.js'
import { answer, type Backend, chatJob, completionJob, type Job, type Reply, usualPending } from './completions.js'
import { isLoopback } from './loopback.js'
import { modelNamed, type ServedModel } from './models.js'
import { ApiProblem, problemOf } from './problem.js'
import { parseChat, parseCompletion, refuseManyValues } from './requests.js'
import type { Usage } from './responses.js'

/** One request and its response: who may ask, what is asked, what is answered. Sockets and ports are the server's. */

export interface ServerOptions extends Backend {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** With 0 the system chooses a free one. */
  readonly port: number
  /** What clients have to send as their API key; without one everybody on this machine may ask. */
  readonly token?: string | undefined
  /** Of a request, in bytes. Default 8 MiB. */
  readonly bodyLimit?: number
  /** Hears of each request when it has ended. */
  readonly onRequest?: (request: ServedRequest) => void
}

export interface ServedRequest {
  readonly method: string
  readonly path: string
  /** 499: the client hung up. */
  readonly status: number
  readonly seconds: number
  readonly model?: string
  readonly usage?: Usage
  /** What was taken for granted about what is asked; said once of each model. */
  readonly notice?: string
  /** What went wrong; where that is the client's mistake, what it was told. */
  readonly error?: string
}

/** What the exchanges of a server know of each other. */
export interface ServerState {
  stopping: boolean
  /** Generations under way. */
  pending: number
  /** What was said of each model, which is said in the log once. */
  readonly said: Set<string>
}

/** One request and its response. */
export class Exchange {
  readonly #path: string
  #usage: Usage | undefined
  #model: string | undefined
  #error: string | undefined
  #notice: string | undefined

  readonly #options: ServerOptions
  readonly #state: ServerState
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #controller: AbortController

  constructor(
    options: ServerOptions,
    state: ServerState,
    request: IncomingMessage,
    response: ServerResponse,
    controller: AbortController,
  ) {
    this.#options = options
    this.#state = state
    this.#request = request
    this.#response = response
    this.#controller = controller
    this.#path = withoutSlashes((request.url ?? '/').split('?', 1)[0]!)
  }

  /** Answers, whatever happens. */
  async run(): Promise<void> {
    const started = performance.now()
    const request = this.#request
    const response = this.#response
    const controller = this.#controller
    let hungUp = false
    response.on('error', () => {})
    response.on('close', () => {
      if (response.writableFinished) return
      hungUp = true
      controller.abort()
    })
    try {
      this.#checkClient()
      await this.#route()
      controller.signal.throwIfAborted()
    } catch (error) {
      // A connection that breaks while a body is read is seen here first.
      hungUp ||= request.destroyed && !request.complete
      if (!hungUp) this.#fail(controller.signal.aborted ? stopping() : error)
    }
    this.#options.onRequest?.({
      method: request.method ?? '',
      path: this.#path,
      status: hungUp ? 499 : response.statusCode,
      seconds: (performance.now() - started) / 1000,
      ...(this.#model !== undefined && { model: this.#model }),
      ...(this.#usage !== undefined && { usage: this.#usage }),
      ...(this.#notice !== undefined && { notice: this.#notice }),
      ...(this.#error !== undefined && { error: this.#error }),
    })
  }

  /** Refuses pages of a browser, which can reach a loopback address but neither know the token nor choose these headers. */
  #checkClient(): void {
    const { host = '127.0.0.1', token } = this.#options
    const { headers } = this.#request
    if (this.#state.stopping)
      throw new ApiProblem(503, 'stopping', 'the server is stopping', { headers: { connection: 'close' } })
    const names = this.#request.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
    if (names.length > 1)
      throw new ApiProblem(400, 'several_hosts', 'the request names several hosts: send one Host header', {
        headers: { connection: 'close' },
      })
    const asked = (headers.host ?? '').replace(/:\d+$/, '').toLowerCase()
    if (isLoopback(host) && asked !== host.toLowerCase() && !isLoopback(asked))
      throw new ApiProblem(403, 'forbidden_host', 'this server answers to names of this machine only')
    if (token === undefined) return
    const given = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1]
    if (given !== undefined && timingSafeEqual(digest(given), digest(token))) return
    const what = given === undefined ? 'there is no API key' : 'the API key is wrong'
    throw new ApiProblem(
      401,
      'invalid_api_key',
      `${what}: send the token that was printed at the start as "Authorization: Bearer …"`,
      {
        headers: { 'www-authenticate': 'Bearer' },
      },
    )
  }

  async #route(): Promise<void> {
    const path = this.#path
    if (path === '/v1/models') return this.#models()
    if (path.startsWith('/v1/models/')) return this.#modelInfo(path.slice('/v1/models/'.length))
    if (path === '/v1/chat/completions') return this.#generate(body => chatJob(this.#options, parseChat(body)))
    if (path === '/v1/completions') return this.#generate(body => completionJob(this.#options, parseCompletion(body)))
    const known = ['/v1/chat/completions', '/v1/completions', '/v1/models']
    const hint = didYouMean(path, known)
    throw new ApiProblem(
      404,
      'unknown_url',
      `there is nothing at ${path.slice(0, 200)}, but ${known.join(', ')}${hint === undefined ? '' : `; ${hint}`}`,
    )
  }

  #models(): void {
    this.#requireMethod('GET')
    this.#json({ object: 'list', data: this.#options.models.map(model => describeModel(model, this.#options.weights)) })
  }

  #modelInfo(name: string): void {
    this.#requireMethod('GET')
    let id = name
    try {
      id = decodeURIComponent(name)
    } catch {
      // Then no model is called so.
    }
    this.#json(describeModel(modelNamed(this.#options.models, id), this.#options.weights))
  }

  async #generate(jobOf: (body: unknown) => Promise<Job>): Promise<void> {
    this.#requireMethod('POST')
    const state = this.#state
    const options = this.#options
    const response = this.#response
    const controller = this.#controller
    const job = await jobOf(await this.#body())
    controller.signal.throwIfAborted()
    this.#model = job.model
    if (job.notice !== undefined) this.#announce(job.model, job.notice)
    const { mostPending = usualPending } = options
    if (state.pending + job.requests.length > mostPending) {
      throw new ApiProblem(
        429,
        'too_many_requests',
        `there are ${state.pending} answers under way; at most ${mostPending} can be`,
        {
          headers: { 'retry-after': '1' },
        },
      )
    }
    const reply: Reply = { json: value => this.#json(value), event: value => this.#event(value) }
    state.pending += job.requests.length
    try {
      this.#usage = await answer(options, job, reply, controller.signal)
    } finally {
      state.pending -= job.requests.length
    }
    if (job.stream && !controller.signal.aborted) response.end()
  }

  /** Every response that it is true of says so; the log hears it once. */
  #announce(model: string, notice: string): void {
    // A header carries no other characters.
    this.#response.setHeader('x-gradprompt-notice', notice.replaceAll(/[^\x20-\x7e]/g, '?'))
    const key = `${model} ${notice}`
    if (this.#state.said.has(key)) return
    this.#state.said.add(key)
    this.#notice = notice
  }

  #requireMethod(method: 'GET' | 'POST'): void {
    if (this.#request.method === method) return
    throw new ApiProblem(405, 'method_not_allowed', `${this.#path} takes ${method}`, { headers: { allow: method } })
  }

  async #body(): Promise<unknown> {
    const request = this.#request
    // A page of a browser may send other types without asking first.
    if (!/^application\/json\b/i.test(request.headers['content-type'] ?? ''))
      throw new ApiProblem(415, 'unsupported_media_type', 'the body must be JSON: send "Content-Type: application/json"')
    const { bodyLimit = 8 * 2 ** 20 } = this.#options
    const chunks: Buffer[] = []
    let size = Number(request.headers['content-length'] ?? 0)
    const check = () => {
      if (size > bodyLimit) throw new ApiProblem(413, 'body_too_large', `the body must have at most ${bodyLimit} bytes`)
    }
    check()
    size = 0
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.length
      check()
      chunks.push(chunk)
    }
    const body = Buffer.concat(chunks)
    refuseManyValues(body)
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new ApiProblem(400, 'invalid_json', `the body is not JSON: ${message.slice(0, 200)}`)
    }
  }

  #json(value: object, status = 200, headers: Readonly<Record<string, string>> = {}): void {
    const body = JSON.stringify(value)
    this.#response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      ...(this.#state.stopping && { connection: 'close' }),
      ...headers,
    })
    this.#response.end(body)
  }

  #event(value: object | '[DONE]'): void {
    const response = this.#response
    if (!response.headersSent) {
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        ...(this.#state.stopping && { connection: 'close' }),
      })
    }
    response.write(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`)
  }

  #fail(error: unknown): void {
    const request = this.#request
    const response = this.#response
    const problem = problemOf(error)
    // Of a client's mistake what it is told; of any other more than that.
    const reason = problem.status < 500 ? problem.message : error instanceof Error ? error.message : String(error)
    this.#error = reason.replaceAll(/\s+/g, ' ').slice(0, longestReason)
    if (response.writableEnded) return
    if (response.headersSent) {
      this.#event(problem.toJSON())
      response.end()
      return
    }
    this.#json(problem.toJSON(), problem.status, problem.headers)
    discard(request)
  }
}

/** Characters of a line of the log. */
const longestReason = 500

/** Reads on for a while: a client that is still sending may not look for the answer before it has ended. */
function discard(request: IncomingMessage): void {
  let left = 2 ** 26
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) request.destroy()
  })
}

/** A path without the slashes at its end, in time that grows with its length alone. */
function withoutSlashes(path: string): string {
  let end = path.length
  while (end > 1 && path[end - 1] === '/') end--
  return path.slice(0, end)
}

const stopping = () => new ApiProblem(503, 'stopping', 'the server is stopping')

const digest = (text: string) => createHash('sha256').update(text).digest()

const started = Math.floor(Date.now() / 1000)

const describeModel = ({ id }: ServedModel, weights: string) => ({
  ...{ id, object: 'model', created: started, owned_by: 'gradprompt' },
  weights,
})
