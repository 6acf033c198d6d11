import { refuseUnknown } from '../config/call-options.js'
import type { SearchActivity, SearchEvent } from '../search/run/events.js'
import { openRun } from '../store/run-folder.js'
import type { GradpromptEvent, ScoringProgress } from '../train/events.js'
import { resumeSearch, type SearchRun } from './search.js'
import { resumeNames, type ResumeOptions as SittingOptions } from './sitting.js'
import { resumeTune, type TuneRun } from './tune.js'

/** Going on with a run, whatever it learns: its folder says which kind it is. */

export type ResumeOptions = SittingOptions<GradpromptEvent | SearchEvent, ScoringProgress | SearchActivity>

/**
 * Goes on with a run from its last checkpoint, to the same bits as if it had never stopped (on the same processor, versions and
 * threads; a `warning` event says where they differ). A finished one is returned at once, unless there are more `steps` to do.
 *
 * ```ts
 * const run = await resume('runs/sst2', { steps: 800 })
 * const again = await resume('runs/mine', { data: { train: rows } })   // rows that were in memory are handed over again
 * ```
 *
 * @returns what `tune` or `search` returns, as the folder is a run of one or the other
 * @throws GradpromptError `not-a-run`, `run-locked`, `invalid-steps`, `model-changed`, `data-changed`, `rows-needed`,
 *   `checkpoint-mismatch`, and as `tune` and `search` do
 */
export async function resume(folder: string, options: ResumeOptions = {}): Promise<TuneRun | SearchRun> {
  refuseUnknown('resume', options, resumeNames)
  const { isSearch } = await openRun(folder)
  return isSearch ? resumeSearch(folder, options) : resumeTune(folder, options)
}
