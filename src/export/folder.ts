import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { GradpromptError, refuseFullDisk } from '../errors.js'
import { isAlive } from '../processes.js'

/**
 * Writes a folder as a whole: beside, then renamed. What goes into it is unknown here.
 * @throws GradpromptError `folder-not-empty`, `cannot-write`, `disk-full`, and what `write` throws
 */
export async function writeFolder(out: string, write: (folder: string) => Promise<void>): Promise<void> {
  const temporary = join(dirname(resolve(out)), `.${basename(resolve(out))}.${process.pid}.tmp`)
  try {
    await refuseOccupied(out)
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
    refuseFullDisk(error, out)
    const isOfSystem = error instanceof Error && 'syscall' in error
    if (!isOfSystem && !(error instanceof GradpromptError && error.code === 'unwritable-file')) throw error
    const full = [error, error.cause].some(cause => (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOSPC')
    if (full)
      throw new GradpromptError('disk-full', `the files do not fit where ${out} would be`, {
        found: error.message,
        expected: 'room for all files; what was written has been removed',
        hint: 'free some space, or give another --out',
        cause: error,
      })
    throw new GradpromptError('cannot-write', `the files cannot be written to ${out}`, {
      found: error.message,
      expected: 'a folder that can be made and written',
      hint: 'give another --out',
      cause: error,
    })
  }
}

/** Takes away what killed processes left beside a folder that they were to make: it may be gigabytes, and bears a name that nobody sees. */
async function removeLeftovers(out: string): Promise<void> {
  const [place, start] = [dirname(resolve(out)), `.${basename(resolve(out))}.`]
  for (const name of await readdir(place)) {
    const pid = name.startsWith(start) ? /^(\d+)\.tmp$/.exec(name.slice(start.length))?.[1] : undefined
    if (pid === undefined || isAlive(Number(pid))) continue
    await rm(join(place, name), { recursive: true, force: true })
  }
}

/** @throws GradpromptError `folder-not-empty` */
export async function refuseOccupied(out: string): Promise<void> {
  const names = (await readdir(out).catch(ignoreMissing)) ?? []
  if (names.length === 0) return
  throw new GradpromptError('folder-not-empty', `${out} already exists`, {
    found: names.slice(0, 5).join(', '),
    expected: 'a folder that does not exist, or an empty one',
    hint: 'give another --out',
  })
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
