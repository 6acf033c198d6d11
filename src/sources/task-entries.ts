import type { ModelFamily } from '../../models/blocks/family.js'
import { families } from '../../models/index.js'
import { type OpenOption, withOwnEntries } from '../config/own-entries.js'
import { type DataReader, dataReaders } from '../data/readers/index.js'
import { type RecordTask, recordTasks } from '../data/task-records.js'
import type { MadeWithModules } from '../own-modules.js'

/** A config as a user writes it: what its schema takes, and people's own entries as objects. */
export type OpenInput<Input extends { data: object; families?: unknown }> = Omit<Input, 'data' | 'families'> & {
  data: Omit<Input['data'], 'task' | 'readers'> & {
    task?: string | RecordTask | undefined
    readers?: readonly (string | DataReader)[] | undefined
  }
  families?: readonly (string | ModelFamily)[] | undefined
}

/** The options of a task that may name people's own entries, whatever learns or searches in it. */
export const taskOpenOptions: readonly OpenOption[] = [
  ['data.readers', dataReaders],
  ['data.task', recordTasks],
  ['families', families],
]

/** The config of a run with its own entries loaded, but for those of its method. */
export const loadTaskEntries = <Given>(config: Given, run: MadeWithModules): Promise<Given> =>
  withOwnEntries(config, taskOpenOptions, run)
