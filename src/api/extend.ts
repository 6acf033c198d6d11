import type { ModelFamily } from '../../models/blocks/family.js'
import { families } from '../../models/index.js'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { type DataReader, dataReaders } from '../data/readers/index.js'
import { GradpromptError } from '../errors.js'
import { type OwnScorer, scorers } from '../evaluate/scorer.js'
import { loadTask, type OwnTask } from '../evaluate/tasks/index.js'
import { exportTargets } from '../export/index.js'
import type { ExportTarget } from '../export/target.js'
import { losses } from '../losses/index.js'
import type { Loss } from '../losses/loss.js'
import { inWords } from '../own-calls.js'
import type { PromptMethod } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { searchMethods } from '../search/methods/index.js'
import type { SearchMethod } from '../search/moves/method.js'
import { type OwnStrategy, strategies } from '../strategies/index.js'
import { trackers } from '../track/index.js'
import type { Tracker } from '../track/tracker.js'

/** Entries of people's own: objects, or paths of modules. */
export interface Extensions {
  readonly methods?: readonly (string | PromptMethod)[]
  readonly searches?: readonly (string | SearchMethod)[]
  readonly losses?: readonly (string | Loss)[]
  readonly families?: readonly (string | ModelFamily)[]
  readonly targets?: readonly (string | ExportTarget)[]
  readonly scorers?: readonly (string | OwnScorer)[]
  readonly readers?: readonly (string | DataReader)[]
  readonly tasks?: readonly (string | OwnTask)[]
  readonly strategies?: readonly (string | OwnStrategy)[]
  readonly trackers?: readonly (string | Tracker)[]
}

const names = {
  methods: true,
  searches: true,
  losses: true,
  families: true,
  targets: true,
  scorers: true,
  readers: true,
  tasks: true,
  strategies: true,
  trackers: true,
} satisfies OptionNames<Extensions>

/**
 * Makes entries of your own known by their names, as the built-in ones are: an object by its `type` or `name`, a module by its path as
 * it is written here. A config, or a call that takes an entry, may be given the object or the path itself and needs none of this; but
 * a run that was made with an object knows it by its name alone, and has to find it under that.
 * @throws GradpromptError `unknown-option`, `invalid-option`, `file-not-found`, `name-taken`, `invalid-method` and the like, naming the member that is missing
 */
export async function extend(given: Extensions): Promise<void> {
  refuseUnknown('extend', given, names)
  for (const [name, entries] of Object.entries(given)) {
    if (entries === undefined || Array.isArray(entries)) continue
    throw new GradpromptError('invalid-option', `extend: ${name} are no list`, {
      found: inWords(entries),
      expected: `${name}: [ … ]`,
    })
  }
  for (const method of given.methods ?? []) await promptMethods.load(method)
  for (const search of given.searches ?? []) await searchMethods.load(search)
  for (const loss of given.losses ?? []) await losses.load(loss)
  for (const family of given.families ?? []) await families.load(family)
  for (const target of given.targets ?? []) await exportTargets.load(target)
  for (const scorer of given.scorers ?? []) await scorers.load(scorer)
  for (const reader of given.readers ?? []) await dataReaders.load(reader)
  for (const task of given.tasks ?? []) await loadTask(task)
  for (const strategy of given.strategies ?? []) await strategies.load(strategy)
  for (const tracker of given.trackers ?? []) await trackers.load(tracker)
}
