import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { GradpromptError, writeError } from '../../errors.js'
import { createFile } from '../../files.js'
import { isAlive } from '../../processes.js'
import { linked, temporaryName } from '../../store/atomic.js'
import { processStart } from '../../store/lock.js'

/**
 * A lock for moments, between processes of several machines that share a folder. It is a hard link, which a network file system makes
 * for one of them alone (NFS does not promise that of an exclusive open). Who holds it is a process of this machine, which can be asked
 * for, or of another, which is taken for gone when the lock has stood far longer than any moment.
 */

const abandonedMilliseconds = 30_000
const patienceMilliseconds = 60_000

/** A process as others know it. */
export interface Owner {
  readonly host: string
  readonly pid: number
  readonly started: string | undefined
}

export const thisProcess = (): Owner => ({ host: hostname(), pid: process.pid, started: processStart(process.pid) })

/** Whether an owner of this machine lives; undefined of another machine's. */
export function livesHere({ host, pid, started }: Owner): boolean | undefined {
  if (host !== hostname()) return undefined
  if (!isAlive(pid)) return false
  const now = processStart(pid)
  return now === undefined || started === undefined || now === started
}

/** @throws GradpromptError `sweep-locked` where others hold it for a minute; `disk-full`, `cannot-write` */
export async function withSharedLock<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  const temporary = temporaryName(path)
  const mine = JSON.stringify({ ...thisProcess(), token: crypto.randomUUID() })
  try {
    await createFile(temporary, mine)
  } catch (error) {
    throw writeError(error, path)
  }
  const since = performance.now()
  try {
    for (let wait = 2; !(await linked(temporary, path)); wait = Math.min(50, wait * 1.5)) {
      await removeAbandoned(path, temporary)
      if (performance.now() - since > patienceMilliseconds) {
        const holder = await readFile(path, 'utf8').catch(() => '')
        throw new GradpromptError('sweep-locked', 'another process holds the journal of the sweep', {
          found: `${path}, held by ${holder}`,
          hint: 'wait for it or stop it; if it has nothing to do with this sweep, delete the file',
          exitCode: 1,
        })
      }
      await setTimeout(wait * (0.5 + Math.random()))
    }
  } finally {
    await rm(temporary, { force: true })
  }
  try {
    return await work()
  } finally {
    if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true })
  }
}

/**
 * Takes away a lock whose process is gone. It is renamed first, which one process alone does, and what was renamed is looked at again:
 * where it is another's by then, who has it holds it still.
 */
async function removeAbandoned(path: string, own: string): Promise<void> {
  const content = await readFile(path, 'utf8').catch(() => undefined)
  if (content === undefined || !(await isAbandoned(path, content, own))) return
  const aside = `${own}.abandoned`
  try {
    await rename(path, aside)
  } catch {
    return
  }
  if ((await readFile(aside, 'utf8').catch(() => content)) !== content) await link(aside, path).catch(() => {})
  await rm(aside, { force: true })
}

async function isAbandoned(path: string, content: string, own: string): Promise<boolean> {
  const owner = ownerOf(content)
  const lives = owner && livesHere(owner)
  if (lives !== undefined) return !lives
  // Both times are those of the machine that has the folder.
  await writeFile(own, await readFile(own)).catch(() => {})
  const [now, then] = await Promise.all([stat(own), stat(path)].map(known => known.catch(() => undefined)))
  return now !== undefined && then !== undefined && now.mtimeMs - then.mtimeMs > abandonedMilliseconds
}

function ownerOf(content: string): Owner | undefined {
  try {
    const { host, pid, started } = JSON.parse(content) as Owner
    return typeof host === 'string' && Number.isSafeInteger(pid) && pid > 0 ? { host, pid, started } : undefined
  } catch {
    return undefined
  }
}
