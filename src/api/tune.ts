import { join } from 'node:path'
import { answerSpace, answerSpaceNotices } from '../data/describe/answer-space.js'
import { completeTexts } from '../data/describe/suggest.js'
import type { DataNotice } from '../data/readers/reader.js'
import { parts, readTask, type Task } from '../data/task.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import { loadTokenizer } from '../formats/tokenizer.js'
import { openCheckpoint } from '../model/checkpoint.js'
import type { LanguageModel } from '../model/language-model.js'
import type { WarningEvent } from '../store/events.js'
import {
  environmentWarnings,
  loadRunModel,
  nameOfData,
  type RunDetails,
  refuseOtherData,
  refuseOtherModel,
  runDetails,
} from '../store/run-details.js'
import { createRun, openRun, type Run, refuseOccupied } from '../store/run-folder.js'
import { checkMethod } from '../train/check-method.js'
import { type Config, type ConfigInput, parseConfig } from '../train/config.js'
import { refuseUnfitData } from '../train/data-limits.js'
import { checkTeachers } from '../train/distillation.js'
import type { GradpromptEvent, RunResult, ScoringProgress } from '../train/events.js'
import { prepareJob, runJob } from '../train/job.js'
import { restoreLearning } from '../train/loop.js'
import { readTunedRun, type TunedRun, tuneConfigOf } from './runs.js'

export interface TuneOptions {
  /** Hears of everything as it happens; the same lines stand in the run's `events.jsonl`. */
  readonly onEvent?: ((event: GradpromptEvent) => void) | undefined
  /** Hears how far a scoring of rows has come, while no steps are made. */
  readonly onProgress?: ((progress: ScoringProgress) => void) | undefined
  /** Stops the run after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal | undefined
}

export interface ResumeOptions extends TuneOptions {
  /** A new total of steps, more than are done. */
  readonly steps?: number | undefined
}

/** A finished run. */
export interface TuneRun extends TunedRun {
  readonly result: RunResult
}

/**
 * Learns a soft prompt and writes a run folder: config, events, checkpoints, `prompt.safetensors`, `result.json`.
 *
 * Whatever can be wrong with a config or its data is found before the folder is made.
 * @throws GradpromptError `invalid-config`, `unknown-option`, `run-exists`, `folder-not-empty`, `row-too-long`, `unknown-label`, and
 *   what reading data and loading a model throw; after `loss-not-finite` and `aborted` the run can be resumed
 */
export async function tune(input: ConfigInput, { onEvent, onProgress, signal }: TuneOptions = {}): Promise<TuneRun> {
  const started = performance.now()
  const config = parseConfig(await completeTexts(input))
  if (config.out !== undefined) await refuseOccupied(config.out)
  const task = await readTask(config)
  const warnings: WarningEvent[] = []
  const warn = (notices: readonly DataNotice[]) => {
    for (const notice of notices) {
      const warning = { event: 'warning', ...notice } as const
      warnings.push(warning)
      onEvent?.(warning)
    }
  }
  warn(task.notices)
  refuseAborted(signal)
  const model = await loadModelOf(config, task)
  try {
    const job = await prepareJob(config, task, model)
    warn(answerSpaceNotices(answerSpace(config, task.train[0]!, model.tokenizer), config.answer))
    refuseAborted(signal)
    const run = await createRun(config.out, {
      config,
      name: nameOfData(config.data.train),
      details: detailsOf(config, task, model),
    })
    try {
      for (const warning of warnings) run.appendEvent(warning)
      return { folder: run.folder, config, ...(await runJob(job, run, { onEvent, onProgress, signal, started })) }
    } finally {
      await run.close()
    }
  } finally {
    await model.dispose()
  }
}

/**
 * Goes on with a run from its last checkpoint, to the same bits as if it had never stopped (on the same processor, versions and
 * threads; a `warning` event says where they differ). A finished run is returned at once, unless there are more `steps` to do: then
 * the schedule goes on over the new total.
 * @throws GradpromptError `not-a-run`, `run-locked`, `invalid-steps`, `model-changed`, `data-changed`, `checkpoint-mismatch`, and as
 *   `tune` does
 */
export async function resume(folder: string, { steps, onEvent, onProgress, signal }: ResumeOptions = {}): Promise<TuneRun> {
  const started = performance.now()
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps >= 1))
    throw invalidSteps(steps, 'a whole number of at least 1')
  const finished = await finishedRun(folder)
  if (finished !== undefined && (steps === undefined || steps === finished.result.steps)) return finished
  const run = await openRun(folder, { write: true })
  try {
    const warnings: WarningEvent[] = []
    const config = configOf(run, steps)
    const checkpoint = await run.latestCheckpoint(({ code, message }) => warnings.push({ event: 'warning', code, message }))
    const done = checkpoint?.step ?? 0
    if (steps !== undefined && steps <= done) throw invalidSteps(steps, `more than the ${done} that are done`)
    const details = run.details as Partial<RunDetails> | undefined
    const task = await readTask(config)
    refuseOtherData(details, task.sources)
    refuseAborted(signal)
    const model = await loadModelOf(config, task, details)
    try {
      refuseOtherModel(details?.model, model)
      warnings.push(...environmentWarnings(details, model))
      const job = await prepareJob(config, task, model)
      if (checkpoint !== undefined) restoreLearning(job.state, job.shapes, checkpoint)
      await run.rewind(done)
      if (steps !== undefined) {
        await run.writeConfig(config)
        goOn(job.state)
      }
      for (const warning of warnings) {
        run.appendEvent(warning)
        onEvent?.(warning)
      }
      return { folder, config, ...(await runJob(job, run, { onEvent, onProgress, signal, started })) }
    } finally {
      await model.dispose()
    }
  } finally {
    await run.close()
  }
}

/** A run that has come to its end, as it stands in its folder. */
async function finishedRun(folder: string): Promise<TuneRun | undefined> {
  const result = (await (await openRun(folder)).readResult()) as RunResult | undefined
  return result && { ...(await readTunedRun(folder)), result: { ...result, folder } }
}

function configOf(run: Run, steps?: number): Config {
  const config = tuneConfigOf(run)
  if (steps === undefined) return config
  const { epochs: _, ...train } = config.train
  return parseConfig({ ...config, train: { ...train, steps } }, { source: join(run.folder, 'config.yaml') })
}

/** Who asks for more steps after early stopping wants them done, and its patience begins anew. */
function goOn(state: { stopped: boolean; stopping: { readonly waited: number } | undefined }): void {
  state.stopped = false
  if (state.stopping !== undefined) state.stopping = { ...state.stopping, waited: 0 }
}

/** @throws GradpromptError `invalid-config` when the method does not fit the model or the data, and as `LanguageModel.load` does */
async function loadModelOf(config: Config, task: Task, details?: Partial<RunDetails>): Promise<LanguageModel> {
  const checkpoint = await openCheckpoint(config.model)
  await checkpoint.file.close()
  await checkMethod(config.method, checkpoint)
  await checkTeachers(config.train.distillation, checkpoint)
  await refuseUnfitData(config, task, checkpoint, () => loadTokenizer(checkpoint.tokenizer))
  return loadRunModel(config, details)
}

function detailsOf(config: Config, task: Task, model: LanguageModel): RunDetails {
  const data = parts.flatMap(part => {
    const source = task.sources[part]
    return source === undefined ? [] : [[part, { ...source, rows: task[part].length }]]
  })
  return runDetails(config.model, model, Object.fromEntries(data))
}

const invalidSteps = (steps: number, expected: string) =>
  new GradpromptError('invalid-steps', 'the number of steps to resume to is not valid', { found: String(steps), expected })
