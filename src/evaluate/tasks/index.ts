import { randomUUID } from 'node:crypto'
import type { DataRecord } from '../../data/readers/records.js'
import { type RecordTask, recordTasks } from '../../data/task-records.js'
import { unknownName } from '../../errors.js'
import { Registry } from '../../registry.js'
import { bbh, bbhTaskName, bbhTasks } from './bbh.js'
import { humaneval, humanevalChat, mbpp, mbppChat } from './code.js'
import { gsm8k } from './gsm8k.js'
import { presets } from './presets.js'
import { benchmarkColumns, type GenerationTask } from './task.js'

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

/** A task, or what makes one of a data file. */
export interface TaskAdapter {
  readonly name: string
  /** The benchmark whose columns the file is read into; by default none. */
  readonly columns?: string
  /** What scores its answers where nothing else is asked for. */
  readonly scorer?: string
  /** Tells apart what a task of people's own was at different times. */
  readonly version?: string
  task(file: TaskFile): GenerationTask
}

/** A task of people's own: what a `GenerationTask` says, of which most has a default, and how its rows are read. */
export type OwnTask = Pick<GenerationTask, 'name' | 'template' | 'filters'> & Partial<GenerationTask> & Partial<RecordTask>

const asIs = (name: string, task: GenerationTask, columns?: string): TaskAdapter => ({
  name,
  ...(columns !== undefined && { columns }),
  ...(task.scorer !== undefined && { scorer: task.scorer }),
  task: () => task,
})

/** Every task that is built in: a new one is a file beside `gsm8k.ts`, and a line here. */
const builtIn: readonly TaskAdapter[] = [
  { name: 'bbh', columns: 'bbh', task: ({ path, rows }) => bbh(bbhTaskName(path), { rows }) },
  asIs('gsm8k', gsm8k, 'gsm8k'),
  ...[humaneval, humanevalChat].map(task => asIs(task.name, task, 'humaneval')),
  ...[mbpp, mbppChat].map(task => asIs(task.name, task, 'mbpp')),
  { name: 'bbh-reasoning', columns: 'bbh', task: ({ path, rows }) => bbh(bbhTaskName(path), { rows, reasoning: true }) },
  ...Object.entries(presets).map(([preset, made]): TaskAdapter => {
    const name = `lm-eval/${preset}`
    return typeof made === 'function'
      ? { name, columns: 'bbh', task: ({ path }) => made(knownTask(path)) }
      : asIs(name, made, 'gsm8k')
  }),
]

const defaults = {
  description: '',
  example: ' {answer}',
  separator: '\n\n',
  shots: 0,
  answer: ' {answer}',
  stop: [],
  maxNewTokens: 256,
  ...benchmarkColumns,
} satisfies Partial<GenerationTask>

/**
 * The tasks of the benchmarks, by the name of `data.task`, or of a preset of lm-evaluation-harness as `lm-eval/NAME`; people's own join
 * in.
 */
export const taskAdapters = new Registry<TaskAdapter>(
  {
    word: 'task',
    exports: ['task'],
    name: 'name',
    requires: { template: 'a text or a list', filters: 'a list', question: 'a function', reference: 'a function' },
    calls: {},
    complete: given => (typeof given === 'object' && given !== null ? { ...defaults, ...given } : given),
    // What is checked are the members of the task itself.
    prepare: (own, version = randomUUID()) => ({
      ...asIs(own.name, own as unknown as GenerationTask, 'record' in own ? own.name : undefined),
      version,
    }),
  },
  builtIn.map((adapter): [string, TaskAdapter] => [adapter.name, adapter]),
)

/**
 * A task by its name, or one of people's own: an object, or the path of a module. One that says how its rows are read is known to
 * `data.task` from then on as well.
 * @throws GradpromptError `unknown-task`, `file-not-found`, `invalid-task`
 */
export async function loadTask(given: string | OwnTask): Promise<TaskAdapter> {
  const adapter = taskAdapters.get(await taskAdapters.load(given))
  if (adapter.columns === adapter.name) await recordTasks.load(given)
  return adapter
}

/** @throws GradpromptError `unknown-task` */
export const taskFor = (name: string, file: TaskFile): GenerationTask => taskAdapters.get(name).task(file)

/** A preset knows the tasks of BBH by name alone. */
function knownTask(path: string): string {
  const name = bbhTaskName(path)
  if (bbhTasks.includes(name)) return name
  throw unknownName('unknown-task', `the name of ${path} is not that of a task of BIG-Bench Hard`, name, bbhTasks)
}
