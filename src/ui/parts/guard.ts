import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isLoopback } from '../../serve/loopback.js'

/**
 * Who may ask. The page is for the person who started it: every request carries the token, in a cookie that the first address of the session
 * sets, and names a host of this machine. Whatever a browser was led to send by another site has another origin, and is refused.
 */

/** A refusal, or any other answer that is no page. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
    this.name = 'Refusal'
  }
}

export interface Guarded {
  readonly host: string
  readonly port: number
  readonly token: string
}

/** Cookies belong to a host, not to a port: the name keeps two pages of one machine apart. */
export const cookieName = (port: number): string => `gradprompt-${port}`

/** @throws Refusal `several-hosts`, `foreign-host`, `foreign-origin`, `no-token` */
export function refuseStrangers(request: IncomingMessage, url: URL, { host, port, token }: Guarded): void {
  const { headers, method = '' } = request
  const hosts = request.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  if (hosts.length > 1) throw new Refusal(400, 'several-hosts', 'the request names several hosts')
  // A name that leads to this address, but is another's, is how a page elsewhere would get past the browser's rules.
  const asked = (headers.host ?? '').toLowerCase()
  const name = asked.replace(/:\d+$/, '')
  if (name !== host.toLowerCase() && !isLoopback(name))
    throw new Refusal(403, 'foreign-host', 'this page answers to names of this machine only')
  if (asked !== name && asked !== `${name}:${port}`) throw new Refusal(403, 'foreign-host', 'this page has another port')
  const { origin } = headers
  if (origin !== undefined && origin !== `http://${asked}`)
    throw new Refusal(403, 'foreign-origin', 'another site may not ask here')
  const site = headers['sec-fetch-site']
  if (method !== 'GET' && method !== 'HEAD' && site !== undefined && site !== 'same-origin')
    throw new Refusal(403, 'foreign-origin', 'another site may not ask here')
  const given = [
    url.searchParams.get('token'),
    ...cookies(headers.cookie, cookieName(port)),
    /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1],
  ]
  if (!given.some(one => one != null && timingSafeEqual(digest(one), digest(token))))
    throw new Refusal(401, 'no-token', 'open the address that the command has printed: it carries the token')
}

function cookies(header: string | undefined, name: string): string[] {
  return (header ?? '')
    .split(';')
    .map(part => part.trim())
    .filter(part => part.startsWith(`${name}=`))
    .map(part => part.slice(name.length + 1))
}

const digest = (text: string) => createHash('sha256').update(text).digest()

/** Of everything that is answered. Nothing may be loaded from elsewhere, framed, guessed at or kept. */
export const safeHeaders: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
}

/** Of a page that lies in a run's folder, which somebody else may have written: its scripts have an origin of their own and reach nothing. */
export const sandboxed: Readonly<Record<string, string>> = {
  'content-security-policy':
    "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
}
