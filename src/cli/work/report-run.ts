import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { tuneConfigOf } from '../../api/runs.js'
import type { MovedTokens } from '../../evaluate/nearest-tokens.js'
import { readPredictions, type ScoredPart } from '../../evaluate/predictions.js'
import { writePage } from '../../report/parts/page.js'
import { searchPage } from '../../report/search.js'
import { type PartRows, tunePage } from '../../report/tune.js'
import type { SearchResult } from '../../search/run/events.js'
import { readPrompt } from '../../store/prompt-file.js'
import { openRun, type Run, startName } from '../../store/run-folder.js'
import type { RunResult } from '../../train/events.js'
import { load } from './opening.js'

/** Writes a run's `report.html`. @returns its path */
export async function reportRun(folder: string): Promise<string> {
  const run = await openRun(folder)
  const config = run.config as Readonly<Record<string, unknown>>
  const [events, result] = await Promise.all([run.readEvents(), run.readResult()])
  const common = { name: basename(resolve(folder)), config, details: run.details, events }
  const page = run.isSearch
    ? searchPage({
        ...common,
        result: result as SearchResult | undefined,
        rows: {
          before: (await readPredictions(folder, 'test', 'initial')) ?? [],
          after: (await readPredictions(folder, 'test', 'tuned')) ?? [],
        },
      })
    : tunePage({
        ...common,
        result: result as RunResult | undefined,
        moved: result === undefined ? [] : await movedVectors(run),
        rows: Object.fromEntries(
          (await Promise.all((['dev', 'test'] as const).map(part => partRows(folder, part)))).flatMap(known => known ?? []),
        ),
      })
  const path = join(folder, 'report.html')
  await writePage(path, page)
  return path
}

async function partRows(folder: string, part: ScoredPart): Promise<[[ScoredPart, PartRows]] | undefined> {
  const [tuned, control, plain] = await Promise.all(
    (['tuned', 'control', 'plain'] as const).map(scoredWith => readPredictions(folder, part, scoredWith)),
  )
  return tuned && [[part, { tuned, control: control ?? [], plain: plain ?? [] }]]
}

/** What the vectors read as; nothing where the method has none. */
async function movedVectors(run: Run): Promise<MovedTokens[]> {
  const { inputRowsOf } = await import('../../sources/prompt.js')
  const { movedTokens } = await import('../../evaluate/nearest-tokens.js')
  const end = await readPrompt(run.promptPath)
  if ((await inputRowsOf(end)) === undefined) return []
  const startPath = join(run.folder, startName)
  const start = (await isFile(startPath)) ? await readPrompt(startPath) : undefined
  const { model: name, device, threads, memory } = tuneConfigOf(run)
  const model = await load(name, { device, threads, memory })
  try {
    return await movedTokens(model, start, end)
  } finally {
    await model.dispose()
  }
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    found => found.isFile(),
    () => false,
  )
