import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createFile, exists, removeFile } from '../files.js'
import { replaceText } from '../store/atomic.js'
import { type RowResult, readRowResults } from './row-results.js'
import type { Metrics } from './score.js'
import type { Verdict } from './verdict.js'

/**
 * The evaluations that stand in a run's folder, side by side: which rows each was of and with which settings, so that none takes another's
 * place. It does not know how rows are scored.
 *
 *     evaluations/NAME.json     what it was of, and what it came to
 *     evaluations/NAME.jsonl    what became of each row
 *     evaluations/NAME.html     its page
 */

export interface KeptEvaluation {
  readonly name: string
  /** Hash of all that decides its rows and their results: data, prompt, model, settings. */
  readonly key: string
  /** The data as they were named. */
  readonly data: string
  /** What was set for it, by name. */
  readonly settings: Readonly<Record<string, string>>
  /** What it came to; absent while it is under way, or was stopped. */
  readonly outcome?: EvaluationOutcome | undefined
}

export interface EvaluationOutcome {
  /** When it ended, as ISO 8601. */
  readonly ended: string
  readonly rows: number
  readonly condition: string
  readonly metrics: Metrics
  readonly control?: { readonly name: string; readonly metrics: Metrics } | undefined
  readonly verdict?: Verdict | undefined
}

export const evaluationsFolder = (run: string): string => join(run, 'evaluations')

/** The file of an evaluation that ends as it is told. */
export const evaluationFile = (run: string, name: string, extension: '.json' | '.jsonl' | '.html'): string =>
  join(evaluationsFolder(run), name + extension)

/**
 * Takes a name for an evaluation: the one wanted, where it is free or this evaluation's own from before, and otherwise that with a part of
 * its key behind it.
 * @returns the name
 */
export async function takeEvaluationName(run: string, about: Omit<KeptEvaluation, 'outcome'>): Promise<string> {
  const { name: wanted, key } = about
  await mkdir(evaluationsFolder(run), { recursive: true })
  for (const name of [wanted, `${wanted}-${key.slice(0, 6)}`, `${wanted}-${key}`]) {
    const path = evaluationFile(run, name, '.json')
    const known = await readKept(path)
    if (known?.key === key) return name
    // Results without a word of what they are of are those of an earlier version.
    if (known !== undefined || (await exists(evaluationFile(run, name, '.jsonl')))) continue
    try {
      await createFile(path, json({ ...about, name }))
      return name
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
  return `${wanted}-${key}`
}

/** Gives back the name of an evaluation that came to nothing: no row of it was finished. */
export async function dropEvaluation(run: string, name: string): Promise<void> {
  const rows = evaluationFile(run, name, '.jsonl')
  const size = (await stat(rows).catch(() => undefined))?.size ?? 0
  if (size > 0 || (await readKept(evaluationFile(run, name, '.json')))?.outcome !== undefined) return
  for (const extension of ['.json', '.jsonl'] as const) await removeFile(evaluationFile(run, name, extension))
}

/** Keeps what an evaluation came to. */
export const keepOutcome = (run: string, kept: KeptEvaluation): Promise<void> =>
  replaceText(evaluationFile(run, kept.name, '.json'), json(kept))

/** Every evaluation in a run's folder that says what it is of, by name; what cannot be read is left out. */
export async function keptEvaluations(run: string): Promise<KeptEvaluation[]> {
  const names = await readdir(evaluationsFolder(run)).catch(() => [])
  const found = await Promise.all(
    names
      .filter(name => name.endsWith('.json'))
      .sort()
      .map(name => readKept(join(evaluationsFolder(run), name))),
  )
  return found.filter(one => one !== undefined)
}

/** The rows of all evaluations of a run whose answers were generated: what stands in one need not be written again for another. */
export async function generatedRows(run: string): Promise<RowResult[]> {
  const names = (await readdir(evaluationsFolder(run)).catch(() => [])).filter(name => name.endsWith('.jsonl')).sort()
  const files = await Promise.all(names.map(name => readRowResults(join(evaluationsFolder(run), name)).catch(() => [])))
  return files.flat().filter(({ textKey, text }) => textKey !== undefined && text !== undefined)
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`

async function readKept(path: string): Promise<KeptEvaluation | undefined> {
  try {
    const value = JSON.parse(await readFile(path, 'utf8')) as Partial<KeptEvaluation> | null
    const isKept = typeof value?.name === 'string' && typeof value.key === 'string' && typeof value.data === 'string'
    return isKept ? ({ settings: {}, ...value } as KeptEvaluation) : undefined
  } catch {
    return undefined
  }
}
