import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Folders of programs: what one may come to, and how none is left behind. */

/** The process that asked stands in the name, so that a later one can tell what is left over. */
export const folderPrefix = `gradprompt-program-${process.pid}-`

/** What a folder may come to. */
const [mostFiles, mostBytes] = [1000, 1 << 26]

/** Folders that are in use: where the process leaves meanwhile, they go with it. */
export const live = new Set<string>()
process.on('exit', () => {
  for (const folder of live)
    try {
      rmSync(folder, { recursive: true, force: true })
    } catch {
      // The next process sweeps it.
    }
})

/** Whether a folder holds more than a program may write. What cannot be looked into (too deep, or closed) counts as more. */
export async function isFull(folder: string): Promise<boolean> {
  let [files, bytes] = [0, 0]
  const waiting = [folder]
  try {
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      const entries = await readdir(path, { withFileTypes: true }).catch(ignoreGone)
      for (const entry of entries ?? []) {
        const inside = join(path, entry.name)
        if (entry.isDirectory()) waiting.push(inside)
        bytes += (await lstat(inside).catch(ignoreGone))?.size ?? 0
        if (++files > mostFiles || bytes > mostBytes) return true
      }
    }
  } catch {
    return true
  }
  return false
}

/** A program may have removed what it had a moment ago. */
function ignoreGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** Also one with paths that are too long for a call, and with folders that not even their owner may look into. @returns whether it is gone */
export async function removeFolder(folder: string): Promise<boolean> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined)
  if (await isGone(folder)) return true
  await ended('chmod', ['-R', 'u+rwx', folder])
  await ended('rm', ['-rf', folder])
  return isGone(folder)
}

const isGone = (folder: string): Promise<boolean> =>
  lstat(folder).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )

const ended = (command: string, words: readonly string[]): Promise<void> =>
  new Promise(resolve => {
    const child = spawn(command, words, { stdio: 'ignore' })
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  })

/** Removes folders of processes that are gone, such as one that was killed. */
export async function sweepFolders(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const pid = /^gradprompt-program-(\d+)-\w+$/.exec(name)?.[1]
    if (pid !== undefined && !isRunning(Number(pid))) await removeFolder(join(tmpdir(), name))
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
