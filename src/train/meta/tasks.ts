import type { DataNotice } from '../../data/readers/reader.js'
import { columnValue, type DataRecord, originOf, shorten } from '../../data/readers/records.js'
import { GradpromptError } from '../../errors.js'
import { shuffle, streams } from '../../random.js'
import type { MetaOptions } from './options.js'

/** The tasks of a meta-learning run, and which of their rows a step sees: functions of seed and step, so that a run goes on where it was. */

/** Places of the training rows of each task, by its name, in the order of the data. */
export type TaskRows = ReadonlyMap<string, readonly number[]>

/** @throws GradpromptError `missing-column`, `null-value`, `no-task` where a row names none, `too-few-tasks` */
export function metaTasks(records: readonly DataRecord[], column: string): TaskRows {
  const tasks = new Map<string, number[]>()
  for (const [i, record] of records.entries()) {
    const name = columnValue(record, column, i)
    // What has no name in common is no task.
    if (name.trim() === '')
      throw new GradpromptError('no-task', `${originOf(record, i)} names no task`, {
        found: `nothing as ${column}`,
        expected: 'the name of the task that the row is of',
        hint: 'fill it in, or drop the row',
      })
    const own = tasks.get(name)
    if (own === undefined) tasks.set(name, [i])
    else own.push(i)
  }
  if (tasks.size < 2)
    throw new GradpromptError('too-few-tasks', 'a start is learned from several tasks', {
      found: `${column}: ${[...tasks.keys()].map(shorten).join(', ') || 'nothing'} in all training rows`,
      expected: 'two tasks at least',
      hint: `train.meta.tasks names the column; the columns are ${Object.keys(records[0] ?? {}).join(', ')}`,
    })
  return tasks
}

/** Names that a message shows at most. */
const mostNames = 5

/** @returns none where no start is learned */
export function metaNotices(meta: Pick<MetaOptions, 'tasks'> | undefined, records: readonly DataRecord[]): DataNotice[] {
  if (meta === undefined) return []
  const { tasks: column } = meta
  const tasks = metaTasks(records, column)
  const named = [...tasks].map(([name, { length }]) => `${shorten(name)} (${length} ${length === 1 ? 'row' : 'rows'})`)
  const more = named.length - mostNames
  const listed = `${named.slice(0, mostNames).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
  return [{ code: 'meta-tasks', message: `a start is learned over the ${tasks.size} tasks of ${column}: ${listed}` }]
}

/** A task of a step, with the places of the rows that it is adapted on, and of those that follow. */
export interface DrawnTask {
  readonly name: string
  /** Of each inner step. */
  readonly support: readonly (readonly number[])[]
  /** Rows of the task behind these; where it has few, of their beginning again. */
  readonly query: readonly number[]
  /** Rows of another task, one batch for each inner step, and one beside `query`. */
  readonly others: readonly (readonly number[])[]
}

/** The tasks of a step, counted from 0. */
export function drawTasks(
  tasks: TaskRows,
  step: number,
  { tasksPerStep, inner }: Pick<MetaOptions, 'tasksPerStep' | 'inner'>,
  { batchSize, seed }: { readonly batchSize: number; readonly seed: number },
): DrawnTask[] {
  const names = shuffle([...tasks.keys()], seed, streams.meta, step)
  const batchesOf = (name: string, count: number, ...stream: readonly number[]) => {
    const order = shuffle(tasks.get(name)!, seed, streams.meta, step, ...stream)
    return Array.from({ length: count }, (_, i) =>
      Array.from({ length: Math.min(batchSize, order.length) }, (_, j) => order[(i * batchSize + j) % order.length]!),
    )
  }
  return Array.from({ length: tasksPerStep }, (_, place) => {
    const name = names[place % names.length]!
    const other = names[(place + 1) % names.length]!
    const own = batchesOf(name, inner.steps + 1, place, 0)
    return { name, support: own.slice(0, -1), query: own.at(-1)!, others: batchesOf(other, inner.steps + 1, place, 1) }
  })
}
