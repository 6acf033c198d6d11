import { basename, dirname, extname, join, resolve } from 'node:path'
import { type Config, type ConfigInput, parseConfig } from '../config/schema.js'
import { GradpromptError } from '../errors.js'
import { refuseAborted } from '../evaluate/score.js'
import { loadTokenizer } from '../formats/tokenizer.js'
import { openCheckpoint } from '../model/checkpoint.js'
import { LanguageModel } from '../model/language-model.js'
import { checkMethod } from '../prompts/check.js'
import { currentEnvironment, type Environment, environmentDifferences } from '../runs/environment.js'
import { type LearnedRun, learnedConfig, readLearnedRun } from '../runs/learned-run.js'
import { createRun, openRun, type Run, refuseOccupied } from '../runs/run-folder.js'
import { refuseUnfitData } from './data-limits.js'
import { checkTeachers } from './distillation.js'
import type { GradpromptEvent, RunResult, ScoringProgress, WarningEvent } from './events.js'
import { prepareJob, runJob } from './job.js'
import { restoreLearning } from './loop.js'
import { type DataSource, type Part, parts, readTask, type Task } from './task.js'

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
export interface TuneRun extends LearnedRun {
  readonly result: RunResult
}

/** What `run.json` holds: what a resumed run must find again. */
interface RunDetails {
  readonly environment: Environment
  readonly model: { readonly name: string; readonly hash: string }
  readonly data: Readonly<Partial<Record<Part, DataSource & { readonly rows: number }>>>
  /** Memory budget in bytes: it decides how large batches are cut, and so the order of sums. */
  readonly memory: number
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
  const config = parseConfig(input)
  if (config.out !== undefined) await refuseOccupied(config.out)
  const task = await readTask(config)
  refuseAborted(signal)
  const model = await loadModelOf(config, task)
  try {
    const job = await prepareJob(config, task, model)
    refuseAborted(signal)
    const run = await createRun(config.out, { config, name: runName(config), details: runDetails(config, task, model) })
    try {
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
    const warn = (code: string, message: string) => warnings.push({ event: 'warning', code, message })
    const config = configOf(run, steps)
    const checkpoint = await run.latestCheckpoint(({ code, message }) => warn(code, message))
    const done = checkpoint?.step ?? 0
    if (steps !== undefined && steps <= done) throw invalidSteps(steps, `more than the ${done} that are done`)
    const details = run.details as Partial<RunDetails> | undefined
    const task = await readTask(config)
    refuseOtherData(details, task)
    refuseAborted(signal)
    const model = await loadModelOf(config, task, typeof details?.memory === 'number' ? details.memory : undefined)
    try {
      refuseOtherModel(details, config, model)
      const differences = environmentDifferences(details?.environment, environmentOf(model))
      if (differences.length > 0)
        warn('environment-changed', `the run began elsewhere, so its last bits may differ: ${differences.join('; ')}`)
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
  return result && { ...(await readLearnedRun(folder)), result: { ...result, folder } }
}

function configOf(run: Run, steps?: number): Config {
  const config = learnedConfig(run)
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
async function loadModelOf(config: Config, task: Task, earlierMemory?: number): Promise<LanguageModel> {
  const { model, method, device, threads, memory } = config
  const checkpoint = await openCheckpoint(model)
  await checkpoint.file.close()
  await checkMethod(method, checkpoint)
  await checkTeachers(config.train.distillation, checkpoint)
  await refuseUnfitData(config, task, checkpoint, () => loadTokenizer(checkpoint.tokenizer))
  const budget = memory === undefined ? earlierMemory : memory * 1e9
  return LanguageModel.load(model, {
    device,
    ...(threads !== undefined && { threads }),
    ...(budget !== undefined && { memory: budget }),
  })
}

const environmentOf = ({ device, threads }: LanguageModel) => currentEnvironment({ device, threads })

function runDetails(config: Config, task: Task, model: LanguageModel): RunDetails {
  const data = parts.flatMap(part => {
    const source = task.sources[part]
    return source === undefined ? [] : [[part, { ...source, rows: task[part].length }]]
  })
  return {
    environment: environmentOf(model),
    model: { name: config.model, hash: model.hash },
    data: Object.fromEntries(data),
    memory: model.memory.budget,
  }
}

/** A run that was not given a folder is called after its data: `examples/sst2/train.tsv` gives `sst2`. */
function runName({ data }: Config): string {
  const path = resolve(data.train)
  const file = basename(path, extname(path))
  return /^(train|training|data)$/i.test(file) ? basename(dirname(path)) : file
}

function refuseOtherData(details: Partial<RunDetails> | undefined, { sources }: Task): void {
  for (const part of parts) {
    const before = details?.data?.[part]
    const now = sources[part]
    if (before === undefined || now === undefined || before.sha256 === now.sha256) continue
    throw new GradpromptError('data-changed', `the ${part} rows are not those that the run began with`, {
      found: `${now.path}, ${now.sha256.slice(0, 12)}`,
      expected: `${before.path}, ${before.sha256.slice(0, 12)}`,
      hint: 'bring the file back, or begin a new run',
    })
  }
}

function refuseOtherModel(details: Partial<RunDetails> | undefined, config: Config, model: LanguageModel): void {
  const before = details?.model
  if (before === undefined || before.hash === model.hash) return
  throw new GradpromptError('model-changed', 'the model is not the one that the run began with', {
    found: `${config.model}, ${model.hash.slice(0, 12)}`,
    expected: `${before.name}, ${before.hash.slice(0, 12)}`,
    hint: 'bring the model back, or begin a new run',
  })
}

const invalidSteps = (steps: number, expected: string) =>
  new GradpromptError('invalid-steps', 'the number of steps to resume to is not valid', { found: String(steps), expected })
