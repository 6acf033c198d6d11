import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { GradpromptError, nearest } from '../../errors.js'
import { type Comparison, type Condition, compareConditions, type PairedComparison } from '../../evaluate/comparison.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { predictionsPath } from '../../evaluate/predictions.js'
import { readRowResults } from '../../evaluate/row-results.js'
import type { ComparedRun, ComparisonReport } from '../../report/comparison.js'
import type { CommandFunction } from '../terminal/command.js'
import { count, createOutput, plural, table } from '../terminal/output.js'

/** `gradprompt compare A B …` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  // An argument whose name ends in dots comes as a list.
  const given = [argument ?? []].flat()
  if (given.length < 2) {
    throw new GradpromptError('missing-argument', 'gradprompt compare needs two results or more', {
      found: given.join(' '),
      expected: 'runs or .jsonl files',
      hint: 'gradprompt compare runs/base runs/tuned',
    })
  }
  const sources = await Promise.all(given.map(readSource))
  const files = await resultFiles(sources, options.evaluation as string | undefined)
  const conditions = await Promise.all(
    sources.map(async ({ name, paths }): Promise<Condition> => {
      const seeds = await Promise.all(paths.map(path => readRowResults(files.get(path)!)))
      return { name, seeds }
    }),
  )
  const compared = distinct(conditions)
  const comparison = compareConditions(compared, { seed: (options.seed as number | undefined) ?? 13 })
  const report =
    options['no-report'] === true
      ? undefined
      : await writeReport((options.report as string | undefined) ?? defaultReport(sources), {
          comparison,
          conditions: compared,
          runs: (await Promise.all(sources.map(({ paths }, i) => runsOf(compared[i]!.name, paths)))).flat(),
          evaluation: evaluationOf([...files.values()]),
        })
  output.object({ event: 'result', ...comparison, ...(report !== undefined && { report }) })
  output.text(describe(comparison) + (report === undefined ? '' : `\n\nreport: ${report}`))
  return 0
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
  const { comparisonPage } = await import('../../report/comparison.js')
  const { writePage } = await import('../../report/parts/page.js')
  try {
    await writePage(path, comparisonPage(report))
    return path
  } catch (cause) {
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
      const { openRun } = await import('../../store/run-folder.js')
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

interface Source {
  readonly name: string
  /** A run or a file for each seed. */
  readonly paths: readonly string[]
}

/** `name=path,path`: whatever of it is the name of a file or a folder is just that. */
async function readSource(text: string): Promise<Source> {
  if (await exists(text)) return { name: shortName(text), paths: [text] }
  const [, label, rest] = /^([^=/\\]+)=(.+)$/s.exec(text) ?? [undefined, undefined, text]
  const paths = (await exists(rest!)) ? [rest!] : rest!.split(',').filter(path => path !== '')
  for (const path of paths)
    if (!(await exists(path)))
      throw new GradpromptError('file-not-found', `there are no results at ${path}`, {
        found: 'no such file or folder',
        expected: 'a run, or a .jsonl file of rows',
        hint: 'gradprompt evaluate writes a row for each that it scores to evaluations/ in the run',
      })
  return { name: label ?? shortName(paths[0]!), paths }
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

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
    if (names.length === 0) throw noResults(path)
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
    hint: `gradprompt evaluate ${path}`,
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
  const meant = nearest(chosen, names)
  return new GradpromptError('unknown-evaluation', `${path} has no evaluation ${chosen}`, {
    found: chosen,
    expected: `one of ${names.join(', ')}`,
    ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
  })
}

function describe({ rows, binary, conditions, comparisons }: Comparison): string {
  const interval = ({ value, low, high }: MetricValue, sign = false) => {
    const digits = (x: number) => {
      const text = binary ? (100 * x).toFixed(1) : x.toFixed(4)
      return sign && x > 0 && Number(text) !== 0 ? `+${text}` : text
    }
    return `${digits(value)}${binary ? (sign ? '' : ' %') : ''} [${digits(low)}, ${digits(high)}]`
  }
  const several = conditions.some(({ seeds }) => seeds > 1)
  const measure = binary ? 'accuracy' : 'mean score'
  const test = ({ mcnemar }: PairedComparison) =>
    mcnemar === undefined ? '' : `${probability(mcnemar.p)} (+${count(mcnemar.onlyOther)} -${count(mcnemar.onlyBaseline)})`
  const lines = conditions.map(({ name, seeds, mean, seedDeviation }, i) => {
    const against = comparisons[i - 1]
    const spread = seedDeviation === undefined ? '' : (seedDeviation * (binary ? 100 : 1)).toFixed(binary ? 1 : 4)
    return [
      `  ${name}`,
      ...(several ? [String(seeds), spread] : []),
      interval(mean),
      ...(against === undefined
        ? []
        : [
            interval(against.difference, true),
            test(against),
            against.rowsNeeded === null ? 'none differs' : count(against.rowsNeeded),
          ]),
    ]
  })
  const head = ['', ...(several ? ['seeds', 'deviation'] : []), measure, 'difference', 'McNemar p', 'rows needed']
  const known = comparisons.some(({ mcnemar }) => mcnemar !== undefined)
  const notes = [
    `differences are paired, against ${conditions[0]!.name}${binary ? ', in points' : ''}`,
    ...(known ? [`McNemar p: exact, two-sided (rows that the other alone gets right, and ${conditions[0]!.name} alone)`] : []),
    'rows needed: to find such a difference at 5 % with a power of 80 %',
  ]
  return [`${plural(rows, 'row')} [95 % interval]`, table([head, ...lines]), '', ...notes].join('\n')
}

const probability = (p: number): string => (p < 0.0001 ? p.toExponential(1) : p.toFixed(4))
