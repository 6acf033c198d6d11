import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import type { PreferSession } from '../../api/choosing/prefer.js'
import { GradpromptError } from '../../errors.js'
import { Refusal } from '../parts/guard.js'
import { type LoopbackAddress, listenOnLoopback } from '../parts/loopback-server.js'
import { preferPage, preferScript } from './script.js'

/** The page of `gradprompt prefer`: two answers side by side, for whoever started it on this machine. */

export interface PreferPage extends AsyncDisposable {
  readonly port: number
  /** The address with the token in it. */
  readonly url: string
}

const answerSchema = z.strictObject({ number: z.int().min(0), side: z.enum(['left', 'right', 'neither']) })
const mostBytes = 1000

/** @throws GradpromptError as `listenOnLoopback` */
export async function startPreferPage(session: PreferSession, address: LoopbackAddress): Promise<PreferPage> {
  const { port, url, close } = await listenOnLoopback(
    address,
    { answer: (request, { pathname }, response) => route(session, request, pathname, response), fail },
    { requestTimeout: 600_000 },
  )
  return { port, url, [Symbol.asyncDispose]: () => close() }
}

/** @throws Refusal, GradpromptError */
async function route(session: PreferSession, request: IncomingMessage, path: string, response: ServerResponse): Promise<void> {
  const send = (type: string, text: string) => {
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(text)
  }
  const now = async () =>
    send('application/json', JSON.stringify({ question: await session.question(), standing: session.standing() }))
  if (request.method === 'GET' && path === '/') return send('text/html', preferPage)
  if (request.method === 'GET' && path === '/prefer.js') return send('text/javascript', preferScript)
  if (request.method === 'GET' && path === '/question') return now()
  if (request.method === 'POST' && path === '/answer') {
    const { number, side } = await bodyOf(request)
    await session.answer(number, side)
    return now()
  }
  throw new Refusal(404, 'not-found', 'there is nothing at this address')
}

/** @throws Refusal */
async function bodyOf(request: IncomingMessage): Promise<z.output<typeof answerSchema>> {
  let text = ''
  for await (const piece of request) {
    text += String(piece)
    if (text.length > mostBytes) throw new Refusal(413, 'too-large', 'this is no answer')
  }
  try {
    return answerSchema.parse(JSON.parse(text))
  } catch {
    throw new Refusal(400, 'invalid-answer', 'this is no answer')
  }
}

function fail(error: unknown, response: ServerResponse): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  // Somebody else, or the same person in another window, was quicker.
  const status =
    error instanceof Refusal ? error.status : error instanceof GradpromptError && error.code === 'already-answered' ? 409 : 500
  const code = error instanceof Refusal || error instanceof GradpromptError ? error.code : 'internal'
  const message = error instanceof Error ? error.message : 'this could not be answered'
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
    .end(JSON.stringify({ error: { code, message } }))
}
