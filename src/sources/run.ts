import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { storedConfig } from '../config/stored.js'
import type { DataNotice } from '../data/readers/reader.js'
import { parseRunTask, type RunTask } from '../data/task-config.js'
import type { LabelWords } from '../data/texts/labels.js'
import { GradpromptError } from '../errors.js'
import { exists } from '../files.js'
import { isRecord } from '../json.js'
import { ownCommand } from '../own-command.js'
import type { MadeWithModules } from '../own-modules.js'
import { promptMethods } from '../prompts/methods/index.js'
import { type PromptFile, readPrompt } from '../store/prompt-file.js'
import { openRun, type Run } from '../store/run-folder.js'
import { checkpointPrompt } from './checkpoint-prompt.js'
import { loadTaskEntries } from './task-entries.js'

/** What a run came to, read from its folder: vectors that were learned, or words that were found. */

/** A run that has learned something: its task and its prompt. */
export interface LearnedRun {
  readonly folder: string
  readonly config: RunTask
  readonly prompt: PromptFile
  /** What is to be said of it: that it has not ended. */
  readonly notice?: DataNotice | undefined
}

/** Words and their tokens. */
export interface FoundPrompt {
  readonly prompt: string
  readonly ids: readonly number[]
  /** What a row may show through it, where it was found in private; null: such a search promises nothing of it. */
  readonly privacy?: Readonly<Record<string, number>> | null | undefined
}

/** A search that has found a prompt. */
export interface FoundRun extends FoundPrompt {
  readonly folder: string
  readonly config: RunTask
  /** The classes that it chose between; null where answers are free text, absent where its folder does not say. */
  readonly labels?: LabelWords | null | undefined
  /** What the search began with; absent before it has ended. */
  readonly initial?: FoundPrompt | undefined
  /** How it compares with that, in a sentence. */
  readonly verdict?: string | undefined
  /** Where the modules of its config are looked for. */
  readonly modules: MadeWithModules
  /** What is to be said of it: that it has not ended. */
  readonly notice?: DataNotice | undefined
}

/**
 * @param options.unfinished take the best checkpoint of a run that has not ended; whoever asks for it says the `notice`
 * @throws GradpromptError `not-a-run`, `run-corrupt`, `not-a-soft-prompt` (a search), `run-not-finished`, `unknown-option`,
 *   `invalid-config`
 */
export async function readLearnedRun(
  folder: string,
  { unfinished: takesUnfinished = false }: { readonly unfinished?: boolean } = {},
): Promise<LearnedRun> {
  const run = await openRun(folder)
  refuseSearch(run)
  const config = await taskOf(run)
  const learned = async (prompt: PromptFile, notice?: DataNotice) => {
    // From then on it is known by its path, wherever its file stands.
    await promptMethods.load(prompt.method.type, run.modules)
    return { folder, config, prompt, notice }
  }
  if (takesUnfinished && (await run.readResult()) === undefined) {
    const found = await checkpointPrompt(run)
    if (found !== undefined) return learned(found.prompt, unfinished(run, found))
  }
  return learned(await learnedPrompt(run))
}

/** @throws GradpromptError `run-not-finished`, and as `readPrompt` */
export async function learnedPrompt({ folder, promptPath }: Pick<Run, 'folder' | 'promptPath'>): Promise<PromptFile> {
  if (!(await exists(promptPath))) throw notFinished(folder, 'a run', 'prompt.safetensors')
  return readPrompt(promptPath)
}

/** @throws GradpromptError `run-not-finished`, `run-corrupt`, `unknown-option`, `invalid-config` */
export async function readFoundRun(
  run: Pick<Run, 'folder' | 'config' | 'details' | 'isSearch' | 'modules' | 'readResult'>,
): Promise<FoundRun> {
  const { folder, modules } = run
  const config = await taskOf(run)
  const path = join(folder, 'prompt.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) throw notFinished(folder, 'a search', 'prompt.json')
  const result = (await run.readResult()) as { initial?: FoundPrompt; verdict?: { text?: string } } | undefined
  const { step, ...found } = foundIn(text, path)
  const notice = result === undefined ? unfinished(run, { step, isBest: true }) : undefined
  const told = { initial: result?.initial, verdict: result?.verdict?.text, notice }
  return { folder, config, modules, ...found, labels: classesIn(run.details), ...told }
}

/** The classes that `run.json` of a search holds. */
export function classesIn(details: unknown): LabelWords | null | undefined {
  const labels = isRecord(details) ? details.labels : undefined
  const isWord = (given: unknown) => typeof given === 'string'
  const areWords = (given: unknown) => isWord(given) || (Array.isArray(given) && given.length > 0 && given.every(isWord))
  return labels === null || (isRecord(labels) && Object.values(labels).every(areWords))
    ? (labels as LabelWords | null)
    : undefined
}

/** @throws GradpromptError `not-a-soft-prompt` where a run has searched for words */
export function refuseSearch({ folder, isSearch }: Pick<Run, 'folder' | 'isSearch'>): void {
  if (!isSearch) return
  throw new GradpromptError('not-a-soft-prompt', `${folder} has searched for a text prompt`, {
    found: 'a run of gradprompt search',
    expected: 'a run of gradprompt tune',
    hint: `what it found is words, which stand in any text as they are: ${ownCommand`inspect ${folder}`}; ${ownCommand`evaluate ${folder}`} scores them`,
  })
}

const taskOf = async ({ folder, config, modules }: Pick<Run, 'folder' | 'config' | 'modules'>) =>
  parseRunTask(await loadTaskEntries(storedConfig(config), modules), join(folder, 'config.yaml'))

/** A run that was stopped, or is under way, is used all the same; but never without a word. */
function unfinished(
  { folder, isSearch }: Pick<Run, 'folder' | 'isSearch'>,
  { step, isBest }: { readonly step: number | undefined; readonly isBest: boolean },
): DataNotice {
  const what = isSearch ? 'the best prompt so far' : isBest ? 'its best checkpoint so far' : 'its last checkpoint'
  const at = step === undefined ? '' : `, of step ${step}`
  return {
    code: 'unfinished-run',
    message: `${folder} has not ended: what is used is ${what}${at}; ${ownCommand`resume ${folder}`} goes on`,
  }
}

const isFigures = (given: unknown): given is Readonly<Record<string, number>> =>
  isRecord(given) && Object.values(given).every(value => typeof value === 'number')

function foundIn(text: string, path: string): FoundPrompt & { readonly step?: number } {
  try {
    const { prompt, ids, step, privacy } = JSON.parse(text) as Record<'prompt' | 'ids' | 'step' | 'privacy', unknown>
    const known = { ...(typeof step === 'number' && { step }), ...((privacy === null || isFigures(privacy)) && { privacy }) }
    if (typeof prompt === 'string' && Array.isArray(ids) && ids.every(Number.isSafeInteger))
      return { prompt, ids: ids as number[], ...known }
  } catch {}
  throw new GradpromptError('run-corrupt', `${path} cannot be read`, { expected: 'the prompt that a search has found' })
}

const notFinished = (folder: string, what: string, file: string) =>
  new GradpromptError('run-not-finished', `${folder} has no prompt yet`, {
    found: `${what} that was stopped`,
    expected: `${file} in it`,
    hint: ownCommand`resume ${folder}`,
  })
