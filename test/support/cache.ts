import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

/** Compiled programs of this test file go to a folder of their own, which is removed at its end. */
export function ownCache(): void {
  const before = process.env.GRADPROMPT_CACHE
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-test-'))
  process.env.GRADPROMPT_CACHE = folder
  afterAll(() => {
    if (before === undefined) delete process.env.GRADPROMPT_CACHE
    else process.env.GRADPROMPT_CACHE = before
    rmSync(folder, { recursive: true, force: true })
  })
}
