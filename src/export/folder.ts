import type { Stats } from 'node:fs'
import { lstat, mkdir, readdir, realpath, rename, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { GradpromptError, refuseFullDisk } from '../errors.js'
import { isAlive } from '../processes.js'

/**
 * Writes a folder as a whole: beside, then renamed. What goes into it is unknown here.
 * @throws GradpromptError `folder-not-empty`, `cannot-write`, `disk-full`, and what `write` throws
 */
export async function writeFolder(given: string, write: (folder: string) => Promise<void>): Promise<void> {
  const out = await refuseOccupied(given)
  const temporary = join(dirname(out), `.${basename(out)}.${process.pid}.tmp`)
  try {
    await mkdir(dirname(temporary), { recursive: true })
    await removeLeftovers(out)
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary)
    await write(temporary)
    // Only an empty folder can be removed, so nothing is lost to a process that wrote there meanwhile.
    await rmdir(out).catch(ignoreMissing)
    await rename(temporary, out)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
    refuseFullDisk(error, given)
    const isOfSystem = error instanceof Error && 'syscall' in error
    if (!isOfSystem && !(error instanceof GradpromptError && error.code === 'unwritable-file')) throw error
    const full = [error, error.cause].some(cause => (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOSPC')
    if (full)
      throw new GradpromptError('disk-full', `the files do not fit where ${given} would be`, {
        found: error.message,
        expected: 'room for all files; what was written has been removed',
        hint: 'free some space, or give another --out',
        cause: error,
      })
    throw unwritable(given, error)
  }
}

const unwritable = (out: string, cause: Error) =>
  new GradpromptError('cannot-write', `the files cannot be written to ${out}`, {
    found: cause.message,
    expected: 'a folder that can be made and written',
    hint: 'give another --out',
    cause,
  })

/** Takes away what killed processes left beside a folder that they were to make: it may be gigabytes, and bears a name that nobody sees. */
async function removeLeftovers(out: string): Promise<void> {
  const [place, start] = [dirname(out), `.${basename(out)}.`]
  for (const name of await readdir(place)) {
    const pid = name.startsWith(start) ? /^(\d+)\.tmp$/.exec(name.slice(start.length))?.[1] : undefined
    if (pid === undefined || isAlive(Number(pid))) continue
    await rm(join(place, name), { recursive: true, force: true })
  }
}

/**
 * @returns the folder itself: of a link to an empty folder that folder, which then holds the files
 * @throws GradpromptError `folder-not-empty`; `cannot-write` where something else than a folder stands there, or a link to nothing
 */
export async function refuseOccupied(out: string): Promise<string> {
  const orMissing = (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw unwritable(out, error)
  }
  const found = await lstat(out).catch(orMissing)
  if (found === undefined) return resolve(out)
  const place = await realpath(out).catch(orMissing)
  const target = place === undefined ? undefined : await stat(place).catch(orMissing)
  if (place === undefined || target?.isDirectory() !== true) throw notAFolder(out, found.isSymbolicLink(), target)
  const names = (await readdir(place).catch(orMissing)) ?? []
  if (names.length === 0) return place
  throw new GradpromptError('folder-not-empty', `${out} already exists`, {
    found: names.slice(0, 5).join(', '),
    expected: 'a folder that does not exist, or an empty one',
    hint: 'give another --out',
  })
}

const notAFolder = (out: string, isLink: boolean, target: Stats | undefined) =>
  new GradpromptError('cannot-write', `${out} is no folder`, {
    found: [...(isLink ? ['a link to'] : []), target === undefined ? 'nothing' : target.isFile() ? 'a file' : 'a device'].join(
      ' ',
    ),
    expected: 'a folder that does not exist, or an empty one',
    hint: 'give another --out',
  })

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
