import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { defaultSeed, type OptionNames, refuseUnknown } from '../config/call-options.js'
import { GradpromptError, refuseFullDisk, unknownName } from '../errors.js'
import { type Comparison, type Condition, compareConditions } from '../evaluate/comparison.js'
import { predictionsPath } from '../evaluate/predictions.js'
import { readRowResults } from '../evaluate/row-results.js'
import { exists, isFile, pageEndings, requireEnding } from '../files.js'
import { ownCommand } from '../own-command.js'
import type { ComparedRun, ComparisonReport } from '../report/comparison.js'
import { hintsName, notARun } from '../store/other-folders.js'
import { openRun } from '../store/run-folder.js'

/** Runs and evaluations over the same rows, beside each other: the library's `compareRuns`, which the command line calls. */

/** What is compared: the folder of a run, a finished run, a file of rows' results, or one for each seed under a name. */
export type Compared =
  | string
  | { readonly folder: string }
  | { readonly name?: string | undefined; readonly paths: readonly string[] }

export interface CompareOptions {
  /** Which evaluation of the runs; by default the one that they have in common, or else the rows that they scored themselves. */
  readonly evaluation?: string | undefined
  /** Decides the resamples of the intervals; by default 13. */
  readonly seed?: number | undefined
  /** A file for a page of it; true: `compare.html` in the folder that holds all that is compared. */
  readonly report?: string | boolean | undefined
}

export interface RunComparison extends Comparison {
  /** Where the page was written. */
  readonly report?: string | undefined
  /** A file that stood there, such as the page of an earlier comparison, gave way to the page. */
  readonly replaced?: true | undefined
}

const names = { evaluation: true, seed: true, report: true } satisfies OptionNames<CompareOptions>

/**
 * Compares results over the same rows in pairs, each with the first.
 *
 * ```ts
 * const { comparisons } = await compareRuns(['runs/a', 'runs/b'])
 * const [{ difference, mcnemar }] = comparisons
 * ```
 *
 * @throws GradpromptError `unknown-option`, `file-not-found`, `not-a-run`, `no-results`, `missing-option`, `unknown-evaluation`,
 *   `different-rows`, `different-scorers`, `invalid-results`, `unknown-format` (what `report` is called), `cannot-write`
 */
export async function compareRuns(runs: readonly Compared[], options: CompareOptions = {}): Promise<RunComparison> {
  refuseUnknown('compareRuns', options, names)
  if (options.report === undefined || options.report === false) return (await comparisonOf(runs, options)).comparison
  if (options.report !== true) requireEnding(options.report, pageEndings, 'the page is HTML')
  const { sources, ...compared } = await comparisonOf(runs, options)
  const path = options.report === true ? defaultReport(sources) : options.report
  const page = await compared.report()
  const replaced = await exists(path)
  const report = await writeReport(path, page)
  return { ...compared.comparison, report, ...(replaced && { replaced }) }
}

/** A comparison, and all that its page shows. @throws GradpromptError as `compareRuns` does */
export async function comparisonOf(runs: readonly Compared[], { evaluation, seed }: CompareOptions = {}) {
  const { sources, files, compared } = await readCompared(runs, evaluation)
  const comparison = compareConditions(compared, { seed: seed ?? defaultSeed })
  const report = async (): Promise<ComparisonReport> => ({
    comparison,
    conditions: compared,
    runs: (await Promise.all(sources.map(({ paths }, i) => runsOf(compared[i]!.name, paths)))).flat(),
    evaluation: evaluationOf([...files.values()]),
  })
  return { comparison, sources, report }
}

/**
 * The rows of what is compared.
 * @throws GradpromptError as `compareRuns` does
 */
export async function readCompared(runs: readonly Compared[], evaluation: string | undefined) {
  if (runs.length < 2) {
    throw new GradpromptError('missing-argument', 'a comparison needs two results or more', {
      found: String(runs.length),
      expected: 'runs or .jsonl files',
    })
  }
  const sources = await Promise.all(runs.map(sourceOf))
  const files = await resultFiles(sources, evaluation)
  const conditions = await Promise.all(
    sources.map(async ({ name, paths }): Promise<Condition> => {
      const seeds = await Promise.all(paths.map(path => readRowResults(files.get(path)!)))
      return { name, seeds }
    }),
  )
  return { sources, files, compared: distinct(conditions) }
}

interface Source {
  readonly name: string
  /** A run or a file for each seed. */
  readonly paths: readonly string[]
}

async function sourceOf(given: Compared): Promise<Source> {
  const paths = typeof given === 'string' ? [given] : 'folder' in given ? [given.folder] : given.paths
  for (const path of paths)
    if (!(await exists(path)))
      throw new GradpromptError('file-not-found', `there are no results at ${path}`, {
        found: 'no such file or folder',
        expected: 'a run, or a .jsonl file of rows',
        hint: `${ownCommand`evaluate RUN --data FILE`} writes a row for each that it scores to evaluations/ in the run`,
      })
  const name = typeof given === 'object' && 'paths' in given ? given.name : undefined
  return { name: name ?? shortName(paths[0] ?? ''), paths }
}

/** `compare.html` in the folder that holds all that is compared. */
function defaultReport(sources: readonly Source[]): string {
  const folders = sources.flatMap(({ paths }) => paths.map(path => dirname(resolve(path)).split(sep)))
  const [first, ...others] = folders as [string[], ...string[][]]
  const shared = first.findIndex((part, i) => others.some(other => other[i] !== part))
  const folder = (shared === -1 ? first : first.slice(0, shared)).join(sep)
  const path = join(folder || sep, 'compare.html')
  const short = relative('', path)
  return short.startsWith('..') ? path : short
}

/** @throws GradpromptError `cannot-write` */
async function writeReport(path: string, report: ComparisonReport): Promise<string> {
  const { comparisonPage } = await import('../report/comparison.js')
  const { writePage } = await import('../report/parts/page.js')
  try {
    await writePage(path, comparisonPage(report))
    return path
  } catch (cause) {
    refuseFullDisk(cause, path)
    throw new GradpromptError('cannot-write', `the report cannot be written to ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a folder that can be written',
      hint: '--report FILE writes it elsewhere, and --no-report not at all',
      cause,
    })
  }
}

/** What the runs among the paths say of themselves; a file of an evaluation belongs to the run that it stands in. */
async function runsOf(name: string, paths: readonly string[]): Promise<ComparedRun[]> {
  const found = await Promise.all(
    paths.map(async (path, i) => {
      const isRun = (await stat(path)).isDirectory()
      // Of the files in a run's folder only these speak of what it learned.
      if (!isRun && !/[/\\](?:evaluations[/\\][^/\\]+|predictions[/\\][^/\\]+-tuned)\.jsonl$/.test(resolve(path)))
        return undefined
      const folder = isRun ? path : dirname(dirname(path))
      if (!(await exists(join(folder, 'config.yaml')))) return undefined
      const run = await openRun(folder)
      const [events, result] = await Promise.all([run.readEvents(), run.readResult()])
      return {
        name: paths.length === 1 ? name : `${name} (${i + 1})`,
        config: run.config as ComparedRun['config'],
        events,
        result: result as ComparedRun['result'],
      }
    }),
  )
  return found.filter(run => run !== undefined)
}

/** The name that all files have in common, if they do. */
function evaluationOf(files: readonly string[]): string | undefined {
  const names = new Set(files.map(file => basename(file).replace(/\.jsonl$/, '')))
  return names.size === 1 ? [...names][0] : undefined
}

/** `runs/base` -> `base`, `runs/base/evaluations/test.jsonl` -> `base/test` */
function shortName(path: string): string {
  const [, folder, file] = /([^/\\]+)[/\\]evaluations[/\\]([^/\\]+)\.jsonl$/.exec(path) ?? []
  return folder === undefined ? basename(path).replace(/\.jsonl$/, '') : `${folder}/${file}`
}

/** Conditions under names that differ. */
function distinct(conditions: readonly Condition[]): Condition[] {
  const taken = new Map<string, number>()
  return conditions.map(condition => {
    const times = (taken.get(condition.name) ?? 0) + 1
    taken.set(condition.name, times)
    return times === 1 ? condition : { ...condition, name: `${condition.name} (${times})` }
  })
}

const extension = '.jsonl'

/** The file of each path: itself, or of a run the evaluation that is wanted. */
async function resultFiles(sources: readonly Source[], wanted: string | undefined): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  const runs = new Map<string, string[]>()
  for (const path of sources.flatMap(({ paths }) => paths)) {
    if ((await stat(path)).isDirectory()) runs.set(path, await evaluationsOf(path))
    else files.set(path, path)
  }
  if (runs.size === 0) return files
  const [first, ...others] = [...runs.values()]
  const common = first!.filter(name => others.every(names => names.includes(name)))
  const chosen = wanted ?? (common.length === 1 ? common[0]! : undefined)
  const own = wanted === undefined && common.length === 0 ? await ownRows([...runs.keys()]) : undefined
  if (own !== undefined) return new Map([...files, ...own])
  for (const [path, names] of runs) {
    if (names.length === 0) throw (await isFile(join(path, hintsName))) ? await notARun(path, 'config.yaml') : noResults(path)
    if (chosen === undefined || !names.includes(chosen)) throw noSuchEvaluation(path, names, chosen, common)
    files.set(path, join(path, 'evaluations', chosen + extension))
  }
  return files
}

async function evaluationsOf(path: string): Promise<string[]> {
  const names = await readdir(join(path, 'evaluations')).catch(() => [])
  const found = names.filter(name => name.endsWith(extension)).map(name => name.slice(0, -extension.length))
  return found.sort()
}

/** Of runs without an evaluation in common: the test rows that they scored themselves, or the dev rows. */
async function ownRows(runs: readonly string[]): Promise<[string, string][] | undefined> {
  for (const part of ['test', 'dev'] as const) {
    const paths = runs.map((run): [string, string] => [run, predictionsPath(run, part, 'tuned')])
    if ((await Promise.all(paths.map(([, path]) => exists(path)))).every(there => there)) return paths
  }
  return undefined
}

const noResults = (path: string) =>
  new GradpromptError('no-results', `${path} has no results of single rows`, {
    found: 'no evaluations/*.jsonl in it',
    expected: 'a run that was evaluated, or a .jsonl file of rows',
    hint: ownCommand`evaluate ${path}`,
  })

function noSuchEvaluation(
  path: string,
  names: readonly string[],
  chosen: string | undefined,
  common: readonly string[],
): GradpromptError {
  if (chosen === undefined)
    return new GradpromptError(
      'missing-option',
      common.length === 0 ? 'the runs have no evaluation in common' : 'the runs have several evaluations',
      {
        found: common.length === 0 ? `${path} has ${names.join(', ')}` : common.join(', '),
        expected: common.length === 0 ? 'runs that were evaluated on the same rows' : '--evaluation NAME',
        hint: 'or name the files: RUN/evaluations/NAME.jsonl',
      },
    )
  return unknownName('unknown-evaluation', `${path} has no evaluation ${chosen}`, chosen, names)
}
