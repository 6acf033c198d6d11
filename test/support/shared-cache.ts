import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * One cache for a whole run of the tests, empty at its start and removed at its end: many files ask for the same programs of the same
 * tiny models, and nothing of the user's own cache is read or left changed. Files that look at a cache have one to themselves (`ownCache`).
 */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-tests-'))
  process.env.GRADPROMPT_CACHE = folder
  return () => rmSync(folder, { recursive: true, force: true })
}
