import { createServer, type IncomingMessage, type ServerOptions, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GradpromptError } from '../../errors.js'
import { isLoopback } from '../../serve/loopback.js'
import { cookieName, refuseStrangers, safeHeaders } from './guard.js'

/** A server for the browser of this machine alone: where it listens, who may ask, and how the token comes into a cookie. It knows no page. */

export interface LoopbackAddress {
  readonly host: string
  /** With 0 the system chooses. */
  readonly port: number
  readonly token: string
}

export interface LoopbackAnswers {
  /** What it throws goes to `fail`. */
  answer(request: IncomingMessage, url: URL, response: ServerResponse): Promise<void>
  fail(error: unknown, response: ServerResponse): void
}

export interface LoopbackServer {
  readonly port: number
  /** The address with the token in it. */
  readonly url: string
  /** Takes no more requests. @param ending is waited for before those that are under way are cut off */
  close(ending?: () => Promise<void>): Promise<void>
}

/** @throws GradpromptError `invalid-option`, `port-in-use`, `cannot-listen` */
export async function listenOnLoopback(
  { host, port, token }: LoopbackAddress,
  { answer, fail }: LoopbackAnswers,
  options: ServerOptions = {},
): Promise<LoopbackServer> {
  if (!isLoopback(host))
    throw new GradpromptError('invalid-option', 'the page is for this machine alone', {
      found: `--host ${host}`,
      expected: '127.0.0.1, ::1 or localhost',
      hint: `from another machine: ssh -L ${port}:127.0.0.1:${port} THIS-MACHINE`,
    })
  const server = createServer(options, (request, response) => {
    response.on('error', () => {})
    for (const [name, value] of Object.entries(safeHeaders)) response.setHeader(name, value)
    void (async () => {
      try {
        const url = new URL(request.url ?? '/', 'http://localhost')
        refuseStrangers(request, url, { host, port: bound(), token })
        if (!url.searchParams.has('token')) return await answer(request, url, response)
        url.searchParams.delete('token')
        const cookie = `${cookieName(bound())}=${token}; HttpOnly; SameSite=Strict; Path=/`
        response.writeHead(303, { 'set-cookie': cookie, location: url.pathname + url.search }).end()
      } catch (error) {
        fail(error, response)
      }
    })()
  })
  const bound = () => (server.address() as AddressInfo).port
  server.maxConnections = 256
  const bare = host.replace(/^\[|\]$/g, '')
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE'
          ? new GradpromptError('port-in-use', `another program listens on port ${port}`, {
              found: `${host}:${port}`,
              hint: 'choose another with --port; 0 takes any that is free',
              cause,
            })
          : new GradpromptError('cannot-listen', `cannot listen on ${host}:${port}`, { found: cause.message, cause }),
      ),
    )
    server.listen(port, bare, resolve)
  })
  return {
    port: bound(),
    url: `http://${bare.includes(':') ? `[${bare}]` : bare}:${bound()}/?token=${token}`,
    async close(ending) {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      await ending?.()
      server.closeAllConnections()
      await closed
    },
  }
}
