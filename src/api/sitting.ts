import { basename, resolve } from 'node:path'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import type { DataNotice } from '../data/readers/reader.js'
import { type Part, parts, type TaskRows } from '../data/task.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { type ModelSettings, useModel } from '../model/with-model.js'
import { ownCommand } from '../own-command.js'
import type { DeviceChoice } from '../program/devices.js'
import type { Checkpoint } from '../store/checkpoints.js'
import type { RunEvent, WarningEvent } from '../store/events.js'
import { environmentWarnings, moduleWarnings, type RunDetails, refuseOtherData, refuseOtherModel } from '../store/run-details.js'
import { createRun, openRun, type Run, refuseOccupied } from '../store/run-folder.js'
import { missingPaths, withValue } from '../store/run-paths.js'
import { type Hearer, RunSession } from '../store/run-session.js'
import { openTracking } from '../track/tracking.js'
import { type GivenRows, takeParts } from './given.js'

/**
 * A sitting of a run, from its beginning or from its last checkpoint: what is opened, in which order, what must be the same as at the
 * first time, what is written and closed. What is learned is said by a `Learning`: `tune.ts` and `search.ts` have one each.
 */

interface LearningConfig extends ModelSettings {
  readonly model: string
  readonly out?: string | undefined
  readonly track?: readonly string[] | undefined
}

interface LearningTask {
  readonly sources: RunDetails['data']
  /** Said when the run begins: what was guessed about the data, and what may be wrong with them. */
  readonly notices: readonly DataNotice[]
}

/** What differs between learning vectors and searching for words. */
export interface Learning<
  Config extends LearningConfig,
  Task extends LearningTask,
  Job,
  Event extends RunEvent,
  Activity,
  Outcome,
> {
  /** @throws GradpromptError as parsing does */
  configOf(run: Run): Promise<Config>
  withSteps(config: Config, steps: number, run: Run): Config | Promise<Config>
  /** Modules of people's own that the config names, with the hashes of their files. */
  modulesOf(config: Config): Readonly<Record<string, string>>
  readTask(config: Config, rows: TaskRows): Promise<Task>
  /** Refuses, before a model is read, what does not fit it. */
  check?(config: Config, task: Task): Promise<void>
  /** @param onProgress hears how far a long part of it has come */
  prepare(
    config: Config,
    task: Task,
    model: LanguageModel,
    checkpoint: Checkpoint | undefined,
    onProgress?: (activity: Activity) => unknown,
  ): Promise<Job>
  /** What else is to be said before the first step. */
  noticesOf?(config: Config, job: Job): readonly DataNotice[]
  /** What the job has opened beside the model. */
  dispose?(job: Job): Promise<void>
  /** Seconds of earlier sittings. */
  secondsOf(job: Job): number
  /** Called where a run goes on beyond the steps that it had. */
  goOn?(job: Job): void
  name(config: Config): string
  detailsOf(config: Config, job: Job): RunDetails
  /** @throws GradpromptError `model-changed` where another model than the learning one is not that of the run's beginning */
  checkDetails?(details: Partial<RunDetails> | undefined, job: Job): void
  /** What is decided with the model at hand, before a run begins; a run that goes on has it in its config. */
  settled?(config: Config, task: Task, model: LanguageModel): Promise<{ config: Config; notices: readonly DataNotice[] }>
  run(job: Job, session: RunSession<Event, Activity>): Promise<Outcome>
  /** What a run that has ended came to. */
  finished(run: Run, config: Config, result: object): Promise<Outcome>
}

/** A run that has come to its end. */
export type Finished<Config, Outcome> = { readonly folder: string; readonly config: Config } & Outcome

export interface Beginning<Config, Task, Event, Activity> extends Hearer<Event, Activity> {
  readonly config: Config
  readonly task: Task
  /** A model that is open. */
  readonly model: LanguageModel | undefined
  /** When the work began, on the clock of `performance.now()`. */
  readonly started: number
}

/** @throws GradpromptError `run-exists`, `folder-not-empty`, `aborted`, and what the learning throws */
export async function beginRun<
  Config extends LearningConfig,
  Task extends LearningTask,
  Job,
  Event extends RunEvent,
  Activity,
  Outcome extends object,
>(
  learning: Learning<Config, Task, Job, Event, Activity, Outcome>,
  { config: asked, task, model: given, ...listening }: Beginning<Config, Task, Event, Activity>,
): Promise<Finished<Config, Outcome>> {
  const { signal, onEvent } = listening
  if (asked.out !== undefined) await refuseOccupied(asked.out)
  const told: WarningEvent[] = []
  // Before the folder is made, whoever listens hears of what the data are like; the log has it as soon as there is one.
  const tell = async (notices: readonly DataNotice[]) => {
    for (const notice of notices) {
      const warning: WarningEvent = { event: 'warning', ...notice }
      told.push(warning)
      await onEvent?.(warning as unknown as Event)
    }
  }
  await tell(task.notices)
  refuseAborted(signal)
  await learning.check?.(asked, task)
  await using used = await useModel(given ?? asked.model, asked)
  const { config, notices } = (await learning.settled?.(asked, task, used.model)) ?? { config: asked, notices: [] }
  await tell(notices)
  const job = await learning.prepare(config, task, used.model, undefined, listening.onProgress)
  await using _ = disposing(learning, job)
  await tell(learning.noticesOf?.(config, job) ?? [])
  refuseAborted(signal)
  const details = learning.detailsOf(config, job)
  await using run = await createRun(config.out, { config, name: learning.name(config), details })
  for (const warning of told) run.appendEvent(warning)
  return await sit(learning, { config, job, run, model: used.model, warnings: [], ...listening })
}

export interface ResumeOptions<Event, Activity> extends Hearer<Event, Activity> {
  /** A new total of steps, more than are done. */
  readonly steps?: number | undefined
  /** The model of the run, where it is open already, or where it is now. */
  readonly model?: LanguageModel | string | undefined
  /** Where it runs now, where the device of its beginning is not there any more. */
  readonly device?: DeviceChoice | undefined
  /** The rows that the run began with, where they were in memory, or the files that they are in now. */
  readonly data?: GivenRows | undefined
}

export const resumeNames = {
  onEvent: true,
  onProgress: true,
  signal: true,
  steps: true,
  model: true,
  device: true,
  data: true,
} satisfies OptionNames<ResumeOptions<never, never>>

/** @throws GradpromptError `unknown-option`, `not-a-run`, `run-locked`, `invalid-steps`, `rows-needed`, `data-changed`, `model-changed`, and as `beginRun` */
export async function resumeRun<
  Config extends LearningConfig,
  Task extends LearningTask,
  Job,
  Event extends RunEvent,
  Activity,
  Outcome extends object,
>(
  learning: Learning<Config, Task, Job, Event, Activity, Outcome>,
  folder: string,
  options: ResumeOptions<Event, Activity>,
): Promise<Finished<Config, Outcome>> {
  const started = performance.now()
  refuseUnknown('resume', options, resumeNames)
  const { steps, model: given, device, data, ...listening } = options
  const { signal } = listening
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 1))
    throw invalidSteps(steps, 'a whole number of at least 1')
  if (device !== undefined && typeof given === 'object') throw deviceOfModel(device)
  const known = await openRun(folder)
  const stored = await learning.configOf(known)
  const result = (await known.readResult()) as { readonly steps: number } | undefined
  if (result !== undefined && (steps === undefined || steps === result.steps)) {
    const { hasReport, writeReport } = await import('./report.js')
    if (!(await hasReport(folder))) await writeReport(folder, typeof given === 'object' ? { model: given } : {})
    return { folder, config: stored, ...(await learning.finished(known, stored, result)) }
  }
  await using run = await openRun(folder, { write: true })
  const warnings: WarningEvent[] = []
  const found = await learning.configOf(run)
  const again = movedTo(found, given, device, data)
  const config = steps === undefined ? again : await learning.withSteps(again, steps, run)
  const checkpoint = await run.latestCheckpoint(({ code, message }) => warnings.push({ event: 'warning', code, message }))
  const done = checkpoint?.step ?? 0
  if (steps !== undefined && steps <= done) throw invalidSteps(steps, `more than the ${done} that are done`)
  const details = run.details as Partial<RunDetails> | undefined
  await refuseMissing(folder, config, details)
  const task = await learning.readTask(config, await takeParts(data ?? {}))
  refuseOtherData(details, task.sources)
  refuseAborted(signal)
  await learning.check?.(config, task)
  const memoryBytes = typeof details?.memory === 'number' ? details.memory : undefined
  await using used = await useModel(given ?? config.model, { ...config, memoryBytes })
  const { model } = used
  refuseOtherModel(details?.model, model)
  warnings.push(...environmentWarnings(details, model), ...moduleWarnings(details, learning.modulesOf(config)))
  const job = await learning.prepare(config, task, model, checkpoint, listening.onProgress)
  await using _ = disposing(learning, job)
  learning.checkDetails?.(details, job)
  await run.rewind(done)
  if (config !== found) await run.writeConfig(config)
  if (steps !== undefined) learning.goOn?.(job)
  return await sit(learning, { config, job, run, model, warnings, started, ...listening })
}

const deviceOfModel = (device: string) =>
  new GradpromptError('invalid-option', 'the device belongs to a model that is opened by its name', {
    found: `device: ${device}, and a model that is open`,
    expected: 'one of them',
  })

/** A config whose files, and whose device, are where a call says that they are now. */
function movedTo<Config>(
  config: Config,
  model: LanguageModel | string | undefined,
  device: DeviceChoice | undefined,
  data: GivenRows = {},
): Config {
  let moved: unknown = config
  if (typeof model === 'string') moved = withValue(moved, 'model', model)
  if (device !== undefined) moved = { ...(moved as object), device }
  for (const part of parts) {
    const path = data[part]
    if (typeof path === 'string') moved = withValue(moved, `data.${part}`, path)
  }
  // Only values of options that hold paths are others, and the device.
  return moved as Config
}

/** @throws GradpromptError `file-not-found` naming what is missing and how to say where it is */
async function refuseMissing(folder: string, config: object, details: unknown): Promise<void> {
  const [missing] = await missingPaths(config, details)
  if (missing === undefined) return
  const { option, path } = missing
  const name = option.replace(/^.*\./, '')
  const isNamed = option === 'model' || option.startsWith('data.')
  throw new GradpromptError('file-not-found', `the ${name === 'model' ? 'model' : `${name} rows`} of ${folder} cannot be found`, {
    found: `nothing at ${path}, nor where it was seen from the run`,
    expected: name === 'model' ? 'the model that the run began with' : 'the file that the run began with',
    hint: isNamed
      ? `${ownCommand`resume ${folder}`} --${name} PATH says where it is now`
      : `bring it back, or say in config.yaml of the run where it is now (${option})`,
  })
}

interface Sitting<Config, Job, Event, Activity> extends Hearer<Event, Activity> {
  readonly config: Config
  readonly job: Job
  readonly run: Run
  readonly model: LanguageModel
  readonly warnings: readonly WarningEvent[]
  readonly started: number
}

/** Does the work, and draws the page of what came of it. */
async function sit<
  Config extends LearningConfig,
  Task extends LearningTask,
  Job,
  Event extends RunEvent,
  Activity,
  Outcome extends object,
>(
  learning: Learning<Config, Task, Job, Event, Activity, Outcome>,
  { config, job, run, model, warnings, ...listening }: Sitting<Config, Job, Event, Activity>,
): Promise<Finished<Config, Outcome>> {
  const { folder } = run
  // A warning is among the events of every learning.
  const onEvent = listening.onEvent as ((event: Event | WarningEvent) => unknown) | undefined
  const trackers = config.track ?? []
  const step = trackers.length > 0 ? ((await run.latestCheckpoint())?.step ?? 0) : 0
  const tracked = { folder, name: basename(resolve(folder)), config: { ...(config as object) }, step }
  const tracking = openTracking(trackers, tracked, (name, message) =>
    session.tell({ event: 'warning', code: 'tracker-failed', message: `${name} follows the run no more: ${message}` }),
  )
  const session = new RunSession<Event | WarningEvent, Activity>(run, {
    ...listening,
    onEvent(event) {
      tracking.hear(event)
      return onEvent?.(event)
    },
    earlier: learning.secondsOf(job),
  })
  for (const warning of warnings) session.emit(warning)
  let outcome: Outcome
  try {
    outcome = await learning.run(job, session as unknown as RunSession<Event, Activity>)
    await tracking.close('finished')
  } catch (error) {
    await tracking.close(error instanceof GradpromptError && error.code === 'aborted' ? 'stopped' : 'failed')
    throw error
  }
  try {
    const { writeReport } = await import('./report.js')
    await writeReport(folder, { model })
  } catch (error) {
    // The page is a convenience: without it the run is whole.
    const message = error instanceof Error ? error.message : String(error)
    session.tell({ event: 'warning', code: 'no-report', message: `report.html could not be written: ${message}` })
  }
  return { folder, config, ...outcome }
}

const disposing = <Job>({ dispose }: { dispose?(job: Job): Promise<void> }, job: Job): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    await dispose?.(job)
  },
})

const invalidSteps = (steps: number, expected: string) =>
  new GradpromptError('invalid-steps', 'the number of steps to resume to is not valid', { found: String(steps), expected })

/** The parts of a task that have rows, as a run remembers them. */
export const withCounts = (sources: RunDetails['data'], count: (part: Part) => number): RunDetails['data'] =>
  Object.fromEntries(Object.entries(sources).map(([part, source]) => [part, { ...source, rows: count(part as Part) }]))
