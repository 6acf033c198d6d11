import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GradpromptError } from '../errors.js'
import { isLoopback } from '../serve/loopback.js'
import type { Asked } from './parts/asked.js'
import { cookieName, Refusal, refuseStrangers, safeHeaders } from './parts/guard.js'
import { type CommandLine, Jobs } from './parts/jobs.js'
import { Live } from './parts/live.js'
import { Overview } from './parts/overview.js'
import { Places } from './parts/places.js'
import { Speaker } from './parts/speaker.js'
import { answerTo } from './routes.js'

/** A page on this machine over the runs and sweeps of a folder: the server of `gradprompt ui`. */

export interface UiOptions {
  /** In which runs/ and sweeps/ are; commands work there. */
  readonly folder: string
  /** An address of this machine alone. */
  readonly host: string
  readonly port: number
  readonly token: string
  /** How a command is started. */
  readonly commandLine: CommandLine
  /** Hears of what went wrong here, and not with a request. */
  readonly onError?: ((error: unknown) => void) | undefined
}

export interface Ui extends AsyncDisposable {
  readonly port: number
  /** The address with the token in it. */
  readonly url: string
  /** Ends the page, and what it has started. */
  stop(): Promise<void>
}

/** @throws GradpromptError `invalid-option`, `file-not-found`, `port-in-use`, `cannot-listen` */
export async function startUi({ folder, host, port, token, commandLine, onError }: UiOptions): Promise<Ui> {
  if (!isLoopback(host))
    throw new GradpromptError('invalid-option', 'the page is for this machine alone', {
      found: `--host ${host}`,
      expected: '127.0.0.1, ::1 or localhost',
      hint: 'from another machine: ssh -L 8090:127.0.0.1:8090 THIS-MACHINE',
    })
  const places = new Places(folder)
  await places.check()
  const overview = new Overview(places)
  const live = new Live(places, overview)
  const jobs = new Jobs(commandLine, places.root)
  const speaker = new Speaker(commandLine, places.root)
  const parts = { places, overview, live, jobs, speaker }
  const server = createServer(
    { requestTimeout: 300_000, headersTimeout: 20_000, keepAliveTimeout: 5000 },
    (request, response) => {
      response.on('error', () => {})
      for (const [name, value] of Object.entries(safeHeaders)) response.setHeader(name, value)
      void (async () => {
        try {
          const url = new URL(request.url ?? '/', 'http://localhost')
          refuseStrangers(request, url, { host, port: bound(), token })
          if (url.searchParams.has('token')) {
            url.searchParams.delete('token')
            const cookie = `${cookieName(bound())}=${token}; HttpOnly; SameSite=Strict; Path=/`
            response.writeHead(303, { 'set-cookie': cookie, location: url.pathname + url.search }).end()
            return
          }
          await answerTo({ ...parts, request, response, url } satisfies Asked)
        } catch (error) {
          fail(error, response, onError)
        }
      })()
    },
  )
  const bound = () => (server.address() as AddressInfo).port
  server.maxConnections = 256
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
    server.listen(port, host.replace(/^\[|\]$/g, ''), resolve)
  })
  // The list is being read before it is asked for.
  void overview.look().catch(onError ?? (() => {}))
  const stop = async () => {
    const closed = new Promise<void>(resolve => server.close(() => resolve()))
    live.stop()
    speaker.close()
    await jobs.end()
    server.closeAllConnections()
    await closed
  }
  const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  return {
    port: bound(),
    url: `http://${name}:${bound()}/?token=${token}`,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

function fail(error: unknown, response: Asked['response'], onError: UiOptions['onError']): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const known =
    error instanceof Refusal
      ? error
      : error instanceof GradpromptError
        ? new Refusal(400, error.code, error.format().replace(/^error\[[\w-]+\]: /, ''))
        : undefined
  if (known === undefined) onError?.(error)
  const { status, code, message } = known ?? new Refusal(500, 'internal', 'this could not be shown')
  const body = JSON.stringify({ error: { code, message } })
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(body)
}
