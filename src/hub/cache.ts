/**
 * The cache that Python's huggingface_hub keeps: `models--owner--name` with `refs/REVISION` (the hash of a commit), `snapshots/COMMIT/FILE`,
 * and `blobs/ETAG`, which the files of snapshots are links to. What is read and written here is that layout; nothing here asks the network.
 * Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */

import { randomUUID } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { HubSettings } from './settings.js'

export type RepositoryKind = 'model' | 'dataset'

export interface Repository {
  readonly kind: RepositoryKind
  /** `owner/name` */
  readonly id: string
}

const commitPattern = /^[0-9a-f]{40}$/

export const repositoryFolder = ({ cache }: HubSettings, { kind, id }: Repository): string =>
  join(cache, `${kind}s--${id.replace('/', '--')}`)

export const blobPath = (settings: HubSettings, repository: Repository, etag: string): string =>
  join(repositoryFolder(settings, repository), 'blobs', etag)

export const snapshotFolder = (settings: HubSettings, repository: Repository, commit: string): string =>
  join(repositoryFolder(settings, repository), 'snapshots', commit)

/** The snapshot that a revision was last seen to be, where the cache has it. Its files need not all be there. */
export function cachedSnapshot(settings: HubSettings, repository: Repository, revision: string): string | undefined {
  const commit = commitPattern.test(revision) ? revision : readRef(settings, repository, revision)
  if (commit === undefined) return undefined
  const folder = snapshotFolder(settings, repository, commit)
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : undefined
}

function readRef(settings: HubSettings, repository: Repository, revision: string): string | undefined {
  try {
    const commit = readFileSync(join(repositoryFolder(settings, repository), 'refs', ...revision.split('/')), 'utf8').trim()
    return commitPattern.test(commit) ? commit : undefined
  } catch {
    return undefined
  }
}

/** Remembers which commit a branch or tag is. */
export async function writeRef(settings: HubSettings, repository: Repository, revision: string, commit: string): Promise<void> {
  if (revision === commit || readRef(settings, repository, revision) === commit) return
  const path = join(repositoryFolder(settings, repository), 'refs', ...revision.split('/'))
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    await writeFile(temporary, commit)
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Puts a blob into a snapshot: as a link, or as a copy where links cannot be made. */
export async function linkIntoSnapshot(blob: string, pointer: string): Promise<void> {
  if (existsSync(pointer)) return
  await mkdir(dirname(pointer), { recursive: true })
  const temporary = `${pointer}.${randomUUID()}.tmp`
  try {
    await symlink(relative(dirname(pointer), blob), temporary).catch(() => copyFileSync(blob, temporary))
    await rename(temporary, pointer)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** A snapshot in the cache. */
export interface CachedSnapshot extends Repository {
  readonly commit: string
  readonly folder: string
  /** Branches and tags that were last seen to be this commit. */
  readonly revisions: readonly string[]
}

/** Every snapshot of a kind that the cache holds, by id. */
export function cachedSnapshots(settings: HubSettings, kind: RepositoryKind): CachedSnapshot[] {
  const prefix = `${kind}s--`
  return foldersIn(settings.cache)
    .filter(name => name.startsWith(prefix))
    .sort()
    .flatMap(name => {
      const id = name.slice(prefix.length).replace('--', '/')
      const folder = join(settings.cache, name)
      const refs = new Map(refsIn(join(folder, 'refs')))
      return foldersIn(join(folder, 'snapshots')).map(commit => ({
        kind,
        id,
        commit,
        folder: join(folder, 'snapshots', commit),
        revisions: [...refs].filter(([, known]) => known === commit).map(([revision]) => revision),
      }))
    })
}

function refsIn(folder: string, prefix = ''): [string, string][] {
  return readdirOrNone(folder).flatMap((entry): [string, string][] => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return refsIn(path, `${prefix}${entry.name}/`)
    return entry.isFile() ? [[`${prefix}${entry.name}`, readFileSync(path, 'utf8').trim()]] : []
  })
}

const foldersIn = (folder: string): string[] => readdirOrNone(folder).flatMap(entry => (entry.isDirectory() ? [entry.name] : []))

function readdirOrNone(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}
