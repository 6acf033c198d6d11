import type { DataRecord } from '../data/readers/records.js'
import type { ScoringRow } from '../data/rows/rows.js'
import type { LabelSet } from '../data/texts/labels.js'
import { compileTemplate, type Template } from '../data/texts/template.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { hashOf, type RowResult } from './row-results.js'
import type { ScoredRows } from './score.js'

export interface LikelihoodRows {
  readonly records: readonly DataRecord[]
  /** Of the records, in their order. */
  readonly rows: readonly ScoringRow[]
  readonly labels: LabelSet | undefined
  readonly template: Template
  readonly answer: string
  /** Names the tokens of a free-text answer. */
  readonly tokenizer?: Pick<Tokenizer, 'token'> | undefined
}

/**
 * What became of each row that was scored by likelihood. With a label set a row counts 1 or 0, as a pair does; without one, for the
 * log-likelihood of its own answer.
 */
export function likelihoodResults(
  { logLikelihoods, predictions, confidences, tokens, rewards }: ScoredRows,
  { records, rows, labels, template, answer, tokenizer }: LikelihoodRows,
): RowResult[] {
  const inputOf = inputs(template, labels)
  const answerTemplate = compileTemplate(answer)
  return rows.map(({ index, target, candidates, liked }, i) => {
    const record = records[i]!
    const common = { index, input: inputOf(record), row: hashOf(record) }
    const own = logLikelihoods[i]!
    const worth = rewards?.[i]
    if (labels === undefined && candidates.length === 2) {
      const correct = predictions[i] === 0
      const [chosen, rejected] = candidates.map(({ label }) => label.trim())
      return {
        ...common,
        extracted: correct ? chosen! : rejected!,
        rule: 'likelier answer',
        answer: chosen!,
        score: Number(correct),
        correct,
        logProbability: own[0]!,
        scores: { rejectedLogProbability: own[1]!, ...(worth && { chosenReward: worth[0]!, rejectedReward: worth[1]! }) },
      }
    }
    if (labels === undefined && liked !== undefined) {
      const [reward] = worth ?? []
      const correct = reward === undefined ? undefined : liked ? reward > 0 : reward < 0
      return {
        ...common,
        answer: candidates[0]!.label.trim(),
        score: correct === undefined ? own[0]! : Number(correct),
        ...(correct !== undefined && { correct }),
        logProbability: own[0]!,
        scores: { liked: Number(liked), ...(reward !== undefined && { reward }) },
      }
    }
    if (labels === undefined) {
      const named =
        tokens && tokenizer && candidates[0]!.ids.map((id, j) => ({ token: tokenizer.token(id), logProbability: tokens[i]![j]! }))
      const said = answerTemplate.render(record, index).trim()
      return { ...common, answer: said, score: own[0]!, logProbability: own[0]!, ...(named && { tokens: named }) }
    }
    const predicted = predictions[i]!
    return {
      ...common,
      extracted: labels.candidates[predicted]!,
      rule: 'likeliest answer',
      answer: labels.candidates[target] ?? '',
      score: Number(predicted === target),
      correct: predicted === target,
      logProbability: own[predicted]!,
      ...(confidences && { confidence: confidences[i]! }),
    }
  })
}

/** The values that a template takes from a record, without the label's. */
export function inputs(template: Template, labels?: Pick<LabelSet, 'column'>): (record: DataRecord) => string {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  const columns = [...new Set(texts.flatMap(text => compileTemplate(text).columns))].filter(name => name !== labels?.column)
  return record => columns.flatMap(name => record[name] ?? []).join('\n')
}
