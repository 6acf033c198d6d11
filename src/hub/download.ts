/**
 * Some files of a repository, brought into the cache: which there are is asked once, what is missing is announced with its size, then fetched one
 * after the other. Which files are wanted is for the caller to say; what they hold is unknown here.
 */

import { existsSync } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { linkIntoSnapshot, type Repository, snapshotFolder, writeRef } from './cache.js'
import { pageOf, request } from './client.js'
import { isRepositoryPath } from './name.js'
import type { HubSettings } from './settings.js'
import { fetchBlob, type RepositoryFile } from './transfer.js'

/** The largest listings have some thousand files. */
const mostListedBytes = 2 ** 25
const mostFiles = 100_000

/** A repository at one commit. */
export interface Listing {
  readonly repository: Repository
  /** What was asked for: a branch, a tag or a commit. */
  readonly revision: string
  readonly commit: string
  readonly files: readonly RepositoryFile[]
}

/** News of a download, in turn: once `started`, then `progress`, then `finished`. */
export interface DownloadEvent {
  readonly event: 'download'
  readonly state: 'started' | 'progress' | 'finished'
  /** `owner/name` and the revision, as they were named. */
  readonly name: string
  /** Where the files come from. */
  readonly from: string
  /** Where they go. */
  readonly folder: string
  /** How many files come, and which one does. */
  readonly files: number
  readonly file?: string
  /** Bytes that are there, and in all; those of an earlier, cut transfer are among them. */
  readonly done: number
  readonly total: number
  readonly bytesPerSecond?: number
  readonly secondsLeft?: number
}

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined
  readonly onEvent: (event: DownloadEvent) => void
}

/**
 * What a repository holds.
 * @throws GradpromptError `hub-listing-invalid` for an answer that is none, and as `request` does
 */
export async function listFiles(
  settings: HubSettings,
  repository: Repository,
  revision: string,
  signal?: AbortSignal,
): Promise<Listing> {
  const path = `/api/${repository.kind}s/${repository.id}/revision/${encodeURIComponent(revision)}?blobs=true`
  const response = await request(settings, { repository, revision, path, signal })
  const parsed = await readJson(response, settings, repository)
  const { sha, siblings } = parsed as { sha?: unknown; siblings?: unknown }
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha)) throw invalidListing(settings, repository, 'no commit', sha)
  if (!Array.isArray(siblings) || siblings.length > mostFiles)
    throw invalidListing(settings, repository, 'no list of files', siblings)
  return { repository, revision, commit: sha, files: siblings.map(entry => fileOf(settings, repository, entry)) }
}

async function readJson(response: Response, settings: HubSettings, repository: Repository): Promise<object> {
  const chunks: Uint8Array[] = []
  let size = 0
  if (response.body)
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > mostListedBytes) throw invalidListing(settings, repository, `more than ${mostListedBytes} bytes`, undefined)
      chunks.push(chunk)
    }
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw invalidListing(settings, repository, 'no JSON', Buffer.concat(chunks).toString('utf8'))
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw invalidListing(settings, repository, 'no object', value)
}

function fileOf(settings: HubSettings, repository: Repository, entry: unknown): RepositoryFile {
  const {
    rfilename: path,
    size,
    blobId,
    lfs,
  } = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>
  const large = (typeof lfs === 'object' && lfs !== null ? lfs : {}) as Record<string, unknown>
  const bytes = large.size ?? size
  const isLarge = typeof large.sha256 === 'string' && /^[0-9a-f]{64}$/.test(large.sha256)
  const isSmall = typeof blobId === 'string' && /^[0-9a-f]{40}$/.test(blobId)
  const isFile = typeof path === 'string' && isRepositoryPath(path) && Number.isSafeInteger(bytes) && (bytes as number) >= 0
  if (!isFile || !(isLarge || isSmall)) throw invalidListing(settings, repository, 'an entry that is no file', entry)
  return { path, size: bytes as number, etag: String(isLarge ? large.sha256 : blobId), hash: isLarge ? 'sha256' : 'git' }
}

function invalidListing(settings: HubSettings, repository: Repository, what: string, found: unknown): GradpromptError {
  return new GradpromptError('hub-listing-invalid', `The Hub's list of files of ${repository.id} cannot be read: ${what}`, {
    found: (typeof found === 'string' ? found : (JSON.stringify(found) ?? 'nothing')).slice(0, 160) || 'nothing',
    expected: 'the hash of a commit, and files with their names, sizes and hashes',
    hint: `check HF_ENDPOINT (${settings.endpoint}): it has to answer as ${pageOf(settings, repository)} does`,
    exitCode: 1,
  })
}

/**
 * Brings files of a listing into their snapshot, in the order of `paths`. What the cache has is not asked for.
 * @returns the snapshot's folder
 * @throws GradpromptError `disk-full`, and as `fetchBlob` does
 */
export async function downloadFiles(
  settings: HubSettings,
  { repository, revision, commit, files: all }: Listing,
  paths: readonly string[],
  { signal, onEvent }: DownloadOptions,
): Promise<string> {
  const folder = snapshotFolder(settings, repository, commit)
  // In the order that they were named: what comes last is there when all is.
  const listed = new Map(all.map(file => [file.path, file]))
  const missing = paths.flatMap(path => (existsSync(join(folder, path)) ? [] : (listed.get(path) ?? [])))
  const total = missing.reduce((sum, { size }) => sum + size, 0)
  const name = `${repository.id}${revision === 'main' ? '' : `@${revision}`}`
  const facts = { event: 'download', name, from: settings.endpoint, folder, files: missing.length, total } as const
  await mkdir(folder, { recursive: true })
  if (missing.length > 0) {
    await requireSpace(folder, total)
    onEvent({ ...facts, state: 'started', done: 0 })
    const rate = new Rate(total)
    let shown = performance.now()
    for (const file of missing) {
      const blob = await fetchBlob(settings, repository, file, {
        commit,
        signal,
        onBytes(bytes, now) {
          rate.add(bytes, now)
          if (performance.now() - shown < 100) return
          shown = performance.now()
          onEvent({ ...facts, state: 'progress', file: file.path, ...rate.state() })
        },
      })
      await linkIntoSnapshot(blob, join(folder, file.path))
    }
    onEvent({ ...facts, state: 'finished', ...rate.state() })
  }
  await writeRef(settings, repository, revision, commit)
  return folder
}

/** How fast bytes come: over the last seconds, so that a cut connection or an earlier transfer does not blur it. */
class Rate {
  #done = 0
  readonly #total: number
  readonly #marks: { readonly at: number; readonly done: number }[] = []

  constructor(total: number) {
    this.#total = total
  }

  /** @param came whether they came just now, or were there */
  add(bytes: number, came: boolean): void {
    this.#done += bytes
    if (!came) {
      this.#marks.length = 0
      return
    }
    const now = performance.now()
    this.#marks.push({ at: now, done: this.#done })
    while (this.#marks.length > 2 && now - this.#marks[0]!.at > 10_000) this.#marks.shift()
  }

  state(): { done: number; total: number; bytesPerSecond?: number; secondsLeft?: number } {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)]
    const state = { done: this.#done, total: this.#total }
    if (first === undefined || last === undefined || last.at - first.at < 50 || last.done <= first.done) return state
    const bytesPerSecond = ((last.done - first.done) / (last.at - first.at)) * 1000
    return { ...state, bytesPerSecond, secondsLeft: (this.#total - this.#done) / bytesPerSecond }
  }
}

/** @throws GradpromptError `disk-full` */
async function requireSpace(folder: string, bytes: number): Promise<void> {
  const disk = await statfs(folder)
  const free = disk.bavail * disk.bsize
  if (free >= bytes + 2 ** 20) return
  const gigabytes = (value: number) => `${(value / 1e9).toFixed(2)} GB`
  throw new GradpromptError('disk-full', 'The files do not fit into the cache of the Hub', {
    found: `${gigabytes(free)} free in ${folder}`,
    expected: gigabytes(bytes),
    hint: 'free some space, or name another cache with HF_HUB_CACHE',
  })
}
