import type { DataRecord } from '../../data/readers/records.js'
import { findLabels } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import { answerMetrics } from '../../evaluate/answer-metrics.js'
import { wilsonInterval } from '../../evaluate/intervals.js'
import { likelihoodResults } from '../../evaluate/likelihood-results.js'
import type { RowResult } from '../../evaluate/row-results.js'
import type { ScoredRows } from '../../evaluate/score.js'
import { GenerationEngine } from '../../generate/engine/engine.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { SearchConfig } from '../config.js'
import { Budget } from '../score/budget.js'
import { Reasoning } from '../score/reasoning.js'
import type { Reasoned } from '../space/row-sequence.js'
import { TokenSpace } from '../space/token-space.js'

/** Rows with their metrics; `right` where answers follow reasoning. */
export type JudgedRows = ScoredRows & { readonly right?: readonly boolean[] }

/** Questions that are answered at the same time. */
export const REASONING_BATCH = 64

/** Greedy reasoning, then the answer: right where greedy decoding behind the extractor begins with all of it. */
export async function judgeReasoned(
  reasoning: Reasoning,
  space: TokenSpace,
  records: readonly DataRecord[],
  ids: readonly number[],
  { seed, signal }: { readonly seed: number; readonly signal?: AbortSignal | undefined },
): Promise<JudgedRows & { readonly right: readonly boolean[]; readonly reasoned: readonly Reasoned[] }> {
  reasoning.beginRound()
  const rows = records.map((record, i) => space.row(record, i))
  const reasoned = await reasoning.judge(ids, rows, { budget: new Budget({}, () => 0), signal })
  const right = reasoned.map(({ isRight }) => isRight)
  const answers = reasoned.map(({ logProbabilities }) => ({
    logLikelihood: logProbabilities.reduce((sum, value) => sum + value, 0),
    tokens: logProbabilities.length,
  }))
  const count = right.filter(isRight => isRight).length
  const accuracy = { value: count / right.length, ...wilsonInterval(count, right.length) }
  return {
    metrics: { accuracy, ...answerMetrics(answers, { seed }) },
    rows: rows.length,
    logLikelihoods: answers.map(({ logLikelihood }) => [logLikelihood]),
    predictions: rows.map(() => 0),
    right,
    reasoned,
  }
}

/** What says how likelihoods are taken, or where the prompt stands. */
const UNREAD = [
  'template',
  'answer',
  'answerEnd',
  'labels',
  'aggregate',
  'calibrate',
  'choose',
  'instruction',
  'truncate',
  'force',
]

/**
 * A search over reasoning is judged as its own config says.
 * @throws GradpromptError `invalid-option` for what that would leave unread
 */
export function refuseUnread(options: object): void {
  const given = Object.entries(options).find(([name, value]) => UNREAD.includes(name) && value !== undefined && value !== false)
  if (given === undefined) return
  throw new GradpromptError('invalid-option', `${given[0]} has no effect on what a search over reasoning has found`, {
    found: JSON.stringify(given[1]),
    expected: 'rows alone: template, answer and extractor are those of the search',
    hint: 'the found words can stand in any template of yours, as they are',
  })
}

/**
 * Scores rows under prompts of a search over reasoning, as the search itself judges dev and test rows.
 * @param prompts ids
 * @returns for each prompt its metrics, and what became of each row: `text` is what the model wrote
 * @throws GradpromptError `no-rows`, `missing-column`, `row-too-long`, `aborted`, and as `TokenSpace` does
 */
export async function evaluateReasoned(
  { template, answer, search, data, seed }: SearchConfig,
  model: LanguageModel,
  records: readonly DataRecord[],
  prompts: readonly (readonly number[])[],
  {
    batchSize = REASONING_BATCH,
    onProgress,
    signal,
  }: {
    readonly batchSize?: number | undefined
    readonly onProgress?: ((done: number, total: number) => void) | undefined
    readonly signal?: AbortSignal | undefined
  } = {},
): Promise<{ judged: JudgedRows; results: RowResult[]; generatedTokens: number }[]> {
  if (records.length === 0) throw new GradpromptError('no-rows', 'there are no rows to evaluate')
  const { tokenizer } = model
  const labels = findLabels(answer, data.labels, records)
  const maxNewTokens = search.maxNewTokens!
  const contextLength = model.config.maxPositionEmbeddings
  const reasons = { extractor: search.extractor!, maxNewTokens }
  const space = new TokenSpace(
    tokenizer,
    { template, answer, labels, contextLength, prompt: search.prompt, reasoning: reasons },
    records[0]!,
  )
  const engine = await GenerationEngine.open(model, { weights: search.weights!, batchSize })
  try {
    const reasoning = new Reasoning(engine, tokenizer, { maxNewTokens, batchSize, onProgress })
    const outcomes: { judged: JudgedRows; results: RowResult[]; generatedTokens: number }[] = []
    for (const ids of prompts) {
      const judged = await judgeReasoned(reasoning, space, records, ids, { seed, signal })
      const rows = records.map((record, i) => space.scoring(record, i, ids))
      const likelihoods = likelihoodResults(judged, { records, rows, labels: undefined, template, answer })
      const results = likelihoods.map((row, i) => ({
        ...row,
        text: tokenizer.decode(judged.reasoned[i]!.reasoning),
        rule: 'greedy answer behind the extractor',
        score: Number(judged.right[i]),
        correct: judged.right[i]!,
      }))
      const generatedTokens = judged.reasoned.reduce((sum, { reasoning }) => sum + reasoning.length, 0)
      outcomes.push({ judged, results, generatedTokens })
    }
    return outcomes
  } finally {
    await engine.dispose()
  }
}
