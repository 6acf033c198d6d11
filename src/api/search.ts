import { GradpromptError, refuseAborted } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { parseSearchConfig, type SearchConfig, type SearchConfigInput } from '../search/config.js'
import type { SearchActivity, SearchEvent, SearchResult } from '../search/run/events.js'
import { disposeJob, prepareSearch, type SearchJob } from '../search/run/job.js'
import { progressOf } from '../search/run/loop.js'
import { runSearch, type SearchRunOptions } from '../search/run/run-search.js'
import { withExamples } from '../search/run/shots.js'
import { readSearchTask, type SearchTask } from '../search/run/task.js'
import type { WarningEvent } from '../store/events.js'
import {
  environmentWarnings,
  type KnownModel,
  loadRunModel,
  nameOfData,
  type RunDetails,
  refuseOtherData,
  refuseOtherModel,
  runDetails,
} from '../store/run-details.js'
import { createRun, openRun, refuseOccupied } from '../store/run-folder.js'
import { searchConfigOf } from './runs.js'

export interface SearchOptions {
  /** Hears of everything as it happens; the same lines stand in the run's `events.jsonl`. */
  readonly onEvent?: ((event: SearchEvent) => void) | undefined
  /** Hears how far a long part of a step, or of judging, has come. */
  readonly onProgress?: ((progress: SearchActivity) => void) | undefined
  /** Stops the search between two batches, with a checkpoint of the last finished step. */
  readonly signal?: AbortSignal | undefined
  /** What messages call the config: a file's path, or by default `config`. */
  readonly source?: string | undefined
}

export interface ResumeSearchOptions extends SearchOptions {
  /** A new total of steps, more than are done. */
  readonly steps?: number | undefined
}

/** A finished search. */
export interface SearchRun {
  readonly folder: string
  readonly config: SearchConfig
  readonly result: SearchResult
}

/** What `run.json` holds of a search. */
interface SearchDetails extends RunDetails {
  /** The smaller model that scores candidates, where there is one. */
  readonly draft?: KnownModel
  /** The model that writes prompts, where it is another. */
  readonly optimizer?: KnownModel
}

/**
 * A search's config, with the prompt that it begins with where another run or the task's examples give it, and its rows.
 * @throws GradpromptError what is wrong with either
 */
export async function configAndTask(
  input: SearchConfigInput,
  source: string,
): Promise<{ config: SearchConfig; task: SearchTask }> {
  const parsed = parseSearchConfig(await withPrompt(input), { source })
  const task = await readSearchTask(parsed)
  return { config: withExamples(parsed, task), task }
}

/**
 * Searches for a prompt of tokens and writes a run folder: config, events, checkpoints, `prompt.json`, `result.json`.
 *
 * Whatever can be wrong with a config or its data is found before the folder is made.
 * @throws GradpromptError `invalid-config`, `unknown-option`, `no-prompt-place`, `overlapping-rows`, `prompt-not-separable`,
 *   `empty-vocabulary`, `run-exists`, and what reading data and loading a model throw; `budget-too-small`; after `aborted` the search
 *   can be resumed
 */
export async function search(
  input: SearchConfigInput,
  { onEvent, onProgress, signal, source = 'config' }: SearchOptions = {},
): Promise<SearchRun> {
  const started = performance.now()
  const { config, task } = await configAndTask(input, source)
  if (config.out !== undefined) await refuseOccupied(config.out)
  refuseAborted(signal)
  const model = await loadRunModel(config)
  try {
    const job = await prepareSearch(config, task, model)
    try {
      refuseAborted(signal)
      const run = await createRun(config.out, { config, name: runName(config), details: detailsOf(config, job) })
      try {
        return {
          folder: run.folder,
          config,
          result: await runSearch(job, run, { onEvent, onProgress, signal, started, warnings: warningsOf(task) }),
        }
      } finally {
        await run.close()
      }
    } finally {
      await disposeJob(job)
    }
  } finally {
    await model.dispose()
  }
}

/**
 * Goes on with a search from its last checkpoint, to the same bits as if it had never stopped (on the same processor, versions and
 * threads; a `warning` event says where they differ). A finished one is returned at once, unless there are more `steps` to do.
 * @throws GradpromptError `not-a-run`, `run-locked`, `invalid-steps`, `model-changed`, `data-changed`, and as `search` does
 */
export async function resumeSearch(
  folder: string,
  { steps, onEvent, onProgress, signal }: ResumeSearchOptions = {},
): Promise<SearchRun> {
  const started = performance.now()
  const known = await openRun(folder)
  const stored = searchConfigOf({ folder, config: known.config })
  const result = (await known.readResult()) as SearchResult | undefined
  if (result !== undefined && (steps === undefined || steps === result.steps))
    return { folder, config: stored, result: { ...result, folder } }
  const run = await openRun(folder, { write: true })
  try {
    const warnings: WarningEvent[] = []
    const config =
      steps === undefined ? stored : searchConfigOf({ folder, config: { ...stored, search: { ...stored.search, steps } } })
    const checkpoint = await run.latestCheckpoint(({ code, message }) => warnings.push({ event: 'warning', code, message }))
    const done = checkpoint?.step ?? 0
    if (steps !== undefined && !(Number.isSafeInteger(steps) && steps > done))
      throw new GradpromptError('invalid-steps', 'the number of steps to resume to is not valid', {
        found: String(steps),
        expected: `a whole number, more than the ${done} that are done`,
      })
    const details = run.details as Partial<SearchDetails> | undefined
    const task = await readSearchTask(config)
    refuseOtherData(details, task.sources)
    refuseAborted(signal)
    const model = await loadRunModel(config, details)
    try {
      refuseOtherModel(details?.model, model)
      warnings.push(...environmentWarnings(details, model))
      const job = await prepareSearch(config, task, model, checkpoint && progressOf(checkpoint))
      try {
        if (job.draft !== undefined) refuseOtherModel(details?.draft, job.draft.model)
        if (job.optimizer !== undefined) refuseOtherModel(details?.optimizer, job.optimizer)
        await run.rewind(done)
        if (steps !== undefined) await run.writeConfig(config)
        const options: SearchRunOptions = { onEvent, onProgress, signal, started, warnings }
        return { folder, config, result: await runSearch(job, run, options) }
      } finally {
        await disposeJob(job)
      }
    } finally {
      await model.dispose()
    }
  } finally {
    await run.close()
  }
}

const warningsOf = ({ repeated, notices }: SearchTask): WarningEvent[] => {
  const rows = {
    code: 'repeated-rows',
    message: `${repeated} rows are left out: the file holds them twice, and test or dev has the other copy`,
  }
  return [...notices, ...(repeated === 0 ? [] : [rows])].map(notice => ({ event: 'warning', ...notice }))
}

/** A search that begins with a run's vectors has, unless it says another, a prompt of as many tokens. */
async function withPrompt(input: SearchConfigInput): Promise<SearchConfigInput> {
  const { search } = input ?? {}
  if (typeof search !== 'object' || search === null || !('from' in search) || 'prompt' in search) return input
  const { softPromptOf } = await import('../search/run/soft-prompt.js')
  const { count } = await softPromptOf(String(search.from))
  return { ...input, search: { ...search, prompt: ' x'.repeat(count) } }
}

function detailsOf(config: SearchConfig, { task, model, draft, optimizer }: SearchJob): SearchDetails {
  const known = ({ name, hash }: LanguageModel) => ({ name, hash })
  return {
    ...runDetails(config.model, model, task.sources),
    ...(draft && { draft: known(draft.model) }),
    ...(optimizer && { optimizer: known(optimizer) }),
  }
}

/** `runs/gcg-sst2` */
const runName = ({ data, search }: SearchConfig) => `${search.type}-${nameOfData(data.train)}`
