import { GradpromptError } from '../../errors.js'
import type { DataNotice } from '../readers/reader.js'
import { columnValue, type DataRecord, shorten } from '../readers/records.js'
import { isOfNone, type RowTasks } from './types.js'

/** What is to be said of training rows that belong to tasks: tasks that none of them is of, and rows that are of none. */

/** Names that a message shows at most. */
const mostNames = 5

/** @throws GradpromptError `missing-column`, `no-task-rows` where no row is of any task */
export function taskNotices(tasks: RowTasks | undefined, training: readonly DataRecord[]): DataNotice[] {
  if (tasks?.column === undefined) return []
  const { column, names } = tasks
  const named = training.filter((record, i) => !isOfNone(record, i, tasks))
  if (named.length === 0 && training.length > 0)
    throw new GradpromptError('no-task-rows', 'no training row is of any of the tasks', {
      found: Object.hasOwn(training[0]!, column) ? `nothing as ${column} in all rows` : `no column ${column}`,
      expected: `a column ${column} with ${names.slice(0, mostNames).map(shorten).join(', ')}`,
      hint: `the columns are ${Object.keys(training[0]!).join(', ')}`,
    })
  const found = new Set(named.map((record, i) => columnValue(record, column, i)))
  const absent = names.filter(name => !found.has(name))
  const [shown, more] = [absent.slice(0, mostNames).map(shorten).join(', '), absent.length - mostNames]
  const none = training.length - named.length
  return [
    ...(absent.length === 0
      ? []
      : [
          {
            code: 'tasks-without-rows',
            message: `no training row has ${column}: ${shown}${more > 0 ? ` and ${more} more` : ''}; nothing of their own is learned`,
          },
        ]),
    ...(none === 0
      ? []
      : [{ code: 'rows-of-no-task', message: `${none} of ${training.length} training rows have nothing as ${column}` }]),
  ]
}
