import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { HubSettings } from '../../../src/hub/settings.js'

/** A server that behaves like the Hub, as far as repositories are read; and what it may do wrong, one request after the other. */
export const commit = '0123456789abcdef0123456789abcdef01234567'

export type Files = Readonly<Record<string, string | Uint8Array>>

/** Answers one request in place of the server; whether it did. */
export type Trouble = (request: IncomingMessage, response: ServerResponse, file: Buffer | undefined) => boolean

export interface HubServer extends AsyncDisposable {
  readonly url: string
  /** Every request: method, path, range, authorization. */
  readonly requests: { path: string; range: string | undefined; authorization: string | undefined }[]
  /** Is asked before each request for a file, until it says that it has nothing more to do. */
  trouble: Trouble | undefined
}

const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** As the Hub lists a file: large ones, here safetensors and GGUF, with their SHA-256. */
export function entryOf(path: string, bytes: Buffer) {
  const large = /\.(safetensors|gguf|parquet)$/.test(path)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return {
    rfilename: path,
    size: bytes.length,
    blobId: gitHash(bytes),
    ...(large && { lfs: { sha256, size: bytes.length, pointerSize: 130 } }),
  }
}

/** @param repositories `models/owner/name` to its files; every revision but `main`, `v1` and the commit is unknown */
export async function hubServer(repositories: Readonly<Record<string, Files>>): Promise<HubServer> {
  const stored = new Map(
    Object.entries(repositories).map(([name, files]) => [
      name,
      new Map(Object.entries(files).map(([path, data]) => [path, Buffer.from(data as Uint8Array)])),
    ]),
  )
  const requests: HubServer['requests'] = []
  const refuse = (response: ServerResponse, status: number, code: string) => {
    response.writeHead(status, { 'x-error-code': code, 'x-error-message': `said of ${code}` }).end()
  }
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!)
    requests.push({ path, range: request.headers.range, authorization: request.headers.authorization })
    const api = /^\/api\/((?:models|datasets)\/[^/]+\/[^/]+)\/revision\/([^?]+)\?blobs=true$/.exec(path)
    const resolve = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path)
    const large = /^\/cdn\/(models|datasets)\/([^/]+\/[^/]+)\/(.+)$/.exec(path)
    if (api) {
      const files = stored.get(api[1]!)
      if (files === undefined) return refuse(response, 404, 'RepoNotFound')
      if (!['main', 'v1', commit].includes(api[2]!)) return refuse(response, 404, 'RevisionNotFound')
      const siblings = [...files].map(([name, bytes]) => entryOf(name, bytes))
      return void response.end(JSON.stringify({ id: api[1]!.split('/').slice(1).join('/'), sha: commit, siblings }))
    }
    const found = resolve
      ? stored.get(`${resolve[1] ? 'datasets' : 'models'}/${resolve[2]}`)?.get(resolve[4]!)
      : large && stored.get(`${large[1]}/${large[2]}`)?.get(large[3]!)
    if (self.trouble?.(request, response, found ?? undefined)) return
    if (!found) return refuse(response, 404, 'EntryNotFound')
    // Large files are elsewhere, as on the Hub.
    if (resolve && /\.(safetensors|gguf|parquet)$/.test(resolve[4]!))
      return void response
        .writeHead(302, { location: `/cdn/${resolve[1] ? 'datasets' : 'models'}/${resolve[2]}/${resolve[4]}` })
        .end()
    sendFile(request, response, found)
  })
  await new Promise<void>(ready => server.listen(0, '127.0.0.1', ready))
  const self: HubServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    trouble: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(closed => server.close(closed))
    },
  }
  return self
}

/** A file, or the range of it that was asked for; with `cut`, the connection ends after so many bytes. */
export function sendFile(request: IncomingMessage, response: ServerResponse, file: Buffer, cut?: number): void {
  const [, first] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? []
  const start = Number(first ?? 0)
  if (first !== undefined && start >= file.length) return void response.writeHead(416).end()
  const bytes = file.subarray(start)
  response.writeHead(first === undefined ? 200 : 206, {
    'content-length': bytes.length,
    ...(first !== undefined && { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` }),
  })
  if (cut === undefined) response.end(bytes)
  else response.write(bytes.subarray(0, cut), () => setTimeout(() => response.destroy(), 100))
}

/** Does one thing after the other, each for one request, and then nothing. */
export function inTurn(...troubles: readonly Trouble[]): Trouble {
  const left = [...troubles]
  return (...asked) => left.shift()?.(...asked) ?? false
}

export const answer =
  (status: number, headers: Record<string, string> = {}): Trouble =>
  (_, response) => {
    response.writeHead(status, headers).end()
    return true
  }

/** Sends so many bytes of the file, and cuts the connection. */
export const cutAfter =
  (bytes: number): Trouble =>
  (request, response, file) => {
    if (file === undefined) return false
    sendFile(request, response, file, bytes)
    return true
  }

export const settingsFor = (endpoint: string, cache: string, changes: Partial<HubSettings> = {}): HubSettings => ({
  endpoint,
  cache,
  token: undefined,
  offline: false,
  patience: { stall: 0.5, tries: 3, wait: 0.01, longestWait: 2 },
  ...changes,
})
