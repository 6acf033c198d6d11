import { basename, join, resolve } from 'node:path'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { keptEvaluations } from '../evaluate/kept-evaluations.js'
import type { MovedTokens } from '../evaluate/nearest-tokens.js'
import { readPredictions, type ScoredPart } from '../evaluate/predictions.js'
import { isFile } from '../files.js'
import type { LanguageModel } from '../model/language-model.js'
import { withModel } from '../model/with-model.js'
import { type Page, writePage } from '../report/parts/page.js'
import { searchPage } from '../report/search.js'
import { type PartRows, tunePage } from '../report/tune.js'
import type { SearchResult } from '../search/run/events.js'
import { readPrompt } from '../store/prompt-file.js'
import { openRun, type Run, startName } from '../store/run-folder.js'
import type { RunResult } from '../train/events.js'
import { tuneConfigOf } from './runs/configs.js'

/** A run as a page: what its folder holds, and what its vectors read as on its model. */

export interface ReportOptions {
  /** The run's model, where it is open; by default it is opened as the run did. */
  readonly model?: LanguageModel | undefined
}

const names = { model: true } satisfies OptionNames<ReportOptions>

/** @returns the path of the run's `report.html`. @throws GradpromptError `not-a-run`, `run-corrupt`, and as loading a model does */
export async function writeReport(given: string | { readonly folder: string }, options: ReportOptions = {}): Promise<string> {
  refuseUnknown('writeReport', options, names)
  const folder = typeof given === 'string' ? given : given.folder
  const run = await openRun(folder)
  const moved = run.isSearch || (await run.readResult()) === undefined ? [] : await movedVectors(run, options.model)
  const path = join(folder, reportName)
  await writePage(path, await runPage(run, moved))
  return path
}

/**
 * What a run's folder holds, as a page that is not written; of a run that has not ended, what there is.
 * @param moved what its vectors read as, for which a model is needed
 */
export async function runPage(run: Run, moved: readonly MovedTokens[] = []): Promise<Page> {
  const { folder } = run
  const config = run.config as Readonly<Record<string, unknown>>
  const [events, result] = await Promise.all([run.readEvents(), run.readResult()])
  const evaluations = await keptEvaluations(folder)
  const common = { name: basename(resolve(folder)), config, details: run.details, events, evaluations }
  return run.isSearch
    ? searchPage({
        ...common,
        result: result as SearchResult | undefined,
        ...(await searchRows(folder)),
      })
    : tunePage({
        ...common,
        moved,
        result: result as RunResult | undefined,
        rows: Object.fromEntries(
          (await Promise.all((['dev', 'test'] as const).map(part => partRows(folder, part)))).flatMap(known => known ?? []),
        ),
      })
}

const reportName = 'report.html'

export const hasReport = (folder: string): Promise<boolean> => isFile(join(folder, reportName))

/** What both prompts of a search made of test, or of dev where there is no test. */
async function searchRows(folder: string) {
  for (const part of ['test', 'dev'] as const) {
    const [before, after] = [await readPredictions(folder, part, 'initial'), await readPredictions(folder, part, 'tuned')]
    if (before !== undefined && after !== undefined) return { part, rows: { before, after } }
  }
  return { part: 'test' as const, rows: { before: [], after: [] } }
}

async function partRows(folder: string, part: ScoredPart): Promise<[[ScoredPart, PartRows]] | undefined> {
  const [tuned, control, plain] = await Promise.all(
    (['tuned', 'control', 'plain'] as const).map(scoredWith => readPredictions(folder, part, scoredWith)),
  )
  return tuned && [[part, { tuned, control: control ?? [], plain: plain ?? [] }]]
}

/** What the vectors read as; nothing where the method has none. */
async function movedVectors(run: Run, model: LanguageModel | undefined): Promise<MovedTokens[]> {
  const { inputRowsOf } = await import('../sources/prompt.js')
  const { movedTokens } = await import('../evaluate/nearest-tokens.js')
  const end = await readPrompt(run.promptPath)
  if ((await inputRowsOf(end)) === undefined) return []
  const startPath = join(run.folder, startName)
  const start = (await isFile(startPath)) ? await readPrompt(startPath) : undefined
  const config = await tuneConfigOf(run)
  return withModel(model ?? config.model, config, model => movedTokens(model, start, end))
}
