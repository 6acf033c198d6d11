import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { storedConfig } from '../config/stored.js'
import { GradpromptError } from '../errors.js'
import { parseSearchConfig, type SearchConfig } from '../search/config.js'
import type { SearchResult } from '../search/run/events.js'
import type { Run } from '../store/run-folder.js'

/** Words and their tokens. */
interface FoundPrompt {
  readonly prompt: string
  readonly ids: readonly number[]
}

/** A search that has found a prompt. */
export interface FoundRun extends FoundPrompt {
  readonly folder: string
  readonly config: SearchConfig
  /** What the search began with; absent before it has ended. */
  readonly initial?: FoundPrompt | undefined
}

/** @throws GradpromptError `run-not-finished`, `run-corrupt`, `invalid-config` */
export async function readFoundRun(run: Pick<Run, 'folder' | 'config' | 'readResult'>): Promise<FoundRun> {
  const { folder } = run
  const config = parseSearchConfig(storedConfig(run.config), { source: join(folder, 'config.yaml') })
  const path = join(folder, 'prompt.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) {
    throw new GradpromptError('run-not-finished', `${folder} has no prompt yet`, {
      found: 'a search that was stopped',
      expected: 'prompt.json in it',
      hint: `gradprompt resume ${folder}`,
    })
  }
  const result = (await run.readResult()) as Partial<SearchResult> | undefined
  return { folder, config, ...foundIn(text, path), initial: result?.initial }
}

function foundIn(text: string, path: string): FoundPrompt {
  try {
    const { prompt, ids } = JSON.parse(text) as { prompt?: unknown; ids?: unknown }
    if (typeof prompt === 'string' && Array.isArray(ids) && ids.every(Number.isSafeInteger))
      return { prompt, ids: ids as number[] }
  } catch {}
  throw new GradpromptError('run-corrupt', `${path} cannot be read`, { expected: 'the prompt that a search has found' })
}
