import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeError } from '../../errors.js'
import { createFile } from '../../files.js'
import { livesHere, type Owner, thisProcess } from './shared-lock.js'

/**
 * Who works on a sweep: a file for each process, which it touches now and then. One of this machine is asked for; one of another is taken
 * for gone when it has not touched its file for long, by the clock of the machine that has the folder.
 */

const beatMilliseconds = 10_000
const silentMilliseconds = 120_000

export interface Worker extends AsyncDisposable {
  readonly id: string
  /** The workers among these that are gone. */
  gone(ids: readonly string[]): Promise<Set<string>>
}

/** @throws GradpromptError `disk-full`, `cannot-write` */
export async function joinWorkers(folder: string): Promise<Worker> {
  const own = thisProcess()
  const id = `${own.host.replace(/[^\w.-]/g, '-')}-${own.pid}-${crypto.randomUUID().slice(0, 8)}`
  const path = (worker: string) => join(folder, `${worker}.json`)
  try {
    await mkdir(folder, { recursive: true })
    await createFile(path(id), JSON.stringify(own))
  } catch (error) {
    throw writeError(error, path(id))
  }
  // What is written has the time of the machine that has the folder.
  const touch = () => writeFile(path(id), JSON.stringify(own)).catch(() => {})
  const timer = setInterval(touch, beatMilliseconds)
  timer.unref()
  const isGone = async (worker: string): Promise<boolean> => {
    if (worker === id) return false
    const content = await readFile(path(worker), 'utf8').catch(() => undefined)
    // A worker that has ended has taken its file away.
    if (content === undefined) return true
    const lives = livesHere(ownerOf(content))
    if (lives !== undefined) return !lives
    await touch()
    const [now, then] = await Promise.all([stat(path(id)), stat(path(worker))].map(known => known.catch(() => undefined)))
    return now === undefined || then === undefined ? then === undefined : now.mtimeMs - then.mtimeMs > silentMilliseconds
  }
  return {
    id,
    async gone(ids) {
      const distinct = [...new Set(ids)]
      const gone = await Promise.all(distinct.map(isGone))
      return new Set(distinct.filter((_, i) => gone[i]))
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await rm(path(id), { force: true })
      await removeDead(folder)
    },
  }
}

/** Files of processes of this machine that were killed. */
async function removeDead(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const content = await readFile(join(folder, name), 'utf8').catch(() => undefined)
    if (content !== undefined && livesHere(ownerOf(content)) === false) await rm(join(folder, name), { force: true })
  }
}

function ownerOf(content: string): Owner {
  try {
    const { host, pid, started } = JSON.parse(content) as Owner
    return { host: String(host), pid: Number(pid), started }
  } catch {
    // A file that is just being written.
    return { host: '', pid: 0, started: undefined }
  }
}
