import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { GradpromptError } from '../errors.js'
import { Exchange, type ServerOptions } from './exchange.js'

export type { ServedRequest, ServerOptions } from './exchange.js'

const mostConnections = 1024
/** Above this, connections on which nothing is asked make room for others. */
const connectionsThatStay = 768

export interface RunningServer {
  readonly port: number
  /** The base URL for clients: `http://127.0.0.1:8080/v1`. */
  readonly url: string
  /** Requests that are being answered. */
  readonly active: number
  /** Takes no more requests, gives those under way some time to end, then ends them. */
  stop(options?: { readonly graceSeconds?: number }): Promise<void>
  /** Stops at once. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Serves models over HTTP as OpenAI's API does: `POST /v1/chat/completions` and `/v1/completions`, both also as a stream,
 * `GET /v1/models`. A client that hangs up ends its generations.
 * @throws GradpromptError `port-in-use`, `cannot-listen`
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', port } = options
  const active = new Map<Promise<void>, AbortController>()
  const state = { stopping: false, pending: 0, said: new Set<string>() }
  const server = createServer({ requestTimeout: 60_000, headersTimeout: 20_000, keepAliveTimeout: 5000 }, (request, response) => {
    const controller = new AbortController()
    const running = new Exchange(options, state, request, response, controller).run().finally(() => active.delete(running))
    active.set(running, controller)
  })
  server.maxConnections = mostConnections
  makeRoom(server, connectionsThatStay)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(cannotListen(host, port, cause)))
    server.listen(port, host, resolve)
  })
  const bound = (server.address() as AddressInfo).port
  const running: RunningServer = {
    port: bound,
    url: `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${bound}/v1`,
    get active() {
      return active.size
    },
    async stop({ graceSeconds = 0 } = {}) {
      state.stopping = true
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeIdleConnections()
      const timer = new AbortController()
      const timeout = setTimeout(graceSeconds * 1000, undefined, { signal: timer.signal }).catch(() => {})
      await Promise.race([Promise.all(active.keys()), timeout])
      timer.abort()
      for (const controller of active.values()) controller.abort()
      // Generations end at their next step; a body that is still on its way never does.
      await Promise.race([Promise.all(active.keys()), setTimeout(1000)])
      server.closeAllConnections()
      await Promise.all(active.keys())
      await closed
    },
    async [Symbol.asyncDispose]() {
      await running.stop()
    },
  }
  return running
}

/**
 * Connections that nobody answers on are closed, the oldest first, when there are more than so many: whoever opens them and sends nothing
 * keeps nobody else out.
 */
function makeRoom(server: Server, most: number): void {
  const answered = new WeakMap<Socket, number>()
  const open = new Set<Socket>()
  server.on('request', ({ socket }, response) => {
    answered.set(socket, (answered.get(socket) ?? 0) + 1)
    response.once('close', () => answered.set(socket, answered.get(socket)! - 1))
  })
  server.on('connection', socket => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    for (const idle of open) {
      if (open.size <= most) break
      if (idle === socket || (answered.get(idle) ?? 0) > 0) continue
      open.delete(idle)
      idle.destroy()
    }
  })
}

function cannotListen(host: string, port: number, cause: NodeJS.ErrnoException): GradpromptError {
  if (cause.code === 'EADDRINUSE') {
    return new GradpromptError('port-in-use', `another program listens on port ${port}`, {
      found: `${host}:${port}`,
      hint: 'choose another with --port; 0 takes any that is free',
      cause,
    })
  }
  return new GradpromptError('cannot-listen', `cannot listen on ${host}:${port}`, { found: cause.message, cause })
}
