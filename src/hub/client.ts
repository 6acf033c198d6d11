/**
 * Requests to the Hub: with the token, along redirects (the token stays with the host that it is for), again after a wait where the server asks
 * for one or has failed, and with errors that say what a person can do. It knows nothing of files on disk.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { GradpromptError, refuseAborted } from '../errors.js'
import { ownCommand } from '../own-command.js'
import type { Repository } from './cache.js'
import type { HubSettings } from './settings.js'

const mostRedirects = 5

export interface HubRequest {
  readonly repository: Repository
  readonly revision: string
  /** Path after the endpoint. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

/** Where people see a repository. */
export const pageOf = ({ endpoint }: HubSettings, { kind, id }: Repository): string =>
  `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${id}`

/**
 * The answer to a request, its body not yet read: 200, 206 or 416.
 * @throws GradpromptError `gated-model`, `unauthorised`, `not-on-hub`, `hub-busy`, `hub-unavailable`, `hub-unreachable`, `aborted`
 */
export async function request(settings: HubSettings, asked: HubRequest): Promise<Response> {
  const { tries, wait, longestWait } = settings.patience
  for (let attempt = 1; ; attempt++) {
    const response = await follow(settings, asked)
    const { status } = response
    if (status === 200 || status === 206 || status === 416) return response
    const again = status === 429 || (status >= 500 && status !== 501)
    const seconds = retryAfter(response.headers.get('retry-after')) ?? wait * 2 ** (attempt - 1)
    if (!again || attempt >= tries || seconds > longestWait) throw await refusal(settings, asked, response, seconds)
    await response.body?.cancel()
    await delay(seconds * 1000, undefined, { signal: asked.signal }).catch(() => refuseAborted(asked.signal))
  }
}

/** Seconds that a server asks to be left alone: a number of them, or a date. */
export function retryAfter(value: string | null, now = Date.now()): number | undefined {
  if (value === null || value.trim() === '') return undefined
  const seconds = Number(value)
  if (Number.isFinite(seconds)) return Math.max(0, seconds)
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000)
}

async function follow(settings: HubSettings, { repository, path, headers = {}, signal }: HubRequest): Promise<Response> {
  const { endpoint, token, patience } = settings
  let url = new URL(`${endpoint}${path}`)
  const home = url.origin
  for (let hops = 0; ; hops++) {
    // A connection that stays silent is given up; the time for the body is watched by whoever reads it.
    const silence = new AbortController()
    const timer = setTimeout(() => silence.abort(), patience.stall * 1000)
    let response: Response
    try {
      response = await fetch(url, {
        redirect: 'manual',
        headers: {
          'user-agent': 'gradprompt',
          // Lengths and ranges are of the file's own bytes.
          'accept-encoding': 'identity',
          ...headers,
          ...(token !== undefined && url.origin === home ? { authorization: `Bearer ${token}` } : {}),
        },
        signal: signal === undefined ? silence.signal : AbortSignal.any([silence.signal, signal]),
      })
    } catch (cause) {
      refuseAborted(signal)
      throw unreachable(settings, url, cause)
    } finally {
      clearTimeout(timer)
    }
    const location = response.headers.get('location')
    if (response.status < 300 || response.status >= 400 || response.status === 304 || location === null) return response
    await response.body?.cancel()
    const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined
    const isSafe = next !== undefined && (next.protocol === 'https:' || (next.protocol === 'http:' && url.protocol === 'http:'))
    if (!isSafe || hops >= mostRedirects) {
      throw new GradpromptError(
        'hub-unavailable',
        `The Hub sends a request for ${repository.id} somewhere that is not followed`,
        {
          found: hops >= mostRedirects ? `more than ${mostRedirects} redirects` : location.slice(0, 200),
          expected: 'an address by https',
          hint: `check HF_ENDPOINT (${endpoint})`,
          exitCode: 1,
        },
      )
    }
    url = next
  }
}

function unreachable({ endpoint }: HubSettings, url: URL, cause: unknown): GradpromptError {
  const { code, message } = ((cause as { cause?: unknown }).cause ?? cause) as { code?: unknown; message?: unknown }
  return new GradpromptError('hub-unreachable', `The Hub cannot be reached at ${url.origin}`, {
    found: String(code ?? message ?? cause),
    expected: 'a network connection',
    hint: `give a folder or a .gguf file instead, or a model that is in the cache (${ownCommand`models`}); HF_ENDPOINT is ${endpoint}`,
    exitCode: 1,
    cause,
  })
}

async function refusal(settings: HubSettings, asked: HubRequest, response: Response, seconds: number): Promise<GradpromptError> {
  const { status, headers } = response
  const { repository, revision } = asked
  const said = headers.get('x-error-code') ?? ''
  const message = headers.get('x-error-message')?.slice(0, 300)
  await response.body?.cancel()
  const page = pageOf(settings, repository)
  const found = [String(status), said, message].filter(Boolean).join(': ')
  const withToken = settings.token === undefined ? 'without a token' : 'with the token that is set'
  const makeToken = `make a token at ${settings.endpoint}/settings/tokens and set HF_TOKEN to it`
  if (said === 'GatedRepo' || (status === 403 && settings.token !== undefined)) {
    return new GradpromptError('gated-model', `${repository.id} is open only to those who accept its conditions`, {
      found: `${found}, ${withToken}`,
      expected: `conditions that were accepted at ${page}`,
      hint: `accept them at ${page}${settings.token === undefined ? `, ${makeToken}` : ', with the account of the token'}`,
    })
  }
  if (status === 401 || status === 403) {
    return new GradpromptError('unauthorised', `${repository.id} is not on the Hub, or not for everyone`, {
      found: `${found}, ${withToken}`,
      expected: `a public repository, or a token that may read ${page}`,
      hint:
        settings.token === undefined
          ? `check the spelling; for a private or gated one ${makeToken}`
          : 'check the spelling, and the token',
    })
  }
  if (status === 404) {
    const isRevision = said === 'RevisionNotFound'
    const what = said === 'EntryNotFound' ? `${asked.path.split('/').at(-1)} in ${repository.id}` : repository.id
    return new GradpromptError('not-on-hub', `The Hub has no ${isRevision ? `revision ${revision} of ${repository.id}` : what}`, {
      found,
      expected: isRevision ? `a branch, a tag or a commit that ${page} lists` : `a ${repository.kind} that is there`,
      hint: `look at ${isRevision ? `${page}/tree/main` : page}`,
    })
  }
  if (status === 429) {
    return new GradpromptError('hub-busy', 'The Hub asks to be left alone for a while', {
      found: `${found}, for ${Math.ceil(seconds)} s`,
      expected: 'fewer requests',
      hint: 'run the command again later: what is there stays, and is gone on from',
      exitCode: 1,
    })
  }
  return new GradpromptError('hub-unavailable', `The Hub does not answer for ${repository.id}`, {
    found,
    expected: '200',
    hint: 'run the command again later: what is there stays, and is gone on from',
    exitCode: 1,
  })
}
