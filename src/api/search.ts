import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { TaskRows } from '../data/task.js'
import { type LabelWords, labelWordsOf } from '../data/texts/labels.js'
import { requireReachable } from '../endpoint/client.js'
import { GradpromptError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import {
  loadSearchEntries,
  needsOf,
  noRows,
  parseSearchConfig,
  type SearchConfig,
  type SearchConfigInput,
  searchSources,
} from '../search/config.js'
import { searchMethods } from '../search/methods/index.js'
import type { SearchActivity, SearchEvent, SearchResult } from '../search/run/events.js'
import { disposeJob, prepareSearch, type SearchJob } from '../search/run/job.js'
import { progressOf } from '../search/run/loop.js'
import { runSearch } from '../search/run/run-search.js'
import { settled } from '../search/run/settle.js'
import { withExamples } from '../search/run/shots.js'
import { readSearchTask, type SearchTask } from '../search/run/task.js'
import { type KnownModel, nameOfData, type RunDetails, refuseOtherModel, runDetails } from '../store/run-details.js'
import type { Hearer } from '../store/run-session.js'
import { type Given, separate } from './given.js'
import { searchConfigOf } from './runs/configs.js'
import { beginRun, type Learning, type ResumeOptions, resumeRun } from './sitting.js'

/** Searching for a prompt of words: the library's `search`, and how one goes on. */

/** A config as a file has it; `model` may be open, and `data.train`, `data.dev`, `data.test` may be rows. */
export type SearchInput = Given<SearchConfigInput> & { search: SearchConfigInput['search'] }

export interface SearchOptions extends Hearer<SearchEvent, SearchActivity> {
  /** What messages call the config: a file's path, or by default `config`. */
  readonly source?: string | undefined
}

export type ResumeSearchOptions = ResumeOptions<SearchEvent, SearchActivity>

/** A finished search. */
export interface SearchRun {
  readonly folder: string
  readonly config: SearchConfig
  readonly result: SearchResult
}

/** What `run.json` holds of a search. */
interface SearchDetails extends RunDetails {
  /** The classes, as its training rows had them; null where answers are free text. */
  readonly labels: LabelWords | null
  /** The smaller model that scores candidates, where there is one. */
  readonly draft?: KnownModel
  /** The model that writes prompts, where it is another. */
  readonly optimizer?: KnownModel
  /** The model that compares answers, where it is another. */
  readonly judge?: KnownModel
}

/**
 * A search's config, with the prompt that it begins with where another run or the task's examples give it, and its rows.
 * @throws GradpromptError what is wrong with either
 */
export async function configAndTask(
  input: unknown,
  source: string,
  rows: TaskRows = {},
): Promise<{ config: SearchConfig; task: SearchTask }> {
  const given = await loadSearchEntries(input as SearchConfigInput)
  const parsed = await withSoftPrompt(given, parseSearchConfig(given, { source }), source)
  const task = await readSearchTask(parsed, rows)
  return { config: withExamples(parsed, task), task }
}

const names = { onEvent: true, onProgress: true, signal: true, source: true } satisfies OptionNames<SearchOptions>

/**
 * Searches for a prompt of tokens and writes a run folder: config, events, checkpoints, `prompt.json`, `result.json`, `report.html`.
 *
 * Whatever can be wrong with a config or its data is found before the folder is made.
 * @throws GradpromptError `invalid-config`, `unknown-option`, `no-prompt-place`, `overlapping-rows`, `prompt-not-separable`,
 *   `empty-vocabulary`, `run-exists`, and what reading data and loading a model throw; `budget-too-small`; after `aborted` (an
 *   `AbortError`) the search can be resumed
 */
export async function search(given: SearchInput, options: SearchOptions = {}): Promise<SearchRun> {
  const started = performance.now()
  refuseUnknown('search', options, names)
  const { source = 'config', ...hearer } = options
  const { input, model, rows } = await separate(given)
  const { config, task } = await configAndTask(input, source, rows)
  return beginRun(searching, { config, task: withNotices(task), model, started, ...hearer })
}

/**
 * Goes on with a search from its last checkpoint, to the same bits as if it had never stopped (on the same processor, versions and
 * threads; a `warning` event says where they differ). A finished one is returned at once, unless there are more `steps` to do.
 * @throws GradpromptError `not-a-run`, `run-locked`, `invalid-steps`, `model-changed`, `data-changed`, `rows-needed`, and as `search` does
 */
export const resumeSearch = (folder: string, options: ResumeSearchOptions = {}): Promise<SearchRun> =>
  resumeRun(searching, folder, options)

const searching: Learning<SearchConfig, SearchTask, SearchJob, SearchEvent, SearchActivity, { readonly result: SearchResult }> = {
  configOf: searchConfigOf,
  modulesOf: searchSources,
  withSteps(config, steps, { folder }) {
    if (searchMethods.get(config.search.type).isPrivate)
      throw new GradpromptError('breaks-privacy', 'a private search has as many steps as its noise was chosen for', {
        found: `${steps} steps`,
        expected: 'none beyond those that it began with',
        hint: 'begin a new search with as many',
      })
    return searchConfigOf({ folder, config: { ...config, search: { ...config.search, steps } } })
  },
  readTask: async (config, rows) => withNotices(await readSearchTask(config, rows)),
  prepare: (config, task, model, checkpoint) => prepareSearch(config, task, model, checkpoint && progressOf(checkpoint)),
  dispose: disposeJob,
  // What an endpoint needs is missed before the model is loaded.
  async check(config) {
    const { writer, judge } = needsOf(config)
    for (const role of [writer, judge]) if (typeof role === 'object') requireReachable(role)
  },
  settled,
  noticesOf: (config, { space }) => space.notices(config.answerEnd),
  secondsOf: ({ progress }) => progress?.seconds ?? 0,
  // `runs/gcg-sst2`
  name: ({ data, search }) => (data.train === noRows ? search.type : `${search.type}-${nameOfData(data.train)}`),
  detailsOf(config, { task, model, space, draft, optimizer, judge }): SearchDetails {
    const known = ({ name, hash }: LanguageModel) => ({ name, hash })
    return {
      ...runDetails(config.model, model, task.sources, searchSources(config), space.end),
      labels: task.labels ? labelWordsOf(task.labels) : null,
      ...(draft && { draft: known(draft.model) }),
      ...(optimizer && { optimizer: known(optimizer) }),
      ...(judge && { judge: known(judge) }),
    }
  },
  checkDetails(details: Partial<SearchDetails> | undefined, { draft, optimizer, judge }) {
    if (draft !== undefined) refuseOtherModel(details?.draft, draft.model)
    if (optimizer !== undefined) refuseOtherModel(details?.optimizer, optimizer)
    if (judge !== undefined) refuseOtherModel(details?.judge, judge)
  },
  async run(job, session) {
    return { result: await runSearch(job, session) }
  },
  async finished({ folder }, _, result) {
    return { result: { ...(result as SearchResult), folder } }
  },
}

const withNotices = (task: SearchTask): SearchTask => ({ ...task, notices: noticesOf(task) })

const noticesOf = ({ repeated, notices }: SearchTask): DataNotice[] => {
  const message = `${repeated} rows are left out: the file holds them twice, and test or dev has the other copy`
  return [...notices, ...(repeated === 0 ? [] : [{ code: 'repeated-rows', message }])]
}

/** A search that begins with a run's vectors has, unless it says another, a prompt of as many tokens. */
async function withSoftPrompt(input: SearchConfigInput, parsed: SearchConfig, source: string): Promise<SearchConfig> {
  const { softPrompt } = needsOf(parsed)
  if (softPrompt === undefined || 'prompt' in input.search) return parsed
  const { softPromptOf } = await import('../search/run/soft-prompt.js')
  const { count } = await softPromptOf(softPrompt)
  return parseSearchConfig({ ...input, search: { ...input.search, prompt: ' x'.repeat(count) } }, { source })
}
