import { GradpromptError } from '../errors.js'
import type { Asked } from './parts/asked.js'
import { Refusal } from './parts/guard.js'
import { type CommandLine, Jobs } from './parts/jobs.js'
import { Live } from './parts/live.js'
import { listenOnLoopback } from './parts/loopback-server.js'
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
  const places = new Places(folder)
  await places.check()
  const overview = new Overview(places)
  const live = new Live(places, overview)
  const jobs = new Jobs(commandLine, places.root)
  const speaker = new Speaker(commandLine, places.root)
  const parts = { places, overview, live, jobs, speaker }
  const server = await listenOnLoopback(
    { host, port, token },
    {
      answer: (request, url, response) => answerTo({ ...parts, request, response, url } satisfies Asked),
      fail: (error, response) => fail(error, response, onError),
    },
    { requestTimeout: 300_000, headersTimeout: 20_000, keepAliveTimeout: 5000 },
  )
  // The list is being read before it is asked for.
  void overview.look().catch(onError ?? (() => {}))
  const stop = () =>
    server.close(async () => {
      live.stop()
      speaker.close()
      await jobs.end()
    })
  return { port: server.port, url: server.url, stop, [Symbol.asyncDispose]: stop }
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
