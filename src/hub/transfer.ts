/**
 * One file from the Hub into the cache's blobs: gone on from where an earlier transfer was cut, never longer than the repository says it is,
 * and under its name only when its hash is right. What is under way stands beside it as `ETAG.incomplete`.
 */
import { createHash, type Hash, randomUUID } from 'node:crypto'
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { GradpromptError, refuseAborted } from '../errors.js'
import { createFile } from '../files.js'
import { isAlive } from '../processes.js'
import { blobPath, type Repository } from './cache.js'
import { request } from './client.js'
import type { HubSettings } from './settings.js'

/** A file as the repository lists it. */
export interface RepositoryFile {
  readonly path: string
  readonly size: number
  /** The name of its blob: the SHA-256 of a large file (Git LFS), the hash of a git object otherwise. */
  readonly etag: string
  readonly hash: 'sha256' | 'git'
}

export interface TransferOptions {
  readonly commit: string
  readonly signal?: AbortSignal | undefined
  /**
   * Told of bytes that have come, or that an earlier transfer had left; negative where what had come turned out to be of no use.
   * @param now whether they came just now
   */
  readonly onBytes?: (bytes: number, now: boolean) => void
}

/**
 * Brings a file's blob into the cache, unless it is there.
 * @returns the blob's path
 * @throws GradpromptError `download-interrupted` when the connection is cut again and again, `download-damaged` when the bytes are not those of the
 *   repository, and as `request` does
 */
export async function fetchBlob(
  settings: HubSettings,
  repository: Repository,
  file: RepositoryFile,
  options: TransferOptions,
): Promise<string> {
  const blob = blobPath(settings, repository, file.etag)
  if (await isThere(blob, file.size)) return blob
  await mkdir(dirname(blob), { recursive: true })
  const unlock = await lock(`${blob}.lock`, options.signal)
  try {
    // Another process may have brought it meanwhile.
    if (await isThere(blob, file.size)) return blob
    const partial = `${blob}.incomplete`
    const handle = await open(partial, 'a+')
    try {
      const hash = await continueTransfer(settings, repository, file, handle, partial, options)
      await handle.sync()
      if (hash !== file.etag) {
        await handle.truncate(0)
        throw damaged(repository, file, `a ${file.hash} hash of ${hash}`, file.etag)
      }
    } finally {
      await handle.close()
    }
    await rename(partial, blob)
    return blob
  } finally {
    await unlock()
  }
}

const isThere = (path: string, size: number): Promise<boolean> =>
  stat(path).then(
    found => found.isFile() && found.size === size,
    () => false,
  )

/** Asks for what is missing until it is there. @returns the hash of the whole */
async function continueTransfer(
  settings: HubSettings,
  repository: Repository,
  file: RepositoryFile,
  handle: FileHandle,
  partial: string,
  { commit, signal, onBytes }: TransferOptions,
): Promise<string> {
  const { tries, wait } = settings.patience
  const folder = repository.kind === 'dataset' ? 'datasets/' : ''
  const path = `/${folder}${repository.id}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`
  let { size } = await handle.stat()
  if (size > file.size) {
    await handle.truncate(0)
    size = 0
  }
  let hash = await hashSoFar(partial, file, size)
  onBytes?.(size, false)
  for (let cuts = 0; size < file.size; ) {
    const headers: Record<string, string> = size > 0 ? { range: `bytes=${size}-` } : {}
    const response = await request(settings, { repository, revision: commit, path, headers, signal }).catch((error: unknown) => {
      // A connection that is cut before anything came is one that is cut.
      if (!(error instanceof GradpromptError && error.code === 'hub-unreachable') || ++cuts >= tries) throw error
      return undefined
    })
    if (response === undefined) {
      await delay(wait * 2 ** (cuts - 1) * 1000, undefined, { signal }).catch(() => refuseAborted(signal))
      continue
    }
    if (size > 0 && !continues(response, size, file.size)) {
      // The server cannot go on from there, or has another file: from the beginning.
      await handle.truncate(0)
      onBytes?.(-size, false)
      size = 0
      hash = startHash(file)
      if (response.status !== 200) {
        await response.body?.cancel()
        if (++cuts >= tries) throw interrupted(repository, file, 'the server answers no range, nor the whole', size)
        continue
      }
    }
    requireLength(repository, file, response, size)
    const before = size
    let problem: unknown
    try {
      for await (const chunk of body(response, settings.patience.stall)) {
        if (size + chunk.length > file.size) {
          await handle.truncate(0)
          throw damaged(repository, file, `more than ${file.size} bytes`, `${file.size} bytes`)
        }
        await handle.appendFile(chunk)
        hash.update(chunk)
        size += chunk.length
        onBytes?.(chunk.length, true)
        if (size === file.size) break
      }
    } catch (cause) {
      refuseAborted(signal)
      if (cause instanceof GradpromptError) throw cause
      if (isDiskError(cause)) throw unwritable(partial, cause)
      problem = cause
    }
    if (size >= file.size) break
    // A connection that brought something is as good as a first one.
    cuts = size > before ? 1 : cuts + 1
    if (cuts >= tries) throw interrupted(repository, file, problem, size)
    await delay(wait * 2 ** (cuts - 1) * 1000, undefined, { signal }).catch(() => refuseAborted(signal))
  }
  return hash.digest('hex')
}

const startHash = (file: RepositoryFile): Hash =>
  file.hash === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${file.size}\0`)

async function hashSoFar(path: string, file: RepositoryFile, size: number): Promise<Hash> {
  const hash = startHash(file)
  if (size > 0) for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(chunk as Uint8Array)
  return hash
}

/** Whether an answer goes on from byte `start` of a file of `size` bytes. */
const continues = (response: Response, start: number, size: number): boolean =>
  response.status === 206 && response.headers.get('content-range') === `bytes ${start}-${size - 1}/${size}`

/** @throws GradpromptError `download-damaged` when the server announces another length than the repository lists */
function requireLength(repository: Repository, file: RepositoryFile, response: Response, start: number): void {
  const announced = response.headers.get('content-length')
  if (response.status !== 416 && (announced === null || Number(announced) === file.size - start)) return
  void response.body?.cancel()
  throw damaged(
    repository,
    file,
    announced === null ? `status ${response.status}` : `${Number(announced) + start} bytes`,
    `${file.size} bytes`,
  )
}

/** The chunks of a body; a connection that stays silent for so many seconds is cut. */
async function* body(response: Response, stall: number): AsyncGenerator<Uint8Array> {
  const reader = response.body!.getReader()
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nothing came for ${stall} s`)), stall * 1000)
      })
      const { done, value } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer))
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** The locks of this process: an id alone does not tell it from an earlier process that had the same. */
const held = new Set<string>()
/** A lock is touched while it is held; one that was not for so long is left over. */
const touchSeconds = 10
const leftSeconds = 60

/** One at a time writes a blob. A lock whose process has ended, or sleeps, counts for nothing. */
async function lock(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  const wait = () => delay(200, undefined, { signal }).catch(() => refuseAborted(signal))
  for (;;) {
    if (held.has(path)) {
      await wait()
      continue
    }
    // Before anything is awaited: of this process one alone tries.
    held.add(path)
    try {
      await createFile(path, String(process.pid))
      break
    } catch (cause) {
      held.delete(path)
      if (cause instanceof GradpromptError) throw cause
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw unwritable(path, cause)
    }
    if (isHeld(path)) await wait()
    else {
      // Moved away first, so that of two processes that find it left over only one removes it.
      const stale = `${path}.${randomUUID()}`
      await rename(path, stale).catch(() => {})
      await rm(stale, { force: true })
    }
  }
  const timer = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), touchSeconds * 1000)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await rm(path, { force: true })
    held.delete(path)
  }
}

/** Whether another process holds a lock. */
function isHeld(path: string): boolean {
  try {
    if (Date.now() - statSync(path).mtimeMs > leftSeconds * 1000) return false
    const id = Number(readFileSync(path, 'utf8'))
    // Its process may be about to write its id.
    if (id === 0) return true
    if (id === process.pid || !Number.isSafeInteger(id) || id < 0) return false
    return isAlive(id)
  } catch {
    return false
  }
}

const isDiskError = (cause: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EFBIG', 'EACCES', 'EROFS', 'EIO'].includes(String((cause as NodeJS.ErrnoException).code))

const unwritable = (path: string, cause: unknown): GradpromptError =>
  new GradpromptError('unwritable-file', `${path} cannot be written`, {
    found: (cause as NodeJS.ErrnoException).code ?? String(cause),
    expected: 'a cache folder that has room, in which this user may write',
    hint: 'free some space, or name another cache with HF_HUB_CACHE',
    exitCode: 1,
    cause,
  })

const damaged = (repository: Repository, file: RepositoryFile, found: string, expected: string): GradpromptError =>
  new GradpromptError('download-damaged', `${file.path} of ${repository.id} did not come as the repository lists it`, {
    found,
    expected,
    hint: 'what came was thrown away: run the command again; if it fails again, HF_ENDPOINT or a proxy changes files on the way',
    exitCode: 1,
  })

const interrupted = (repository: Repository, file: RepositoryFile, problem: unknown, size: number): GradpromptError =>
  new GradpromptError('download-interrupted', `The transfer of ${file.path} of ${repository.id} was cut again and again`, {
    found: `${size} of ${file.size} bytes${problem === undefined ? '' : ` (${problem instanceof Error ? problem.message : String(problem)})`}`,
    expected: 'a connection that lasts',
    hint: 'run the command again: it goes on from there',
    exitCode: 1,
    cause: problem,
  })
