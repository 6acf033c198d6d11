import type { DataRecord } from '../../data/readers/records.js'
import { compareConditions } from '../../evaluate/comparison.js'
import { likelihoodResults } from '../../evaluate/likelihood-results.js'
import { writePredictions } from '../../evaluate/predictions.js'
import type { RowResult } from '../../evaluate/row-results.js'
import { type Evaluation, type Metrics, summary } from '../../evaluate/score.js'
import { verdictOf } from '../../evaluate/verdict.js'
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
 * @param chosen a prompt that the method has chosen, which is first whatever it scores
 */
export async function rankPrompts(
  { space, rows, task }: SearchJob,
  { top, dev: known, initial }: SearchProgress,
  judge: Objective,
  evaluate: ((ids: readonly number[]) => Promise<Evaluation>) | undefined,
  chosen?: readonly number[],
): Promise<{ first: RankedOnDev; ranking: readonly RankedOnDev[] }> {
  const start = { ids: space.start, objective: initial }
  const isOther = (ids: readonly number[]) => keyOf(ids) !== keyOf(space.start)
  const found =
    chosen === undefined
      ? top.filter(({ ids }) => isOther(ids) && isFaithful(space, task, ids))
      : [{ ids: chosen }].filter(({ ids }) => isOther(ids))
  const candidates = [start, ...found].map(({ ids }) => ids)
  const losses = await judge.score(candidates, rows)
  const judged: RankedOnDev[] = []
  for (const [i, ids] of candidates.entries()) {
    const dev = known[keyOf(ids)] ?? (await evaluate?.(ids))
    judged.push({ prompt: space.text(ids), ids, objective: losses[i]!.loss, metrics: dev?.metrics ?? {}, dev })
  }
  return { first: judged[0]!, ranking: chosen === undefined ? [...judged].sort(byQuality) : judged.toReversed() }
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

/** Scores rows under a prompt. */
type Scorer = (records: readonly DataRecord[], ids: readonly number[]) => Promise<JudgedRows>

/** What the first prompt and the chosen one made of the same rows. */
interface BothPrompts {
  readonly own: JudgedRows
  readonly initial: JudgedRows
  readonly found: readonly RowResult[]
  readonly begun: readonly RowResult[]
}

/** Scores both prompts on a part, and keeps what became of each row in the run's folder. */
async function scoreBoth(
  job: SearchJob,
  part: 'dev' | 'test',
  chosen: readonly number[],
  folder: string,
  scored: Scorer,
): Promise<BothPrompts> {
  const { config, task, space } = job
  const records = task[part]
  const own = await scored(records, chosen)
  const initial = await scored(records, space.start)
  const { template, answer } = taskConfig(config, '')
  const resultsOf = (judged: JudgedRows, ids: readonly number[]): RowResult[] => {
    const { right } = judged
    const rows = records.map((record, i) => space.scoring(record, i, ids))
    const labels = right === undefined ? task.labels : undefined
    const results = likelihoodResults(judged, { records, rows, labels, template, answer })
    return results.map((row, i) => (right === undefined ? row : { ...row, score: Number(right[i]), correct: right[i]! }))
  }
  const [found, begun] = [resultsOf(own, chosen), resultsOf(initial, space.start)]
  await writePredictions(folder, part, 'tuned', found)
  await writePredictions(folder, part, 'initial', begun)
  return { own, initial, found, begun }
}

/**
 * What a search came to: both prompts on the test rows, touched once, and in words which is better. Without test rows dev says it; what
 * was scored there before is not scored again.
 * @param onDev the rows of dev evaluations of this sitting, by the prompt's ids
 */
export async function judgeChosen(
  job: SearchJob,
  chosen: readonly number[],
  folder: string,
  scored: Scorer,
  onDev: ReadonlyMap<string, JudgedRows>,
): Promise<Pick<SearchResult, 'test' | 'verdict'>> {
  const { config, task, space } = job
  const part = task.test.length > 0 ? 'test' : 'dev'
  if (task[part].length === 0) return {}
  const known: Scorer = async (records, ids) => (part === 'dev' ? onDev.get(keyOf(ids)) : undefined) ?? scored(records, ids)
  const { own, initial, found, begun } = await scoreBoth(job, part, chosen, folder, known)
  const verdict = verdictOf(
    { name: 'the found prompt', rows: found },
    { name: 'the first prompt', rows: begun },
    {
      seed: config.seed,
      rowsOf: part,
      caveat:
        keyOf(chosen) === keyOf(space.start)
          ? 'the search found nothing that dev prefers to its first prompt, and kept that'
          : part === 'dev'
            ? 'dev also chose the prompt, which is kind to it: data.test or data.split.test is not'
            : undefined,
    },
  )
  const said = verdict && { verdict }
  if (part === 'dev') return { ...said }
  const { comparisons } = compareConditions(
    [
      { name: 'initial prompt', seeds: [begun] },
      { name: 'found prompt', seeds: [found] },
    ],
    { seed: config.seed },
  )
  return { ...said, test: { ...summary(own), initial: summary(initial), ...(comparisons[0] && { comparison: comparisons[0] }) } }
}
