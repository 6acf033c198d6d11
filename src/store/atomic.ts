import { link, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { writeError } from '../errors.js'
import { isAlive } from '../processes.js'

const suffix = '.tmp'
let written = 0

/** Whether a name is one that a file has while it is written: a leftover when no process writes. */
export const isTemporary = (name: string): boolean => name.endsWith(suffix)

/** A new name beside `path`, so that renaming it there is atomic. */
export const temporaryName = (path: string): string => `${path}.${process.pid}-${written++}${suffix}`

/**
 * Takes away what killed processes left beside `path` under a `temporaryName` of it, or of a name that begins so. A folder that may be
 * written but not read keeps it.
 */
export async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path)
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = name.startsWith(`${basename(path)}.`) ? /\.(\d{1,10})-\d+\.tmp$/.exec(name)?.[1] : undefined
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(folder, name), { force: true })
  }
}

/**
 * Puts a complete text file at `path` or leaves what was there: it is written beside and reaches the disk before it gets the
 * name. Killed at any moment, a reader sees the old bytes or the new ones.
 * @throws GradpromptError `disk-full`, `cannot-write`
 */
export const replaceText = (path: string, text: string): Promise<void> =>
  writeBeside(path, text, temporary => rename(temporary, path))

/**
 * The same where nothing has the name yet: of several processes that try, also on several machines that share the folder, one succeeds.
 * @returns whether this one has
 * @throws GradpromptError `disk-full`, `cannot-write`
 */
export const createText = (path: string, text: string): Promise<boolean> =>
  writeBeside(path, text, async temporary => {
    const isMine = await linked(temporary, path)
    await rm(temporary, { force: true })
    return isMine
  })

async function writeBeside<Result>(path: string, text: string, name: (temporary: string) => Promise<Result>): Promise<Result> {
  const temporary = temporaryName(path)
  let result: Result
  try {
    const file = await open(temporary, 'wx')
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    result = await name(temporary)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw writeError(error, path)
  }
  await synchronizeFolder(dirname(path))
  return result
}

/**
 * Gives a file a further name that nothing has yet. A network file system makes a hard link for one process alone (NFS does not promise that of an
 * exclusive open), and may lose the answer to one that was made: the file's links say whether it was.
 * @returns whether it has the name
 */
export async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw writeError(error, to)
    return (await stat(from)).nlink === 2
  }
}

/** Makes the names in a folder durable, where the system can open a folder at all. */
export async function synchronizeFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r')
    await folder.sync().finally(() => folder.close())
  } catch {
    // The names are then as durable as the file system makes them.
  }
}
