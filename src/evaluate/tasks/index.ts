import type { DataRecord } from '../../data/records.js'
import type { DataTask } from '../../data/task-records.js'
import { GradpromptError, nearest } from '../../errors.js'
import { bbh, bbhTaskName, bbhTasks } from './bbh.js'
import { gsm8k } from './gsm8k.js'
import { presets } from './presets.js'
import type { GenerationTask } from './task.js'

export { bbh, bbhTaskName, bbhTasks } from './bbh.js'
export { classification, freeText } from './classification.js'
export { gsm8k } from './gsm8k.js'
export { presets } from './presets.js'
export { cutAtStop, type Filter, type GenerationTask, promptTemplate } from './task.js'

export interface TaskFile {
  /** The data file, whose name is that of a BBH task. */
  readonly path: string
  readonly rows: readonly DataRecord[]
}

type Adapter = (file: TaskFile) => GenerationTask

/** The tasks of the benchmarks: by the name of `data.task`, or of a preset of lm-evaluation-harness as `lm-eval/NAME`. */
export const taskAdapters: ReadonlyMap<string, Adapter> = new Map<string, Adapter>([
  ...Object.entries({
    bbh: ({ path, rows }) => bbh(bbhTaskName(path), { rows }),
    gsm8k: () => gsm8k,
  } satisfies Record<DataTask, Adapter>),
  ['bbh-reasoning', ({ path, rows }) => bbh(bbhTaskName(path), { rows, reasoning: true })],
  ...Object.entries(presets).map(([name, preset]): [string, Adapter] => [
    `lm-eval/${name}`,
    typeof preset === 'function' ? ({ path }) => preset(knownTask(path)) : () => preset,
  ]),
])

/** @throws GradpromptError `unknown-task` */
export function taskFor(name: string, file: TaskFile): GenerationTask {
  const adapter = taskAdapters.get(name)
  if (adapter !== undefined) return adapter(file)
  throw unknownTask('there is no such task', name, [...taskAdapters.keys()])
}

/** A preset knows the tasks of BBH by name alone. */
function knownTask(path: string): string {
  const name = bbhTaskName(path)
  if (bbhTasks.includes(name)) return name
  throw unknownTask(`the name of ${path} is not that of a task of BIG-Bench Hard`, name, bbhTasks)
}

function unknownTask(message: string, found: string, known: readonly string[]): GradpromptError {
  const meant = nearest(found, known)
  return new GradpromptError('unknown-task', message, {
    found,
    expected: `one of ${known.join(', ')}`,
    ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
  })
}
