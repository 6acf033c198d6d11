import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../../errors.js'
import { isFile } from '../../files.js'
import type { SearchConfig } from '../../search/config.js'
import type { SearchEvent, SearchResult } from '../../search/run/events.js'
import { type FoundPrompt, readFoundRun } from '../../sources/run.js'
import { type PromptFile, readPrompt } from '../../store/prompt-file.js'
import { openRun, type Run } from '../../store/run-folder.js'
import type { Config } from '../../train/config.js'
import type { GradpromptEvent, RunResult } from '../../train/events.js'
import { searchConfigOf, tuneConfigOf } from './configs.js'

/** What a run's folder holds, as objects: the library's `readRun` and `listRuns`. Nothing of a run is changed here. */

interface Recorded<Kind extends string, RunConfig, Result, Prompt, Event> {
  readonly kind: Kind
  readonly folder: string
  /** As the run has it, every default filled in. */
  readonly config: RunConfig
  /** What it ran on: versions, processor, hashes of model and data. */
  readonly details: unknown
  /** Undefined where the run has not ended: `resume` goes on with it. */
  readonly result?: Result | undefined
  /** Undefined where there is none yet. */
  readonly prompt?: Prompt | undefined
  /** Reads everything that happened so far. */
  events(): Promise<Event[]>
}

export type TuneRecord = Recorded<'tune', Config, RunResult, PromptFile, GradpromptEvent>
export type SearchRecord = Recorded<'search', SearchConfig, SearchResult, FoundPrompt, SearchEvent>
export type RunRecord = TuneRecord | SearchRecord

/**
 * Reads a run of either kind; `kind` tells them apart.
 *
 * ```ts
 * const run = await readRun('runs/sst2')
 * if (run.kind === 'tune') console.log(run.config.method.type, run.result?.metrics.accuracy)
 * ```
 *
 * @throws GradpromptError `not-a-run`, `run-corrupt`, `not-a-prompt`, `unknown-option`, `invalid-config`
 */
export async function readRun(folder: string): Promise<RunRecord> {
  const run = await openRun(folder)
  const { details } = run
  const result = await run.readResult()
  if (run.isSearch) {
    const found = (await isFile(join(folder, 'prompt.json'))) ? await readFoundRun(run) : undefined
    return {
      kind: 'search',
      config: await searchConfigOf(run),
      ...{ folder, details, result: withFolder<SearchResult>(result, folder), events: eventsOf<SearchEvent>(run) },
      prompt: found && { prompt: found.prompt, ids: found.ids },
    }
  }
  return {
    kind: 'tune',
    config: await tuneConfigOf(run),
    ...{ folder, details, result: withFolder<RunResult>(result, folder), events: eventsOf<GradpromptEvent>(run) },
    prompt: (await isFile(run.promptPath)) ? await readPrompt(run.promptPath) : undefined,
  }
}

/** The runs of a folder, and what could not be read as one, with the error. */
export interface RunList {
  readonly runs: readonly RunRecord[]
  readonly unreadable: readonly { readonly folder: string; readonly error: GradpromptError }[]
}

/**
 * Reads every run directly in a folder, in the order of their names.
 * @param parent by default `runs`; one that is not there holds none
 */
export const listRuns = (parent = 'runs'): Promise<RunList> => eachRun(parent, readRun)

/** What reading makes of every run directly in a folder. */
export async function eachRun<Read>(
  parent: string,
  read: (folder: string) => Promise<Read>,
): Promise<{ readonly runs: Read[]; readonly unreadable: RunList['unreadable'] }> {
  const entries = await readdir(parent, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw new GradpromptError('file-not-found', `${parent} is no folder of runs`, { found: error.message, cause: error })
  })
  const runs: Read[] = []
  const unreadable: { folder: string; error: GradpromptError }[] = []
  for (const name of entries.map(({ name }) => name).sort()) {
    const folder = join(parent, name)
    if (!(await isFile(join(folder, 'config.yaml')))) continue
    try {
      runs.push(await read(folder))
    } catch (error) {
      if (!(error instanceof GradpromptError)) throw error
      unreadable.push({ folder, error })
    }
  }
  return { runs, unreadable }
}

/** A result with the place where it is. @throws GradpromptError `run-corrupt` where it lacks what every result has */
export function withFolder<Result extends object>(result: unknown, folder: string): Result | undefined {
  if (result === undefined) return undefined
  const { metrics, steps } = result as { readonly metrics?: unknown; readonly steps?: unknown }
  if (typeof metrics === 'object' && metrics !== null && typeof steps === 'number') return { ...(result as Result), folder }
  throw new GradpromptError('run-corrupt', `${join(folder, 'result.json')} is not the result of a run`, {
    found: 'no metrics or no steps in it',
  })
}

/** Lines of the log are what this version, or an earlier one, wrote as its events. */
const eventsOf =
  <Event>(run: Run) =>
  async (): Promise<Event[]> =>
    (await run.readEvents()) as unknown as Event[]
