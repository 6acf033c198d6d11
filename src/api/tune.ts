import { join } from 'node:path'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { answerSpace, answerSpaceNotices } from '../data/describe/answer-space.js'
import { completeTexts } from '../data/describe/suggest.js'
import { readTask, type Task, type TaskRows } from '../data/task.js'
import { answerEndNotices, resolveAnswerEnd } from '../data/texts/answer-end.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import { loadTokenizer } from '../formats/tokenizer.js'
import { openCheckpoint } from '../model/weights/checkpoint.js'
import type { PromptFile } from '../store/prompt-file.js'
import { nameOfData, runDetails } from '../store/run-details.js'
import { refuseOccupied } from '../store/run-folder.js'
import type { Hearer } from '../store/run-session.js'
import { checkMethod } from '../train/check-method.js'
import { type Config, type ConfigInput, configSources, loadConfigEntries, parseConfig } from '../train/config.js'
import type { ControlStore } from '../train/control.js'
import { refuseUnfitData } from '../train/data-limits.js'
import type { GradpromptEvent, RunResult, ScoringProgress } from '../train/events.js'
import { type Job, prepareJob, runJob } from '../train/job.js'
import { restoreLearning } from '../train/loop.js'
import { chosenLoss } from '../train/losses.js'
import { referenceNotices } from '../train/preferences.js'
import { checkTeachers } from '../train/regularisers/distillation.js'
import { type Given, separate } from './given.js'
import { readTunedRun, type TunedRun, tuneConfigOf } from './runs/configs.js'
import { beginRun, type Learning, type ResumeOptions, resumeRun, withCounts } from './sitting.js'

/** Learning a soft prompt: the library's `tune`, and how a run of it goes on. */

/** A config as a file has it; `model` may be open, and `data.train`, `data.dev`, `data.test` may be rows. */
export type TuneInput = Given<ConfigInput>

export interface TuneOptions extends Hearer<GradpromptEvent, ScoringProgress> {
  /** What messages call the config: a file's path, or by default `config`. */
  readonly source?: string | undefined
}

export type ResumeTuneOptions = ResumeOptions<GradpromptEvent, ScoringProgress>

/** A finished run. */
export interface TuneRun extends TunedRun {
  readonly result: RunResult
}

const names = { onEvent: true, onProgress: true, signal: true, source: true } satisfies OptionNames<TuneOptions>

/**
 * Learns a soft prompt and writes a run folder: config, events, checkpoints, `prompt.safetensors`, `result.json`, `report.html`.
 *
 * Whatever can be wrong with a config or its data is found before the folder is made. Rows in memory are not written into it: it knows
 * their number and their hash, and `resume` needs the same ones again.
 *
 * ```ts
 * const run = await tune({ model, data: { train: rows }, template: 'Review: {text}\nSentiment:', answer: ' {label}' }, {
 *   onEvent: event => console.log(event),
 *   signal: AbortSignal.timeout(60_000),
 * })
 * ```
 *
 * @throws GradpromptError `invalid-config`, `unknown-option`, `run-exists`, `folder-not-empty`, `row-too-long`, `unknown-label`, and
 *   what reading data and loading a model throw; after `loss-not-finite` and `aborted` (an `AbortError`) the run can be resumed
 */
export async function tune(given: TuneInput, options: TuneOptions = {}): Promise<TuneRun> {
  refuseUnknown('tune', options, names)
  return tuneBeside(given, options, undefined)
}

/** `tune`, where other runs may know what the base model comes to. */
export async function tuneBeside(given: TuneInput, options: TuneOptions, controls: ControlStore | undefined): Promise<TuneRun> {
  const started = performance.now()
  const { source, ...hearer } = options
  const { input, model, rows } = await separate(given)
  const config = parseConfig(await withTexts(input, rows), source === undefined ? {} : { source })
  if (config.out !== undefined) await refuseOccupied(config.out)
  const task = await readTask(config, rows)
  refuseAborted(hearer.signal)
  return beginRun(beside(controls), { config, task, model, started, ...hearer })
}

/** What the training rows leave no choice about. */
const withTexts = async (input: unknown, { train }: TaskRows): Promise<unknown> =>
  typeof input === 'object' && input !== null ? completeTexts(await loadConfigEntries(input), train) : input

/**
 * Goes on with a run from its last checkpoint, to the same bits as if it had never stopped (on the same processor, versions and
 * threads; a `warning` event says where they differ). A finished run is returned at once, unless there are more `steps` to do: then
 * the schedule goes on over the new total.
 * @throws GradpromptError `not-a-run`, `run-locked`, `invalid-steps`, `model-changed`, `data-changed`, `rows-needed`,
 *   `checkpoint-mismatch`, and as `tune` does
 */
export const resumeTune = (folder: string, options: ResumeTuneOptions = {}): Promise<TuneRun> =>
  resumeRun(tuning, folder, options)

/** `resumeTune`, where other runs may know what the base model comes to. */
export const resumeTuneBeside = (
  folder: string,
  options: ResumeTuneOptions,
  controls: ControlStore | undefined,
): Promise<TuneRun> => resumeRun(beside(controls), folder, options)

const beside = (controls: ControlStore | undefined): typeof tuning => ({
  ...tuning,
  prepare: async (...given) => ({ ...(await tuning.prepare(...given)), controls }),
})

const tuning: Learning<
  Config,
  Task,
  Job,
  GradpromptEvent,
  ScoringProgress,
  { readonly prompt: PromptFile; readonly result: RunResult }
> = {
  configOf: tuneConfigOf,
  modulesOf: configSources,
  withSteps(config, steps, { folder }) {
    const { epochs: _, ...train } = config.train
    if (train.privacy !== undefined)
      throw new GradpromptError('breaks-privacy', 'a private run has as many steps as its noise was chosen for', {
        found: `${steps} steps`,
        expected: 'none beyond those that it began with',
        hint: 'begin a new run with as many',
      })
    return parseConfig({ ...config, train: { ...train, steps } }, { source: join(folder, 'config.yaml') })
  },
  readTask: (config: Config, rows: TaskRows) => readTask(config, rows),
  async check(config, task) {
    const checkpoint = await openCheckpoint(config.model)
    await checkpoint.file.close()
    await checkMethod(config.method, checkpoint)
    await checkTeachers(config.train.distillation, checkpoint)
    await refuseUnfitData(config, task, checkpoint, () => loadTokenizer(checkpoint.tokenizer))
  },
  async prepare(config, task, model, checkpoint, onProgress) {
    const job = await prepareJob(config, task, model, { checkpoint, onProgress })
    if (checkpoint !== undefined) restoreLearning(job.state, job.shapes, checkpoint)
    return job
  },
  noticesOf: (config, { task, model: { tokenizer }, rows, notices }) => [
    ...notices,
    ...answerSpaceNotices(answerSpace(config, task.train[0]!, tokenizer), config.answer),
    ...answerEndNotices(config, resolveAnswerEnd(config, tokenizer), rows.overlap),
    ...referenceNotices(chosenLoss(config.train)),
  ],
  secondsOf: ({ state }) => state.seconds,
  // Who asks for more steps after early stopping wants them done, and its patience begins anew.
  goOn({ state }) {
    state.stopped = false
    if (state.stopping !== undefined) state.stopping = { ...state.stopping, waited: 0 }
  },
  name: ({ data }) => nameOfData(data.train),
  detailsOf: (config, { model, task, rows }) =>
    runDetails(
      config.model,
      model,
      withCounts(task.sources, part => task[part].length),
      configSources(config),
      rows.learnedEnd,
    ),
  run: runJob,
  async finished({ folder }, _, result) {
    const { prompt } = await readTunedRun(folder)
    return { prompt, result: { ...(result as RunResult), folder } }
  },
}
