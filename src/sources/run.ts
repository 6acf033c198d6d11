import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { storedConfig } from '../config/stored.js'
import { parseRunTask, type RunTask } from '../data/task-config.js'
import { GradpromptError } from '../errors.js'
import { type PromptFile, readPrompt } from '../store/prompt-file.js'
import { openRun, type Run } from '../store/run-folder.js'
import { loadTaskEntries } from './task-entries.js'

/** What a run came to, read from its folder: vectors that were learned, or words that were found. */

/** A run that has learned something: its task and its prompt. */
export interface LearnedRun {
  readonly folder: string
  readonly config: RunTask
  readonly prompt: PromptFile
}

/** Words and their tokens. */
export interface FoundPrompt {
  readonly prompt: string
  readonly ids: readonly number[]
}

/** A search that has found a prompt. */
export interface FoundRun extends FoundPrompt {
  readonly folder: string
  readonly config: RunTask
  /** What the search began with; absent before it has ended. */
  readonly initial?: FoundPrompt | undefined
}

/**
 * @throws GradpromptError `not-a-run`, `run-corrupt`, `not-a-soft-prompt` (a search), `run-not-finished`, `unknown-option`,
 *   `invalid-config`
 */
export async function readLearnedRun(folder: string): Promise<LearnedRun> {
  const run = await openRun(folder)
  refuseSearch(run)
  return { folder, config: await taskOf(run), prompt: await learnedPrompt(run) }
}

/** @throws GradpromptError `run-not-finished`, and as `readPrompt` */
export async function learnedPrompt({ folder, promptPath }: Pick<Run, 'folder' | 'promptPath'>): Promise<PromptFile> {
  if ((await stat(promptPath).catch(() => undefined)) === undefined) throw notFinished(folder, 'a run', 'prompt.safetensors')
  return readPrompt(promptPath)
}

/** @throws GradpromptError `run-not-finished`, `run-corrupt`, `unknown-option`, `invalid-config` */
export async function readFoundRun(run: Pick<Run, 'folder' | 'config' | 'readResult'>): Promise<FoundRun> {
  const { folder } = run
  const config = await taskOf(run)
  const path = join(folder, 'prompt.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) throw notFinished(folder, 'a search', 'prompt.json')
  const result = (await run.readResult()) as { initial?: FoundPrompt } | undefined
  return { folder, config, ...foundIn(text, path), initial: result?.initial }
}

/** @throws GradpromptError `not-a-soft-prompt` where a run has searched for words */
export function refuseSearch({ folder, isSearch }: Pick<Run, 'folder' | 'isSearch'>): void {
  if (!isSearch) return
  throw new GradpromptError('not-a-soft-prompt', `${folder} has searched for a text prompt`, {
    found: 'a run of gradprompt search',
    expected: 'a run of gradprompt tune',
    hint: `what it found is words, which stand in any text as they are: gradprompt inspect ${folder}; gradprompt evaluate ${folder} scores them`,
  })
}

const taskOf = async ({ folder, config }: Pick<Run, 'folder' | 'config'>) =>
  parseRunTask(await loadTaskEntries(storedConfig(config), folder), join(folder, 'config.yaml'))

function foundIn(text: string, path: string): FoundPrompt {
  try {
    const { prompt, ids } = JSON.parse(text) as { prompt?: unknown; ids?: unknown }
    if (typeof prompt === 'string' && Array.isArray(ids) && ids.every(Number.isSafeInteger))
      return { prompt, ids: ids as number[] }
  } catch {}
  throw new GradpromptError('run-corrupt', `${path} cannot be read`, { expected: 'the prompt that a search has found' })
}

const notFinished = (folder: string, what: string, file: string) =>
  new GradpromptError('run-not-finished', `${folder} has no prompt yet`, {
    found: `${what} that was stopped`,
    expected: `${file} in it`,
    hint: `gradprompt resume ${folder}`,
  })
