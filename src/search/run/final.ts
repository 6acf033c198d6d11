import type { DataRecord } from '../../data/readers/records.js'
import { compareConditions } from '../../evaluate/comparison.js'
import { likelihoodResults } from '../../evaluate/likelihood-results.js'
import { writePredictions } from '../../evaluate/predictions.js'
import type { RowResult } from '../../evaluate/row-results.js'
import { type Evaluation, type Metrics, summary } from '../../evaluate/score.js'
import { taskConfig } from '../config.js'
import type { Objective } from '../score/objective.js'
import { keyOf, type TokenSpace } from '../space/token-space.js'
import type { JudgedPrompt, SearchResult } from './events.js'
import type { SearchJob } from './job.js'
import type { JudgedRows } from './judge.js'
import type { SearchProgress } from './loop.js'
import type { SearchTask } from './task.js'

/** What becomes of a search's prompts at its end. */

/** A prompt of the ranking, with the whole evaluation that its metrics are of. */
export type RankedOnDev = JudgedPrompt & { readonly dev: Evaluation | undefined }

/**
 * The first prompt and the best that a search has found, best first. What was scored on batches, or reads back in the probed rows alone,
 * is judged on all questions; what was evaluated on dev before is not evaluated again.
 */
export async function rankPrompts(
  { space, rows, task }: SearchJob,
  { top, dev: known, initial }: SearchProgress,
  judge: Objective,
  evaluate: ((ids: readonly number[]) => Promise<Evaluation>) | undefined,
): Promise<{ first: RankedOnDev; ranking: readonly RankedOnDev[] }> {
  const start = { ids: space.start, objective: initial }
  const found = top.filter(({ ids }) => keyOf(ids) !== keyOf(space.start) && isFaithful(space, task, ids))
  const candidates = [start, ...found].map(({ ids }) => ids)
  const losses = await judge.score(candidates, rows)
  const judged: RankedOnDev[] = []
  for (const [i, ids] of candidates.entries()) {
    const dev = known[keyOf(ids)] ?? (await evaluate?.(ids))
    judged.push({ prompt: space.text(ids), ids, objective: losses[i]!.loss, metrics: dev?.metrics ?? {}, dev })
  }
  return { first: judged[0]!, ranking: [...judged].sort(byQuality) }
}

/** Whether a prompt's text gives its ids back in every row of the search. */
function isFaithful(space: TokenSpace, task: SearchTask, ids: readonly number[]): boolean {
  return [task.questions, task.dev].every(records => records.every((record, i) => space.isFaithful(ids, record, i)))
}

/** By dev accuracy, then dev likelihood, then the loss over the questions; of equals the earlier, so the first prompt before any. */
function byQuality(a: JudgedPrompt, b: JudgedPrompt): number {
  const value = ({ metrics }: { readonly metrics: Metrics }, name: string) => metrics[name]?.value ?? 0
  return (
    value(b, 'accuracy') - value(a, 'accuracy') ||
    value(b, 'logLikelihood') - value(a, 'logLikelihood') ||
    a.objective - b.objective
  )
}

/** The test rows, touched once: the chosen prompt and the first, on the same rows. */
export async function judgeOnTest(
  { config, task, space }: SearchJob,
  chosen: readonly number[],
  folder: string,
  scored: (records: readonly DataRecord[], ids: readonly number[]) => Promise<JudgedRows>,
): Promise<SearchResult['test']> {
  const own = await scored(task.test, chosen)
  const initial = await scored(task.test, space.start)
  const { template, answer } = taskConfig(config, '')
  const resultsOf = (judged: JudgedRows, ids: readonly number[]): RowResult[] => {
    const { right } = judged
    const rows = task.test.map((record, i) => space.scoring(record, i, ids))
    const labels = right === undefined ? task.labels : undefined
    const results = likelihoodResults(judged, { records: task.test, rows, labels, template, answer })
    return results.map((row, i) => (right === undefined ? row : { ...row, score: Number(right[i]), correct: right[i]! }))
  }
  const found = resultsOf(own, chosen)
  const begun = resultsOf(initial, space.start)
  await writePredictions(folder, 'test', 'tuned', found)
  await writePredictions(folder, 'test', 'initial', begun)
  const { comparisons } = compareConditions(
    [
      { name: 'initial prompt', seeds: [begun] },
      { name: 'found prompt', seeds: [found] },
    ],
    { seed: config.seed },
  )
  return { ...summary(own), initial: summary(initial), ...(comparisons[0] && { comparison: comparisons[0] }) }
}
