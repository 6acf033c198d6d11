import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { GradpromptError } from '../../errors.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { keptEvaluations } from '../../evaluate/kept-evaluations.js'
import type { Metrics } from '../../evaluate/score.js'
import type { Verdict } from '../../evaluate/verdict.js'
import { isFile } from '../../files.js'
import { isRunning } from '../../store/run-folder.js'
import { listRuns, type RunList, type RunRecord, readRun } from './record.js'

/** Runs as lines of a list: what each is, where it stands, what it came to. Nothing of a run is changed here. */

export interface RunSummary {
  readonly folder: string
  readonly name: string
  readonly kind: RunRecord['kind']
  /** `stopped`: neither has it ended, nor does a process work on it. */
  readonly state: 'finished' | 'running' | 'stopped'
  /** The soft-prompt method or the search. */
  readonly method: string
  readonly model: string
  /** Of the training rows. */
  readonly data: string
  /** Steps done. */
  readonly steps: number
  /** The figure that matters most: of the test rows where there are some, otherwise of dev. */
  readonly metric?: MetricValue & { readonly name: string; readonly of: 'test' | 'dev' }
  readonly verdict?: Verdict['outcome']
  /** When it began, as ISO 8601. */
  readonly began?: string
  /** Of work. */
  readonly seconds?: number
  /** Evaluations in its folder. */
  readonly evaluations: number
  /** Whether it has a page. */
  readonly hasReport: boolean
}

export interface RunSummaries {
  readonly runs: readonly RunSummary[]
  readonly unreadable: RunList['unreadable']
}

/**
 * Every run directly in a folder, the latest first.
 * @param parent by default `runs`; one that is not there holds none
 */
export async function summarizeRuns(parent?: string): Promise<RunSummaries> {
  const { runs, unreadable } = await listRuns(parent)
  const summaries = await Promise.all(runs.map(summarize))
  return { runs: summaries.sort((a, b) => (b.began ?? '').localeCompare(a.began ?? '')), unreadable }
}

/** One run. @throws GradpromptError as `readRun` does */
export const summarizeRun = async (folder: string): Promise<RunSummary> => summarize(await readRun(folder))

/** Writes `runs.html` beside the runs. @returns its path @throws GradpromptError `cannot-write` */
export async function writeRunsPage(parent: string, summaries: RunSummaries): Promise<string> {
  const { runsPage } = await import('../../report/runs.js')
  const { writePage } = await import('../../report/parts/page.js')
  const path = join(parent, 'runs.html')
  try {
    await writePage(path, runsPage({ name: basename(resolve(parent)), ...summaries }))
    return path
  } catch (cause) {
    throw new GradpromptError('cannot-write', `the page cannot be written to ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a folder that can be written',
      cause,
    })
  }
}

async function summarize(run: RunRecord): Promise<RunSummary> {
  const { folder, kind, config, result, details } = run
  const events: readonly { readonly event: string }[] = result === undefined ? await run.events() : []
  const steps = result?.steps ?? events.reduce((most, event) => Math.max(most, stepOf(event)), 0)
  const metric = result && metricOf(result)
  const began = await beginningOf(folder, details)
  return {
    ...{ folder, kind, steps, model: config.model, data: config.data.train },
    name: basename(resolve(folder)),
    state: result !== undefined ? 'finished' : (await isRunning(folder)) ? 'running' : 'stopped',
    method: run.kind === 'tune' ? run.config.method.type : run.config.search.type,
    ...(metric && { metric }),
    ...(result?.verdict && { verdict: (result.verdict.stronger ?? result.verdict).outcome }),
    ...(began !== undefined && { began }),
    ...(result && { seconds: result.seconds }),
    evaluations: (await keptEvaluations(folder)).length,
    hasReport: await isFile(join(folder, 'report.html')),
  }
}

const stepOf = (event: { readonly event: string }): number =>
  event.event === 'step' && 'step' in event && typeof event.step === 'number' ? event.step : 0

function metricOf({
  metrics,
  test,
}: {
  readonly metrics: Metrics
  readonly test?: { readonly metrics: Metrics }
}): RunSummary['metric'] {
  const [name, value] = Object.entries(test?.metrics ?? metrics)[0] ?? []
  return name === undefined || typeof value?.value !== 'number'
    ? undefined
    : { ...value, name, of: test === undefined ? 'dev' : 'test' }
}

/** As the run says; of runs of earlier versions the time of the file that they wrote first. */
async function beginningOf(folder: string, details: unknown): Promise<string | undefined> {
  const { began } = (details ?? {}) as { readonly began?: unknown }
  if (typeof began === 'string' && Number.isFinite(Date.parse(began))) return began
  return (await stat(join(folder, 'run.json')).catch(() => undefined))?.mtime.toISOString()
}
