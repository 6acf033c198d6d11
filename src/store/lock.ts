import { readFileSync } from 'node:fs'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { GradpromptError, readError, refuseFullDisk } from '../errors.js'
import { isAlive } from '../processes.js'
import { removeLeftovers, temporaryName } from './atomic.js'

/** Held until released, or until its process is gone. */
export interface Lock extends AsyncDisposable {
  release(): Promise<void>
}

/**
 * Makes this process the only writer of a folder. The lock is a file with the process's id; it is stale, and taken over,
 * once that process is dead.
 * @throws GradpromptError `run-locked` when a living process holds it, `disk-full`
 */
export async function acquireLock(path: string): Promise<Lock> {
  const mine = JSON.stringify({ pid: process.pid, started: processStart(process.pid), token: crypto.randomUUID() })
  const temporary = temporaryName(path)
  try {
    await writeFile(temporary, mine, { flag: 'wx' })
    // A link, unlike an exclusive open, appears with its content: no one can read a lock that is still empty.
    while (!(await linked(temporary, path))) await removeStale(path)
    // Of processes that were killed on the way to the lock.
    await removeLeftovers(path)
  } catch (error) {
    refuseFullDisk(error, path)
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
  const release = async () => {
    if ((await contentOf(path)) === mine) await rm(path, { force: true })
  }
  return { release, [Symbol.asyncDispose]: release }
}

/**
 * One process at a time removes a stale lock, under a lock of its own: between seeing that it is stale and removing it,
 * another could otherwise have put its own in the place.
 */
async function removeStale(path: string): Promise<void> {
  const content = await contentOf(path)
  if (content === undefined) return
  refuseIfHeld(path, content)
  await using _ = await acquireLock(`${path}.takeover`)
  if ((await contentOf(path)) === content) await rm(path, { force: true })
}

function refuseIfHeld(path: string, content: string): void {
  const pid = holderOf(content)
  if (pid === undefined) return
  throw new GradpromptError('run-locked', 'another process is writing this run', {
    found: `${path}, held by process ${pid}`,
    hint: `wait for process ${pid} or stop it; if it has nothing to do with this run, delete the file`,
  })
}

/** The process that holds the lock at `path`, when there is one and it still lives. */
export async function lockHolder(path: string): Promise<number | undefined> {
  const content = await contentOf(path)
  return content === undefined ? undefined : holderOf(content)
}

/** The process that holds a lock, when it still lives. */
function holderOf(content: string): number | undefined {
  let owner: unknown
  try {
    owner = JSON.parse(content)
  } catch {
    return undefined
  }
  const { pid, started } = (owner ?? {}) as { pid?: unknown; started?: unknown }
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined
  const start = processStart(pid)
  return start !== undefined && started !== undefined && start !== started ? undefined : pid
}

/**
 * When a process started, where the system tells: process ids are used again, in containers within seconds. Linux has the
 * clock ticks since boot as field 22 of `stat`, the 20th after the name's closing parenthesis.
 */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${ticks}`
  } catch {
    return undefined
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw readError(error, path)
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code
