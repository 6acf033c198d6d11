import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { GradpromptError, refuseFullDisk } from '../../errors.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { keptEvaluations } from '../../evaluate/kept-evaluations.js'
import type { Metrics } from '../../evaluate/score.js'
import type { Verdict } from '../../evaluate/verdict.js'
import { isFile } from '../../files.js'
import type { SearchResult } from '../../search/run/events.js'
import { isRunning, openRun } from '../../store/run-folder.js'
import type { RunResult } from '../../train/events.js'
import { eachRun, type RunList, type RunRecord, withFolder } from './record.js'

/**
 * Runs as lines of a list: what each is, where it stands, what it came to. Nothing of a run is changed here, and no module that its config names is
 * loaded: a list of runs, some of which others have made, runs nobody's code.
 */

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
export async function summarizeRuns(parent = 'runs'): Promise<RunSummaries> {
  const { runs, unreadable } = await eachRun(parent, summarizeRun)
  return { runs: runs.sort((a, b) => (b.began ?? '').localeCompare(a.began ?? '')), unreadable }
}

/** Writes `runs.html` beside the runs. @returns its path @throws GradpromptError `disk-full`, `cannot-write` */
export async function writeRunsPage(parent: string, summaries: RunSummaries): Promise<string> {
  const { runsPage } = await import('../../report/runs.js')
  const { writePage } = await import('../../report/parts/page.js')
  const path = join(parent, 'runs.html')
  try {
    await writePage(path, runsPage({ name: basename(resolve(parent)), ...summaries }))
    return path
  } catch (cause) {
    refuseFullDisk(cause, path)
    throw new GradpromptError('cannot-write', `the page cannot be written to ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a folder that can be written',
      cause,
    })
  }
}

/** One run. @throws GradpromptError `not-a-run`, `run-corrupt` */
export async function summarizeRun(folder: string): Promise<RunSummary> {
  const run = await openRun(folder)
  const { details } = run
  const { model, data, method, search } = run.config as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>
  const about = {
    model: model as unknown,
    data: data?.train,
    method: run.isSearch ? search?.type : (method?.type ?? 'prompt-tuning'),
  }
  for (const [name, value] of Object.entries(about))
    if (typeof value !== 'string')
      throw new GradpromptError('run-corrupt', `${join(folder, 'config.yaml')} does not hold the config of a run`, {
        found: `no ${name} in it`,
      })
  const result = withFolder<RunResult | SearchResult>(await run.readResult(), folder)
  const events = result === undefined ? await run.readEvents() : []
  const steps = result?.steps ?? events.reduce((most, event) => Math.max(most, stepOf(event)), 0)
  const metric = result && metricOf(result)
  const began = await beginningOf(folder, details)
  return {
    ...{ folder, steps, ...(about as Record<keyof typeof about, string>) },
    kind: run.isSearch ? 'search' : 'tune',
    name: basename(resolve(folder)),
    state: result !== undefined ? 'finished' : (await isRunning(folder)) ? 'running' : 'stopped',
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
