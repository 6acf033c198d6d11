import { basename, join, relative } from 'node:path'
import { compareConditions } from '../../evaluate/comparison.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { readPredictions } from '../../evaluate/predictions.js'
import { type RowResult, readRowResults } from '../../evaluate/row-results.js'
import { importanceOf } from '../../sweep/importance.js'
import type { Trial } from '../../sweep/journal/records.js'
import { bestFirst, frontOf, isLower, metricOf } from '../../sweep/space/objectives.js'
import type { Parameter } from '../../sweep/space/space.js'
import { lossesOf, openSweepFolder, runFolders } from './folder.js'
import { type Plan, readPlan } from './plan.js'
import { wanted } from './worker.js'

/** What a sweep came to so far: its trials, the best, what cannot be told apart from it, and which options mattered. */

export interface SweepTrial extends Pick<Trial, 'number' | 'values' | 'state' | 'figures' | 'steps' | 'seconds' | 'error'> {
  /** Its runs, one for each seed. */
  readonly folders: readonly string[]
  /** Best less this one on the same rows, in pairs, where both were scored on them. */
  readonly behind?: MetricValue
}

export interface SweepSummary {
  readonly folder: string
  readonly of: Plan['of']
  readonly strategy: string
  /** Trials that there are to be. */
  readonly wanted: number
  /** In the order of their numbers. */
  readonly trials: readonly SweepTrial[]
  /** What is best, and whether less of it is better. */
  readonly objectives: readonly { readonly metric: string; readonly lower: boolean }[]
  /** Undefined where none has finished. */
  readonly best?: SweepTrial
  /** Of two objectives: the trials that none beats in both. */
  readonly front: readonly SweepTrial[]
  /** Finished trials that the best cannot be told apart from, and by what that is judged. */
  readonly alike: readonly SweepTrial[]
  readonly judgedBy: 'paired rows' | 'intervals'
  /** Of each option: the share of the differences between trials that it alone explains. */
  readonly importance: readonly { readonly name: string; readonly share: number; readonly trials: number }[]
  /** Optimiser steps over all trials and seeds, and what full runs of all would have had. */
  readonly steps: number
  /** Of each option that varies, in the order of the plan. */
  readonly parameters: readonly Parameter[]
}

/** @throws GradpromptError `not-a-sweep`, `sweep-corrupt`, `invalid-config` */
export async function summarizeSweep(folder: string): Promise<SweepSummary> {
  const plan = await readPlan(folder)
  const opened = openSweepFolder(folder, plan)
  await opened.journal.sync()
  const all = opened.trials.trials
  const shown = all.map((trial): SweepTrial => {
    const { number, values, state, figures, steps, seconds, error } = trial
    return {
      number,
      values,
      state,
      figures,
      steps,
      seconds,
      error,
      folders: runFolders(folder, plan, number).map(({ folder }) => folder),
    }
  })
  const finished = all.filter(({ state }) => state === 'finished').map(trial => ({ ...trial, losses: lossesOf(plan, trial)! }))
  const first = finished.length > 1 && plan.objectives.length > 1 ? frontOf(finished) : finished
  const [best] = plan.objectives.length > 1 ? [...first].sort((a, b) => a.losses[0]! - b.losses[0]!) : bestFirst(first)
  const scored = all.find(({ figures }) => Object.keys(figures).length > 0)
  const objectives = plan.objectives.flatMap(objective => {
    const metric = scored === undefined ? objective.metric : metricOf(objective, scored.figures)
    return metric === undefined ? [] : [{ metric, lower: isLower(objective, metric) }]
  })
  const against = best && (await comparisonsWith(plan, shown, best.number, objectives[0]!))
  const withBehind = shown.map(trial => ({
    ...trial,
    ...(against?.behind.has(trial.number) && { behind: against.behind.get(trial.number)! }),
  }))
  const told = all
    .filter(({ state }) => state === 'finished' || state === 'stopped')
    .map(trial => ({ values: trial.values, loss: lossesOf(plan, trial)![0]!, state: trial.state }))
  const comparable = told.filter(
    ({ state, loss }) => Number.isFinite(loss) && (state === 'finished' || plan.options.stop === undefined),
  )
  return {
    ...{
      folder,
      of: plan.of,
      strategy: plan.strategy,
      wanted: wanted(opened),
      trials: withBehind,
      objectives,
      parameters: plan.space,
    },
    ...(best && { best: withBehind[best.number]! }),
    front: plan.objectives.length > 1 ? first.map(({ number }) => withBehind[number]!) : [],
    alike: best ? withBehind.filter(({ number }) => number !== best.number && against!.alike.has(number)) : [],
    judgedBy: against?.paired ? 'paired rows' : 'intervals',
    importance: importanceOf(plan.space, comparable),
    steps: all.reduce((sum, { steps }) => sum + steps, 0) * plan.seeds.length,
  }
}

/** How each finished trial stands against the best: in pairs over the same rows where that can be, otherwise by their intervals. */
async function comparisonsWith(
  plan: Plan,
  trials: readonly SweepTrial[],
  best: number,
  { metric }: { readonly metric: string },
): Promise<{ paired: boolean; behind: Map<number, MetricValue>; alike: Set<number> }> {
  const scoreOf: ((row: RowResult) => number) | undefined =
    metric === 'accuracy' ? row => row.score : metric === 'logLikelihood' ? row => row.logProbability ?? Number.NaN : undefined
  const rowsOf = async ({ folders }: SweepTrial): Promise<RowResult[][] | undefined> => {
    if (scoreOf === undefined) return undefined
    const read = await Promise.all(folders.map(folder => ownRows(plan, folder).catch(() => undefined)))
    const scored = read.map(rows => rows?.map(row => ({ ...row, score: scoreOf(row) })))
    return scored.every(rows => rows !== undefined && rows.length > 0 && rows.every(({ score }) => Number.isFinite(score)))
      ? (scored as RowResult[][])
      : undefined
  }
  const finished = trials.filter(({ state }) => state === 'finished')
  const of = trials[best]!
  const bestRows = await rowsOf(of)
  const behind = new Map<number, MetricValue>()
  const alike = new Set<number>()
  for (const trial of finished) {
    if (trial.number === best) continue
    const rows = bestRows && (await rowsOf(trial))
    const compared = rows && paired(bestRows, rows)
    if (compared !== undefined) {
      behind.set(trial.number, compared)
      if (compared.low <= 0) alike.add(trial.number)
      continue
    }
    const [a, b] = [of.figures[metric], trial.figures[metric]]
    if (a && b && a.low <= b.high && b.low <= a.high) alike.add(trial.number)
  }
  return { paired: bestRows !== undefined, behind, alike }
}

function paired(best: readonly RowResult[][], other: readonly RowResult[][]): MetricValue | undefined {
  try {
    const [comparison] = compareConditions(
      [
        { name: 'other', seeds: other },
        { name: 'best', seeds: best },
      ],
      { seed: 13 },
    ).comparisons
    return comparison?.difference
  } catch {
    // Trials may differ in their rows, where an option of the data varies.
    return undefined
  }
}

const ownRows = (plan: Plan, folder: string): Promise<RowResult[] | undefined> =>
  plan.of === 'evaluate' ? readRowResults(join(folder, `${basename(folder)}.jsonl`)) : readPredictions(folder, 'dev', 'tuned')

/** Trials as a table of comma-separated values: one line each, its options and its figures, with the ends of their intervals where they have one. */
export function sweepCsv({ folder, trials, parameters }: SweepSummary): string {
  const options = parameters.map(({ name }) => name)
  // The steps of a trial are a column of their own.
  const figures = [...new Set(trials.flatMap(({ figures }) => Object.keys(figures)))].filter(name => name !== 'steps')
  const isUncertain = (name: string) =>
    trials.some(({ figures: { [name]: own } }) => own !== undefined && (own.low !== own.value || own.high !== own.value))
  const columns = figures.flatMap((name): [string, 'value' | 'low' | 'high'][] => [
    [name, 'value'],
    ...(isUncertain(name) ? ([[name, 'low'], [name, 'high']] as [string, 'low' | 'high'][]) : []), // biome-ignore format: a pair
  ])
  const cell = (value: unknown) => {
    const text = value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value)
    // A text that a spreadsheet would compute is none.
    const safe = typeof value === 'string' && /^[=+@-]/.test(text) ? `'${text}` : text
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  const head = [
    'trial',
    'state',
    'steps',
    ...options,
    ...columns.map(([name, part]) => (part === 'value' ? name : `${name}.${part}`)),
    'error',
    'folder',
  ]
  const lines = trials.map(({ number, state, steps, values, figures: own, error, folders }) => [
    ...[number, state, steps, ...options.map(name => values[name])],
    ...columns.map(([name, part]) => own[name]?.[part]),
    ...[error && `${error.code}: ${error.message}`, folders.map(path => relative(folder, path)).join(' ')],
  ])
  return [head, ...lines].map(line => `${line.map(cell).join(',')}\n`).join('')
}
