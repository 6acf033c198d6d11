import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { OptionSchema } from '../../config/options.js'
import { type ConfigSource, invalidConfig, sourceName } from '../../config/problems.js'
import { parseYaml } from '../../config/yaml.js'
import { GradpromptError, writeError } from '../../errors.js'
import { isFile } from '../../files.js'
import { isRecord } from '../../json.js'
import { ownCommand } from '../../own-command.js'
import { randomGenerator, streams } from '../../random.js'
import { createText } from '../../store/atomic.js'
import { parseSweepOptions, type SweepOptions, sweepJsonSchema } from '../../sweep/config.js'
import { gridOf } from '../../sweep/samplers/grid.js'
import { drawValues, random } from '../../sweep/samplers/random.js'
import { type Constraint, parseConstraint } from '../../sweep/space/constraints.js'
import { type Objective, objectivesOf } from '../../sweep/space/objectives.js'
import {
  holds,
  isActive,
  neverGiven,
  optionAt,
  optionIn,
  type Parameter,
  parseSpace,
  refuseUnknownOption,
  type Values,
  valuesText,
  valueText,
} from '../../sweep/space/space.js'
import { trialKinds } from './trials/index.js'
import type { TrialConfig, TrialKind } from './trials/trial-kind.js'

/** What a sweep does, resolved and checked: its options, the config that they vary, and what a trial is. */

export interface Plan {
  readonly kind: TrialKind
  readonly of: 'tune' | 'search' | 'evaluate'
  /** Of a trial, without what varies. */
  readonly config: Readonly<Record<string, unknown>>
  readonly options: SweepOptions
  readonly space: readonly Parameter[]
  readonly constraints: readonly Constraint[]
  readonly objectives: readonly Objective[]
  readonly strategy: string
  /** Trials that are chosen, beside those that people add. */
  readonly trials: number
  /** Of the runs of a trial. */
  readonly seeds: readonly number[]
  /** Of a sweep's folder. */
  readonly name: string
  /** The value of an option that does not vary. */
  readonly fixed: (name: string) => unknown
  readonly allowed: (values: Values) => boolean
  configOf(values: Values, seed: number): Record<string, unknown>
}

/** Draws of the values that are checked before anything is computed. */
const checkedDraws = 24

/** What a config of a sweep may have: that of its trials, and the block `sweep`. */
export function sweepConfigSchema(of: Plan['of']): OptionSchema {
  const root = trialKinds[of].schema()
  return { ...root, properties: { ...root.properties, sweep: sweepJsonSchema() } } as OptionSchema
}

export const kindOf = (input: Readonly<Record<string, unknown>>): Plan['of'] => {
  const given = isRecord(input.sweep) ? input.sweep.of : undefined
  return given === 'tune' || given === 'search' || given === 'evaluate' ? given : 'search' in input ? 'search' : 'tune'
}

/** @throws GradpromptError `invalid-config`, `unknown-option`, `invalid-constraint`, `no-trials`, and what is wrong with a trial's config */
export async function planOf(input: unknown, source: ConfigSource): Promise<Plan> {
  const name = sourceName(source)
  if (!isRecord(input) || input.sweep === undefined)
    throw invalidConfig(name, 'sweep is missing', {
      found: 'a config without it',
      expected: 'sweep: { over: { train.learningRate: { min: 0.001, max: 0.1, log: true } } }',
    })
  const said = parseSweepOptions(input.sweep, source)
  const of = said.of ?? kindOf(input)
  const options = { ...said, of }
  const kind = trialKinds[of]
  const { sweep: _, out: _out, ...given } = input
  const config = (await kind.load(given)) as Record<string, unknown>
  const space = parseSpace(options.over, kind.schema(), `${name}: sweep.over`)
  const constraints = (options.constraints ?? []).map(parseConstraint)
  for (const option of constraints.flatMap(({ names }) => names))
    refuseUnknownOption(option, kind.schema(), `${name}: sweep.constraints`)
  const first = await firstConfig(kind, config, space, name)
  const isVaried = (option: string) => space.some(({ name }) => option === name || option.startsWith(`${name}.`))
  const fixed = (option: string) => (isVaried(option) ? undefined : optionAt(first.resolved, option))
  refuseNever(space, isVaried, fixed, `${name}: sweep.over`)
  const allowed = (values: Values) => constraints.every(constraint => constraint.holds(option => optionIn(values, option, fixed)))
  const isGrid = space.every(({ domain }) => domain.kind === 'list')
  const strategy = options.strategy ?? (isGrid ? 'grid' : 'tpe')
  const points = strategy === 'grid' ? gridOf({ space, fixed, allowed, seed: options.seed }).length : undefined
  const seed = typeof config.seed === 'number' ? config.seed : 13
  const seeds =
    typeof options.seeds === 'number' ? Array.from({ length: options.seeds }, (_, i) => seed + i) : (options.seeds ?? [seed])
  if (new Set(seeds).size < seeds.length) throw invalidConfig(name, 'sweep.seeds has a seed twice', { found: seeds.join(', ') })
  const every = options.stop && kind.evaluateEvery
  if (options.stop && every === undefined)
    throw invalidConfig(name, `sweep.stop needs trials with steps, and ${of} has none`, { hint: 'leave sweep.stop out' })
  const { stop } = options
  const plan: Plan = {
    ...{ kind, of, config, options, space, constraints, strategy, seeds, fixed, allowed, name: first.name },
    objectives: objectivesOf(options.objective),
    trials: Math.min(options.trials ?? points ?? 30, points ?? Number.POSITIVE_INFINITY),
    configOf(values, seed) {
      let made: Record<string, unknown> = { ...config, seed }
      // Rungs are dev scores: these have to stand there.
      if (stop && every !== undefined && optionAt(made, every) === undefined) made = assign(made, every, stop.min)
      for (const [option, value] of Object.entries(values)) made = assign(made, option, value)
      return made
    },
  }
  if (!first.hasDev)
    throw invalidConfig(name, 'a sweep needs dev rows, by which trials are compared', {
      found: 'neither data.dev nor data.split.dev',
      expected: 'data.dev: a file, or data.split: { dev: 0.2 }',
    })
  await check(plan, name)
  return plan
}

/** Conditions on what does not vary: one that does not hold now never will. */
function refuseNever(
  space: readonly Parameter[],
  isVaried: (option: string) => boolean,
  fixed: Plan['fixed'],
  source: string,
): void {
  for (const { name, when } of space)
    for (const condition of when) {
      const value = fixed(condition.name)
      if (isVaried(condition.name) || holds(condition, value)) continue
      const said = value === undefined ? '' : `${valueText(value)}, which the config says, or `
      throw neverGiven(name, condition, `${said}${condition.name} among what varies`, source)
    }
}

/** Values of lists one by one, ends of ranges, and draws of all together: what cannot be is known before anything is computed. */
async function check(plan: Plan, source: string): Promise<void> {
  const { space, fixed, allowed, kind, options, strategy, constraints } = plan
  if (
    random.choose({ space, seen: [], tried: () => false, trial: 0, seed: options.seed, fixed, allowed }) === undefined ||
    plan.trials === 0
  ) {
    const generator = randomGenerator(options.seed, streams.sweep)
    const draws = Array.from({ length: 200 }, () => drawValues(space, fixed, generator))
    const refusing = constraints.map(constraint => {
      const refused = draws.filter(values => !constraint.holds(option => optionIn(values, option, fixed)))
      return `"${constraint.text}" refuses ${refused.length} of ${draws.length}`
    })
    throw new GradpromptError('no-trials', `${source}: no values fulfil all of sweep.constraints`, {
      found: refusing.join('; '),
      expected: 'constraints that leave some of the values of sweep.over',
      hint: 'two of them may contradict each other: take one out, or widen a range',
    })
  }
  const generator = randomGenerator(options.seed, streams.sweep, -1)
  const checked: Values[] = []
  for (let draw = 0; draw < 40 * checkedDraws && checked.length < checkedDraws; draw++) {
    const values = drawValues(space, fixed, generator)
    if (allowed(values)) checked.push(values)
  }
  for (const parameter of space) {
    const { name, domain } = parameter
    const ends = domain.kind === 'list' ? domain.values : [domain.min, domain.max].filter(Number.isFinite)
    for (const value of ends) {
      const at = checked.find(values => isActive(parameter, values, fixed))
      if (at === undefined) continue
      const changed = { ...at, [name]: value }
      // What hangs on the value is given or left out with it.
      const whole: Record<string, unknown> = {}
      for (const other of space)
        if (isActive(other, whole, fixed))
          whole[other.name] = Object.hasOwn(changed, other.name)
            ? (changed as Values)[other.name]
            : drawValues([{ ...other, when: [] }], fixed, generator)[other.name]
      if (allowed(whole)) checked.push(whole)
    }
  }
  if (strategy === 'grid') checked.push(...gridOf({ space, fixed, allowed, seed: options.seed }).slice(0, 200))
  for (const values of checked) await parsedWith(kind, plan.configOf(values, plan.seeds[0]!), values, source)
}

/** @throws GradpromptError what is wrong with the config of a trial, with the values that it has */
async function parsedWith(kind: TrialKind, config: object, values: Values, source: string): Promise<TrialConfig> {
  try {
    return await kind.parse(config, source)
  } catch (error) {
    if (!(error instanceof GradpromptError)) throw error
    throw new GradpromptError(error.code, `${error.message}, in a trial with ${valuesText(values)}`, {
      ...(error.found !== undefined && { found: error.found }),
      ...(error.expected !== undefined && { expected: error.expected }),
      hint: error.hint ?? 'when: says with which values of others an option is given; sweep.constraints what has to hold of all',
      cause: error,
    })
  }
}

/** The config with values of its own, by which the defaults of all that does not vary are known. */
async function firstConfig(
  kind: TrialKind,
  config: Readonly<Record<string, unknown>>,
  space: readonly Parameter[],
  source: string,
): Promise<TrialConfig> {
  const generator = randomGenerator(13, streams.sweep, -2)
  const known = (option: string) => optionAt(config, option)
  let made: Record<string, unknown> = { ...config }
  const values = drawValues(space, known, generator)
  for (const [option, value] of Object.entries(values)) made = assign(made, option, value)
  return parsedWith(kind, made, values, source)
}

/** A copy with another value of an option. */
function assign(config: Record<string, unknown>, option: string, value: unknown): Record<string, unknown> {
  const [key, ...rest] = option.split('.') as [string, ...string[]]
  if (rest.length === 0) return { ...config, [key]: value }
  const below = config[key]
  return { ...config, [key]: assign(isRecord(below) ? below : {}, rest.join('.'), value) }
}

// --- the folder --------------------------------------------------------------------------------------------------------------

const planName = 'sweep.yaml'

/** A hash of all that decides what trials are: not how many there are to be. */
export function planHash({ of, config, options }: Pick<Plan, 'of' | 'config' | 'options'>): string {
  const { of: _of, trials: _trials, maxFailures: _failures, ...rest } = options
  return createHash('sha256')
    .update(JSON.stringify({ of, config, options: rest }))
    .digest('hex')
}

export const isSweep = (folder: string): Promise<boolean> => isFile(join(folder, planName))

/** The plan of a folder. @throws GradpromptError `not-a-sweep`, `sweep-corrupt`, and as `planOf` does */
export async function readPlan(folder: string): Promise<Plan> {
  const path = join(folder, planName)
  if (!(await isSweep(folder)))
    throw new GradpromptError('not-a-sweep', `${folder} is not a sweep`, {
      found: `no ${planName} in it`,
      expected: 'the folder of an earlier `gradprompt sweep`, or a config',
    })
  const parsed = parseYaml(await readFile(path, 'utf8'))
  if ('problem' in parsed) throw new GradpromptError('sweep-corrupt', `${path} cannot be read`, { found: parsed.problem.message })
  return planOf(parsed.value, path)
}

/**
 * A folder for a plan: one that has the same goes on with it.
 * @throws GradpromptError `other-sweep`, `folder-not-empty`, `cannot-write`, `disk-full`
 */
export async function sweepFolder(plan: Plan, out: string | undefined, parent = 'sweeps'): Promise<string> {
  const folder = out ?? (await freeFolder(parent, plan.name))
  if (await isSweep(folder)) {
    if (planHash(await readPlan(folder)) === planHash(plan)) return folder
    throw new GradpromptError('other-sweep', `${folder} holds another sweep`, {
      found: join(folder, planName),
      expected: 'the same config, but for sweep.trials and sweep.maxFailures',
      hint: `${ownCommand`sweep ${folder}`} goes on with that one; another --out begins this one`,
    })
  }
  const names = (await readdir(folder).catch(() => [])).filter(name => !name.endsWith('.tmp'))
  if (names.length > 0)
    throw new GradpromptError('folder-not-empty', `${folder} holds other files`, {
      found: names.slice(0, 5).join(', '),
      expected: 'a folder that does not exist, or an empty one',
      hint: 'give another --out',
    })
  try {
    const { stringify } = await import('yaml')
    await mkdir(folder, { recursive: true })
    const { config, options } = plan
    // Another process may have begun one here since the folder was looked at.
    const isMine = await createText(join(folder, planName), stringify({ ...config, sweep: options }))
    if (!isMine) return sweepFolder(plan, out, parent)
  } catch (error) {
    throw writeError(error, folder)
  }
  return folder
}

async function freeFolder(parent: string, name: string): Promise<string> {
  const plain = name.replace(/[^\p{L}\p{N}_.-]+/gu, '-').replace(/^[.-]+/, '') || 'sweep'
  for (let attempt = 1; ; attempt++) {
    const folder = join(parent, attempt === 1 ? plain : `${plain}-${attempt}`)
    if ((await readdir(folder).catch(() => [])).length === 0) return folder
  }
}
