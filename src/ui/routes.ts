import type { ServerResponse } from 'node:http'
import { GradpromptError } from '../errors.js'
import { plotting } from '../report/parts/page.js'
import { act } from './actions.js'
import { uiScript } from './client/script.js'
import { uiStyle } from './client/style.js'
import { type Shown, shownAt } from './pages/index.js'
import { type Asked, isPart } from './parts/asked.js'
import { sendFile } from './parts/files.js'
import { content, framed, problemPage } from './parts/frame.js'
import { Refusal } from './parts/guard.js'
import { idOf } from './parts/places.js'

/** What is where: pages, what their scripts ask for, and what these do. */

/** @throws Refusal, GradpromptError */
export async function answerTo(asked: Asked): Promise<void> {
  const { request, response, url, places } = asked
  const { method } = request
  if (method === 'POST') return act(asked)
  if (method !== 'GET' && method !== 'HEAD') throw new Refusal(405, 'method-not-allowed', 'only GET and POST are')
  if (url.pathname === '/live') return listen(asked)
  if (url.pathname.startsWith('/assets/')) return sendAsset(url.pathname.slice('/assets/'.length), response)
  if (url.pathname.startsWith('/at/') && !url.pathname.endsWith('/')) {
    const id = idOf(url.pathname.slice('/at/'.length))
    // The page of a run is made anew, from what is in its folder.
    if (id.endsWith('/report.html') || id.endsWith('/sweep.html')) {
      response.writeHead(303, { location: url.pathname.replace(/[^/]*$/, '') }).end()
      return
    }
    return sendFile(await places.path(id), id, response)
  }
  let shown: Shown
  let status = 200
  try {
    shown = await shownAt(asked)
  } catch (error) {
    status = error instanceof Refusal ? error.status : error instanceof GradpromptError ? 400 : 500
    const message = error instanceof Error ? error.message : String(error)
    const text =
      error instanceof GradpromptError
        ? error.format()
        : status === 500
          ? `What is in its folder is not as gradprompt writes it: ${message}`
          : message
    shown = { page: problemPage('This cannot be shown', text), at: '/', script: 'plain' }
  }
  const text = isPart(request) ? content(shown.page).text : framed(shown)
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(text)
}

async function listen({ live, url, response, places }: Asked): Promise<void> {
  const id = url.searchParams.get('id') ?? undefined
  if (id !== undefined) await places.place(id)
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  if (!(await live.add(response, id))) response.end()
}

async function sendAsset(name: string, response: ServerResponse): Promise<void> {
  const plot = await plotting()
  const assets: Readonly<Record<string, readonly [type: string, text: string]>> = {
    'ui.js': ['text/javascript', `${plot.script}\n${uiScript}`],
    'ui.css': ['text/css', `${plot.style}\n${uiStyle}`],
  }
  const asset = Object.hasOwn(assets, name) ? assets[name] : undefined
  if (asset === undefined) throw new Refusal(404, 'not-found', 'there is nothing at this address')
  response.writeHead(200, { 'content-type': `${asset[0]}; charset=utf-8` }).end(asset[1])
}
