import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { GradpromptError } from '../../../src/errors.js'
import { type DownloadEvent, downloadFiles, listFiles } from '../../../src/hub/download.js'
import type { HubSettings } from '../../../src/hub/settings.js'
import { type HubServer, hubServer, settingsFor, type Trouble } from './hub-server.js'

/** A repository on a server of the test's own, and an empty cache before each test. */
export const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255))
export const files = {
  'config.json': '{"model_type":"llama"}',
  'model.safetensors': weights,
  'empty.txt': '',
  'a folder/ü.txt': 'naïve',
}
export const repository = { kind: 'model', id: 'some/model' } as const
export const sha256 = createHash('sha256').update(weights).digest('hex')

export interface Place {
  server: HubServer
  cache: string
  settings: HubSettings
  readonly events: DownloadEvent[]
  readonly onEvent: (event: DownloadEvent) => void
  /** Of the repository in the cache. */
  folder(): string
  /** What stands among its blobs. */
  blobs(): string[]
  download(paths?: readonly string[]): Promise<string>
}

export function downloads(): Place {
  const events: DownloadEvent[] = []
  const place = {
    events,
    onEvent: (event: DownloadEvent) => void events.push(event),
    folder: () => join(place.cache, 'models--some--model'),
    blobs: () => (existsSync(join(place.folder(), 'blobs')) ? readdirSync(join(place.folder(), 'blobs')).sort() : []),
    download: async (paths: readonly string[] = ['config.json', 'model.safetensors']) =>
      downloadFiles(place.settings, await listFiles(place.settings, repository, 'main'), paths, { onEvent: place.onEvent }),
  } as Place
  beforeAll(async () => {
    place.server = await hubServer({ 'models/some/model': files })
  })
  afterAll(() => place.server[Symbol.asyncDispose]())
  beforeEach(() => {
    place.cache = mkdtempSync(join(tmpdir(), 'gradprompt-hub-'))
    place.settings = settingsFor(place.server.url, place.cache)
    place.server.trouble = undefined
    place.server.requests.length = 0
    events.length = 0
  })
  afterEach(() => rmSync(place.cache, { recursive: true, force: true }))
  return place
}

/** A failure that may be the network's. */
export async function failure(work: () => unknown): Promise<GradpromptError> {
  const error = await Promise.resolve()
    .then(work)
    .catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(GradpromptError)
  return error as GradpromptError
}

/** Where the Hub sends to for large files: what it is asked first is let pass. */
export const cdnOnly =
  (trouble: Trouble): Trouble =>
  (request, response, file) =>
    request.url!.startsWith('/cdn/') && trouble(request, response, file)
