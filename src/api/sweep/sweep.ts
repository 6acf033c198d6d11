import { type OptionNames, refuseUnknown } from '../../config/call-options.js'
import { invalidConfig } from '../../config/problems.js'
import { GradpromptError } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { SearchConfigInput } from '../../search/config.js'
import type { SweepOptionsInput } from '../../sweep/config.js'
import type { SweepRecord } from '../../sweep/journal/records.js'
import { isActive, placeOf, type Values } from '../../sweep/space/space.js'
import type { ConfigInput } from '../../train/config.js'
import type { EvaluateOptions } from '../evaluation/evaluate.js'
import { separate } from '../given.js'
import { openSweepFolder, type SweepFolder } from './folder.js'
import { type Plan, planHash, planOf, readPlan, sweepFolder } from './plan.js'
import { type SweepSummary, summarizeSweep } from './summary.js'
import { type SweepEvent, type WorkOptions, work } from './worker.js'

/** Many runs of one config, of which some options vary: the library's `sweep`, and what the command line calls. */

type TrialInput = ConfigInput | SearchConfigInput | (Omit<EvaluateOptions, 'model' | 'data'> & { model?: string; data: string })

/** A config of `tune`, `search` or `evaluate`, and what of it varies. `model` may be open; rows are in files. */
export type SweepInput = Omit<TrialInput, 'model' | 'out'> & {
  readonly model?: LanguageModel | string | undefined
  readonly sweep: SweepOptionsInput
  /** The sweep's folder; by default a new name under sweeps/. One that holds the same sweep is gone on with. */
  readonly out?: string | undefined
}

export interface SweepCallOptions extends WorkOptions {
  /** What messages call the config: a file's path, or by default `config`. */
  readonly source?: string | undefined
  /** Trials in all, where a sweep is gone on with. */
  readonly trials?: number | undefined
  /** The same of failed trials in a row that end it. */
  readonly maxFailures?: number | undefined
}

const names = {
  signal: true,
  onEvent: true,
  model: true,
  source: true,
  trials: true,
  maxFailures: true,
  device: true,
} satisfies OptionNames<SweepCallOptions>

/**
 * Tries values of the options of a config and writes a folder: the plan, a journal, and a run folder for each trial. Called with the
 * folder of an earlier sweep it goes on with that, beside whoever works on it. Nothing is lost by a kill: a trial is taken up from its
 * checkpoint, and no trial is done twice to its end.
 *
 * ```ts
 * const { best, trials } = await sweep({
 *   data: { train: 'train.tsv', dev: 'dev.tsv' }, template: 'Review: {text}\nSentiment:', answer: ' {label}',
 *   sweep: { over: { 'train.learningRate': { min: 0.001, max: 0.1, log: true }, 'method.numVirtualTokens': [5, 10, 20] }, trials: 20 },
 * })
 * ```
 *
 * @throws GradpromptError `invalid-config`, `unknown-option`, `invalid-constraint`, `no-trials`, `grid-too-large`, `other-sweep`,
 *   `folder-not-empty`, `not-a-sweep`, `sweep-corrupt`; `sweep-failing` after `sweep.maxFailures` trials in a row, or where all have failed;
 *   `no-objective` where the first have no such figure; `disk-full`; `aborted`:
 *   called with the folder, it goes on
 */
export async function sweep(given: SweepInput | string, options: SweepCallOptions = {}): Promise<SweepSummary> {
  refuseUnknown('sweep', options, names)
  const { source, trials, maxFailures, ...hearer } = options
  const { plan, folder, model } =
    typeof given === 'string' ? { plan: await readPlan(given), folder: given } : await newPlan(given, source)
  const open = hearer.model ?? model
  if (open !== undefined && hearer.device !== undefined)
    throw new GradpromptError('invalid-option', 'the device belongs to a model that is opened by its name', {
      found: `device: ${hearer.device}, and a model that is open`,
      expected: 'one of them',
    })
  const opened = openSweepFolder(folder, {
    ...plan,
    options: { ...plan.options, maxFailures: maxFailures ?? plan.options.maxFailures },
  })
  await begin(opened, trials ?? (typeof given === 'string' ? undefined : plan.trials))
  await work(opened, { ...hearer, model: open })
  return summarizeSweep(folder)
}

async function newPlan(
  given: SweepInput,
  source = 'config',
): Promise<{ plan: Plan; folder: string; model: LanguageModel | undefined }> {
  const isOfEvaluation = given.sweep?.of === 'evaluate'
  const { input, model, rows } =
    isOfEvaluation && typeof given.model !== 'object'
      ? { input: given as unknown, model: undefined, rows: {} }
      : await separate(given)
  const [inMemory] = Object.keys(rows)
  if (inMemory !== undefined)
    throw invalidConfig(source, `data.${inMemory} of a sweep is a file, which all its workers can read`, {
      found: 'rows in memory',
      hint: 'write them to a .jsonl file',
    })
  const plan = await planOf(input, source)
  return { plan, folder: await sweepFolder(plan, given.out), model }
}

/** The journal's first lines, and how many trials there are to be. */
async function begin({ plan, journal, trials, folder }: SweepFolder, count: number | undefined): Promise<void> {
  const hash = planHash(plan)
  await journal.add(() => {
    if (trials.plan !== undefined && trials.plan !== hash)
      throw new GradpromptError('other-sweep', `the journal of ${folder} is of another sweep`, {
        found: `a plan of the hash ${trials.plan.slice(0, 12)}`,
        expected: hash.slice(0, 12),
        hint: 'undo the edit of its sweep.yaml, or begin a new sweep',
      })
    const records: SweepRecord[] = []
    if (trials.plan === undefined) records.push({ type: 'sweep', plan: hash })
    if (count !== undefined && count !== trials.wanted) records.push({ type: 'trials', count })
    return { records, result: undefined }
  })
}

/**
 * Adds a trial with values of one's own to a sweep, also while others work on it: it comes before those that are chosen.
 * @throws GradpromptError `not-a-sweep`, `invalid-config`, and what is wrong with the trial
 */
export async function addTrial(folder: string, values: Values): Promise<void> {
  const plan = await readPlan(folder)
  const known = plan.space.map(({ name }) => name)
  for (const name of Object.keys(values))
    if (!known.includes(name))
      throw invalidConfig(folder, `the sweep does not vary ${name}`, { found: name, expected: `one of ${known.join(', ')}` })
  for (const parameter of plan.space) {
    const { name } = parameter
    const active = isActive(parameter, values, plan.fixed)
    if (active === Object.hasOwn(values, name)) continue
    throw invalidConfig(folder, active ? `the trial does not say ${name}` : `${name} is not given with these values`, {
      found: JSON.stringify(values),
      expected: active ? `a value of ${name}` : `no ${name}`,
    })
  }
  await plan.kind.parse(plan.configOf(values, plan.seeds[0]!), folder)
  const foreign = plan.space.find(
    parameter => Object.hasOwn(values, parameter.name) && placeOf(parameter, values[parameter.name]) === undefined,
  )
  if (foreign !== undefined)
    throw invalidConfig(folder, `${JSON.stringify(values[foreign.name])} is no value of ${foreign.name} in this sweep`, {
      expected:
        foreign.domain.kind === 'list'
          ? `one of ${foreign.domain.values.map(value => JSON.stringify(value)).join(', ')}`
          : 'a number',
    })
  const { journal } = openSweepFolder(folder, plan)
  await journal.add(() => ({ records: [{ type: 'add', values } satisfies SweepRecord], result: undefined }))
}

export type { SweepEvent }
