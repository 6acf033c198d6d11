import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { isFile } from '../../files.js'
import { isRecord, jsonOrUndefined } from '../../json.js'
import { replaceText } from '../../store/atomic.js'
import { promoted, type Runner, stageOf } from '../../sweep/halving.js'
import { Journal } from '../../sweep/journal/journal.js'
import { type SweepRecord, type Trial, Trials } from '../../sweep/journal/records.js'
import type { Seen } from '../../sweep/samplers/sampler.js'
import { lossOf } from '../../sweep/space/objectives.js'
import { optionIn } from '../../sweep/space/space.js'
import type { ControlStore, ScoredControl } from '../../train/control.js'
import type { Plan } from './plan.js'

/** A sweep's folder, opened: its journal, and what the plan says of the trials in it. */

export interface SweepFolder {
  readonly folder: string
  readonly plan: Plan
  readonly journal: Journal<SweepRecord>
  readonly trials: Trials
}

export function openSweepFolder(folder: string, plan: Plan): SweepFolder {
  const trials = new Trials()
  const journal = new Journal<SweepRecord>(join(folder, 'journal.log'), record => trials.hear(record))
  return { folder, plan, journal, trials }
}

/** The folders of a trial's runs, by their seeds: of one seed the trial's own. */
export function runFolders(folder: string, { seeds }: Pick<Plan, 'seeds'>, trial: number): { seed: number; folder: string }[] {
  const own = join(folder, 'trials', String(trial).padStart(4, '0'))
  return seeds.length === 1
    ? [{ seed: seeds[0]!, folder: own }]
    : seeds.map(seed => ({ seed, folder: join(own, `seed-${seed}`) }))
}

/** How good a trial is so far, one number for each objective, the lower the better; infinite where it failed or lacks a figure. */
export function lossesOf(
  { objectives }: Pick<Plan, 'objectives'>,
  { state, figures }: Pick<Trial, 'state' | 'figures'>,
): readonly number[] | undefined {
  if (state === 'failed') return objectives.map(() => Number.POSITIVE_INFINITY)
  if (Object.keys(figures).length === 0) return undefined
  return objectives.map(objective => lossOf(objective, figures) ?? Number.POSITIVE_INFINITY)
}

/** What a sampler sees of the trials. */
export const seenOf = (plan: Plan, { trials }: Trials): Seen[] =>
  trials.map(trial => ({
    values: trial.values,
    losses: lossesOf(plan, trial),
    rung: trial.state === 'failed' ? Number.MAX_SAFE_INTEGER : trial.rung,
  }))

/** Steps of a whole run of a trial; infinite where only its data say. */
export function stepsOf({ of, fixed }: Plan, values: Trial['values']): number {
  const option = of === 'search' ? 'search.steps' : 'train.steps'
  const steps = optionIn(values, option, fixed)
  return typeof steps === 'number' ? steps : Number.POSITIVE_INFINITY
}

/** Beyond any run: rungs end somewhere. */
const mostSteps = 1e7

export const stageOfTrial = (plan: Plan, { number, values }: Pick<Trial, 'number' | 'values'>) =>
  stageOf(plan.options.stop, number, Math.min(mostSteps, stepsOf(plan, values)))

/** The trial that goes on behind its rung. */
export function nextPromoted(plan: Plan, { trials }: Trials): Trial | undefined {
  const { stop } = plan.options
  if (stop === undefined) return undefined
  const runners = trials.map((trial): Runner => {
    const { bracket } = stageOfTrial(plan, trial)
    const losses = trial.reached.map(figures => lossOf(plan.objectives[0]!, figures) ?? Number.POSITIVE_INFINITY)
    return { number: trial.number, state: trial.state, rung: trial.rung, bracket, losses }
  })
  const found = promoted(runners, stop.factor)
  return found && trials[found.number]
}

const sumOf = (control: unknown): number => crc32(JSON.stringify(control) ?? '')

/** What the base model came to, in files that all workers of a sweep share. */
export function controlsIn(folder: string): ControlStore {
  const path = (key: string) => join(folder, 'base', `${key}.json`)
  return {
    async read(key) {
      if (!(await isFile(path(key)))) return undefined
      // What is not as it was written is computed anew.
      const kept = jsonOrUndefined(await readFile(path(key), 'utf8'))
      return isRecord(kept) && kept.sum === sumOf(kept.control) ? (kept.control as unknown as ScoredControl) : undefined
    },
    async write(key, control) {
      await mkdir(join(folder, 'base'), { recursive: true })
      await replaceText(path(key), JSON.stringify({ sum: sumOf(control), control }))
    },
  }
}
