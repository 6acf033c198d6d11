import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isFile } from '../files.js'
import { replaceText } from '../store/atomic.js'
import { type RowResult, readRowResults } from './row-results.js'

/** The rows that a run scores itself. */
export type ScoredPart = 'dev' | 'test'

/**
 * With what they were scored: what was learned, the base model with an instruction and without, the prompt that a search begins with.
 */
export type ScoredWith = 'tuned' | 'control' | 'plain' | 'initial'

/** `predictions/test-tuned.jsonl`: a file as `gradprompt compare` reads it. */
export const predictionsPath = (folder: string, part: ScoredPart, scoredWith: ScoredWith): string =>
  join(folder, 'predictions', `${part}-${scoredWith}.jsonl`)

/** Keeps what became of each row in the folder of a run. */
export async function writePredictions(
  folder: string,
  part: ScoredPart,
  scoredWith: ScoredWith,
  rows: readonly RowResult[],
): Promise<void> {
  await mkdir(join(folder, 'predictions'), { recursive: true })
  await replaceText(predictionsPath(folder, part, scoredWith), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
}

/** Undefined where the run has none. @throws GradpromptError `invalid-results`, `data-too-large` */
export async function readPredictions(
  folder: string,
  part: ScoredPart,
  scoredWith: ScoredWith,
): Promise<RowResult[] | undefined> {
  const path = predictionsPath(folder, part, scoredWith)
  return (await isFile(path)) ? readRowResults(path) : undefined
}
