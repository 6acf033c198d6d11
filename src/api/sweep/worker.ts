import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { families } from '../../../models/index.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import { type UsedModel, useModel } from '../../model/with-model.js'
import { ownCommand } from '../../own-command.js'
import type { DeviceChoice } from '../../program/devices.js'
import type { SweepRecord, Trial } from '../../sweep/journal/records.js'
import { joinWorkers, type Worker } from '../../sweep/journal/workers.js'
import { samplers } from '../../sweep/samplers/index.js'
import { metricOf } from '../../sweep/space/objectives.js'
import type { Values } from '../../sweep/space/space.js'
import { controlsIn, nextPromoted, runFolders, type SweepFolder, seenOf, stageOfTrial } from './folder.js'
import { together } from './together.js'
import type { TrialOutcome } from './trials/trial-kind.js'

/** One process's part in a sweep: it takes a trial, does it up to its next rung or its end, says what came of it, and takes the next. */

export type SweepEvent =
  | {
      readonly event: 'sweep'
      readonly folder: string
      readonly trials: number
      readonly done: number
      readonly strategy: string
      readonly worker: string
    }
  | { readonly event: 'trial'; readonly trial: number; readonly values: Values; readonly folder: string }
  | ({
      readonly event: 'trial-end'
      readonly trial: number
      readonly values: Values
      readonly done: number
      readonly trials: number
      /** The figure that the sweep is for. */
      readonly metric: string | undefined
    } & Pick<Trial, 'state' | 'figures' | 'steps' | 'error'>)
  | { readonly event: 'run'; readonly trial: number; readonly seed: number; readonly of: { readonly event: string } }

export interface WorkOptions {
  readonly signal?: AbortSignal | undefined
  readonly onEvent?: ((event: SweepEvent) => unknown) | undefined
  /** An open model, for all trials. */
  readonly model?: LanguageModel | undefined
  /** Where this process runs its trials, in the place of what their config says: each of several has a device of its own. */
  readonly device?: DeviceChoice | undefined
}

/** How often others' trials are looked at, where only these are left. */
const lookMilliseconds = 500

/** What no other trial would do better with. */
const everybodys = new Set([
  'disk-full',
  'cannot-write',
  'run-corrupt',
  'sweep-corrupt',
  'sweep-locked',
  'file-not-found',
  'computation-died',
])

/** Of a trial that has come to its end without the figure that the sweep is for. */
const noObjective = 'no-objective'

type Next = { readonly trial: number } | 'wait' | 'done'

/** @returns when no trial is left @throws GradpromptError `sweep-failing`, `aborted`, and what is wrong with the folder */
export async function work(sweep: SweepFolder, { signal, onEvent, model: given, device }: WorkOptions): Promise<void> {
  const { folder, plan, journal, trials } = sweep
  await using worker = await joinWorkers(join(folder, 'workers'))
  await using models = modelKeeper(given, device)
  await journal.sync()
  await onEvent?.({
    event: 'sweep',
    folder,
    trials: wanted(sweep),
    done: doneOf(sweep),
    strategy: plan.strategy,
    worker: worker.id,
  })
  for (;;) {
    refuseSweep(sweep, signal)
    const next = await takeNext(sweep, worker)
    if (next === 'done') {
      refuseNothing(sweep)
      return
    }
    if (next === 'wait') {
      await setTimeout(lookMilliseconds, undefined, { signal }).catch(() => {})
      continue
    }
    const trial = trials.trials[next.trial]!
    await onEvent?.({
      event: 'trial',
      trial: trial.number,
      values: trial.values,
      folder: join(folder, 'trials', String(trial.number).padStart(4, '0')),
    })
    const record = await attempt(sweep, trial, models, { signal, onEvent, device })
    await journal.add(() => ({ records: [record], result: undefined }))
    if (record.type === 'left') refuseSweep(sweep, signal)
    const { state, values, figures, steps, error, number } = trials.trials[next.trial]!
    await onEvent?.({
      event: 'trial-end',
      trial: number,
      values,
      state,
      figures,
      steps,
      error,
      done: doneOf(sweep),
      trials: wanted(sweep),
      metric: metricOf(plan.objectives[0]!, figures),
    })
  }
}

/** Trials that there are to be: those that are chosen, and those that were added. */
export const wanted = ({ plan, trials }: Pick<SweepFolder, 'plan' | 'trials'>): number =>
  (trials.wanted ?? plan.trials) + trials.added.length

/** Trials on which nobody works any more. */
export const doneOf = ({ trials }: Pick<SweepFolder, 'trials'>): number =>
  trials.trials.filter(({ state }) => state === 'finished' || state === 'failed' || state === 'stopped').length

function refuseSweep({ folder, plan, trials }: SweepFolder, signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new GradpromptError('aborted', `stopped after ${doneOf({ trials })} trials`, {
      hint: ownCommand`sweep ${folder}`,
      exitCode: 1,
    })
  const { maxFailures } = plan.options
  const last = trials.trials.findLast(({ state }) => state === 'failed')
  // What no trial has had so far is no figure of any: the rest would be for nothing.
  if (last?.error?.code === noObjective && trials.trials.every(({ state }) => state !== 'finished'))
    throw new GradpromptError(noObjective, `the sweep is for a figure that its trials do not have`, {
      found: last.error.message,
      expected: 'sweep.objective: one of the figures of a trial',
      hint: 'begin a new sweep with one of them',
      exitCode: 1,
    })
  if (trials.failuresInRow < maxFailures) return
  throw new GradpromptError('sweep-failing', `${trials.failuresInRow} trials failed one after the other`, {
    found: `${last?.error?.code}: ${last?.error?.message}`,
    expected: `fewer than sweep.maxFailures (${maxFailures}) in a row`,
    hint: `mend what the error says in a new sweep; with a higher --max-failures this one goes on`,
    exitCode: 1,
  })
}

/** A sweep all of whose trials have failed has come to nothing, however few they were. */
function refuseNothing({ trials }: SweepFolder): void {
  const failed = trials.trials.filter(({ state }) => state === 'failed')
  const last = failed.at(-1)
  if (last === undefined || failed.length < trials.trials.length) return
  throw new GradpromptError(
    'sweep-failing',
    failed.length === 1 ? 'the only trial failed' : `all ${failed.length} trials failed`,
    {
      found: `${last.error?.code}: ${last.error?.message}`,
      expected: 'a trial that comes to its end',
      hint: 'mend what the error says in a new sweep',
      exitCode: 1,
    },
  )
}

/** What is to be done next, taken before anybody else can. */
async function takeNext(sweep: SweepFolder, worker: Worker): Promise<Next> {
  const { plan, journal, trials } = sweep
  await journal.sync()
  const running = trials.trials.filter(({ state }) => state === 'running')
  const gone = await worker.gone(running.flatMap(({ worker }) => worker ?? []))
  return journal.add<Next>(() => {
    const take = ({ number }: Trial) => decided({ type: 'taken', trial: number, worker: worker.id }, { trial: number })
    const begin = (values: Values, added?: number) => {
      const trial = trials.trials.length
      const at = new Date().toISOString()
      return decided({ type: 'begun', trial, values, worker: worker.id, at, ...(added !== undefined && { added }) }, { trial })
    }
    const left = trials.trials.find(
      ({ state, worker: by }) => state === 'waiting' || (state === 'running' && (by === undefined || gone.has(by))),
    )
    if (left !== undefined) return take(left)
    const added = trials.added[trials.begunAdded]
    if (added !== undefined) return begin(added, trials.begunAdded)
    const drawn = trials.trials.length - trials.begunAdded
    if (drawn < (trials.wanted ?? plan.trials)) {
      const values = chosen(sweep, drawn)
      if (values !== undefined) return begin(values)
    }
    const further = nextPromoted(plan, trials)
    if (further !== undefined) return take(further)
    return { records: [], result: trials.trials.some(({ state }) => state === 'running') ? 'wait' : 'done' }
  })
}

const decided = (record: SweepRecord, result: Next) => ({ records: [record], result })

function chosen({ plan, trials }: SweepFolder, drawn: number): Values | undefined {
  const { space, fixed, allowed, strategy, options } = plan
  const known = new Set(trials.trials.map(({ values }) => JSON.stringify(values)))
  const tried = (values: Values) => known.has(JSON.stringify(values))
  return samplers[strategy]!.choose({
    space,
    seen: seenOf(plan, trials),
    trial: drawn,
    seed: options.seed,
    fixed,
    allowed,
    tried,
  })
}

interface ModelKeeper extends AsyncDisposable {
  /** Keeps one open: trials that want another close it. */
  for(config: Readonly<Record<string, unknown>>, source: string): Promise<LanguageModel>
}

/** Does a trial up to its next rung. @returns what the journal is to say @throws what stops the whole sweep */
async function attempt(
  { folder, plan, journal }: SweepFolder,
  trial: Trial,
  models: ModelKeeper,
  { signal, onEvent, device }: WorkOptions,
): Promise<SweepRecord> {
  const { number } = trial
  const { rungs } = stageOfTrial(plan, trial)
  const until = rungs[trial.rung]
  // The device of a process fails every trial there, and none elsewhere.
  const hasDevice = device !== undefined
  try {
    const outcomes: TrialOutcome[] = []
    for (const run of runFolders(folder, plan, number)) {
      refuseAborted(signal)
      const config = plan.configOf(trial.values, run.seed)
      const model = await models.for(config, plan.fixed('model') as string)
      // To open a model takes a while. A folder that is gone by now would be made anew by the run, which would be nobody's.
      await journal.sync()
      outcomes.push(
        await plan.kind.run(config, {
          ...{ folder: run.folder, model, until, signal, controls: controlsIn(folder) },
          onEvent: event => onEvent?.({ event: 'run', trial: number, seed: run.seed, of: event }),
        }),
      )
    }
    const figures = together(outcomes.map(({ figures }) => figures))
    const steps = Math.max(...outcomes.map(({ steps }) => steps))
    const missing = plan.objectives.find(
      ({ metric }) => metric !== undefined && until === undefined && figures[metric] === undefined,
    )
    if (missing !== undefined) {
      const message = `there is no figure ${missing.metric}: a trial has ${Object.keys(figures).join(', ')}`
      return { type: 'failed', trial: number, code: noObjective, message }
    }
    if (until !== undefined) return { type: 'reached', trial: number, rung: trial.rung, step: steps, figures }
    return { type: 'finished', trial: number, figures, steps, seconds: outcomes.reduce((sum, { seconds }) => sum + seconds, 0) }
  } catch (error) {
    if (signal?.aborted) return { type: 'left', trial: number }
    if (!(error instanceof GradpromptError) || everybodys.has(error.code) || (hasDevice && error.code === 'device-unavailable'))
      throw error
    return {
      type: 'failed',
      trial: number,
      code: error.code,
      message: [error.message, error.found].filter(text => text !== undefined).join(': '),
    }
  }
}

function modelKeeper(given: LanguageModel | undefined, own: DeviceChoice | undefined): ModelKeeper {
  let open: { readonly key: string; readonly used: UsedModel } | undefined
  const close = async () => {
    await open?.used[Symbol.asyncDispose]()
    open = undefined
  }
  return {
    async for(config, byDefault) {
      if (given !== undefined) return given
      const { model = byDefault, device, threads, memory, keepWeights, precision, families: modules } = config
      const settings = { device: own ?? device, threads, memory, keepWeights, precision }
      const key = JSON.stringify({ model, settings, modules })
      if (open?.key === key) return open.used.model
      await close()
      for (const family of (modules ?? []) as readonly string[]) await families.load(family)
      open = { key, used: await useModel(model as string, settings as Parameters<typeof useModel>[1]) }
      return open.used.model
    },
    [Symbol.asyncDispose]: close,
  }
}
