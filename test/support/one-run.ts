import { existsSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Where Linux keeps files in memory, and how much room there has to be for the tests' own. */
const inMemory = '/dev/shm'
const roomBytes = 4 * 2 ** 30

/**
 * One folder for all files that a whole run of the tests makes, empty at its start and removed at its end, and in it one cache: many files
 * ask for the same programs of the same tiny models, and nothing of the user's own cache is read or left changed. Files that look at a cache
 * have one to themselves (`ownCache`). What several files share in memory (`test/generate/support/engines.ts`) is theirs until their
 * process ends. The folder is in memory where that has room: thousands of small files are written through to the
 * disk one by one, which took a fifth of the time of what compiles much.
 */
export default function setup(): () => void {
  const parent = existsSync(inMemory) && freeBytes(inMemory) > roomBytes ? inMemory : tmpdir()
  const folder = mkdtempSync(join(parent, 'gradprompt-tests-'))
  process.env.TMPDIR = folder
  process.env.GRADPROMPT_CACHE = join(folder, 'cache')
  return () => rmSync(folder, { recursive: true, force: true })
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}
