import type { DataRecord } from '../data/readers/records.js'
import { GradpromptError } from '../errors.js'
import { extractAnswer } from './answers/extraction.js'
import { isPassFigure, passFigures } from './code/pass-at-k.js'
import { bootstrap, type MetricValue, wilsonInterval } from './intervals.js'
import { hashOf, type RowResult } from './row-results.js'
import { applyScorer, type Scorer } from './scorer.js'
import { cutAtStop, type Filter, type GenerationTask } from './tasks/task.js'

export interface GeneratedRow {
  readonly record: DataRecord
  /** The row's place in the data, counted from 0. */
  readonly index: number
  /** What was generated for it. */
  readonly text: string
  readonly finishReason?: 'stop' | 'length'
}

/**
 * Reads the answer out of a generated text and scores it. An answer that no rule finds, and a scorer that throws, count 0 and say so.
 * @param scorer instead of the task's own score; it is given all of the text, up to a stop string
 */
export async function scoreGeneration(
  task: GenerationTask,
  { record, index, text, finishReason }: GeneratedRow,
  scorer?: Scorer,
): Promise<RowResult> {
  const answer = task.reference(record)
  const question = task.question(record)
  const generated = cutAtStop(text, task.stop)
  const [main, ...others] = task.filters.map(filter => read(filter, generated, answer, question))
  const { extraction, value } = main!
  const custom = scorer && (await applyScorer(scorer, record, index, generated))
  const scores = {
    ...Object.fromEntries(task.filters.length > 1 ? [main!, ...others].map(({ name, value }) => [name, Number(value)]) : []),
    ...custom?.scores,
  }
  const correct = custom === undefined ? (typeof value === 'boolean' ? value : undefined) : custom.correct
  return {
    index,
    input: question,
    text: generated,
    ...(finishReason && { finishReason }),
    ...(extraction && { extracted: extraction.value, rule: extraction.rule, span: [extraction.start, extraction.end] as const }),
    answer,
    score: custom?.score ?? Number(value),
    ...(scorer && { scorer: scorer.name }),
    ...(correct !== undefined && { correct }),
    ...(Object.keys(scores).length > 0 && { scores }),
    ...(custom?.error !== undefined && { error: custom.error }),
    row: hashOf(record),
  }
}

/**
 * A row whose texts all count: its score is their mean, and where they are right or wrong `pass@1`, `pass@2`, … stand beside it. What was
 * found is shown of the first.
 * @param ks of `pass@k`, where rows have different numbers of texts; by default the usual ones up to the number of this row's
 */
export async function scoreSamples(
  task: GenerationTask,
  { texts, ...row }: Omit<GeneratedRow, 'text'> & { readonly texts: readonly string[] },
  scorer?: Scorer,
  ks?: readonly number[],
): Promise<RowResult> {
  const results: RowResult[] = []
  for (const text of texts) results.push(await scoreGeneration(task, { ...row, text }, scorer))
  const { correct: _, scores: __, error: ___, ...first } = results[0]!
  const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / texts.length
  const names = new Set(results.flatMap(({ scores }) => Object.keys(scores ?? {})))
  const means = [...names].map((name): [string, number] => [name, average(results.map(({ scores }) => scores?.[name] ?? 0))])
  const isBinary = results.every(({ correct, error }) => correct !== undefined || error !== undefined)
  const right = results.filter(({ correct }) => correct === true).length
  const all = isBinary ? passFigures(texts.length, right, ks) : { best: Math.max(...results.map(({ score }) => score)) }
  const error = results.find(({ error }) => error !== undefined)?.error
  const score = average(results.map(({ score }) => score))
  return { ...first, texts, score, scores: { ...Object.fromEntries(means), ...all }, ...(error !== undefined && { error }) }
}

function read({ name, rules, score }: Filter, text: string, answer: string, question: string) {
  const extraction = extractAnswer(text, rules, question)
  // Where the other rows' scores are truth values, so is this one's.
  const value = extraction === undefined ? zeroOf(score(answer, answer, question)) : score(extraction.value, answer, question)
  return { name, extraction, value }
}

const zeroOf = (value: number | boolean): number | boolean => (typeof value === 'boolean' ? false : 0)

/** Scores rows one after the other, in the order given: a scorer of the user's own need not bear more. */
export async function scoreGenerations(
  task: GenerationTask,
  rows: readonly GeneratedRow[],
  scorer?: Scorer,
): Promise<RowResult[]> {
  const results: RowResult[] = []
  for (const row of rows) results.push(await scoreGeneration(task, row, scorer))
  return results
}

export interface GenerationMetrics {
  /** `accuracy` where every row is right or wrong, else `score`; the further scores by name, each over the rows that have it; `extracted`, the share of rows with an answer. */
  readonly metrics: Readonly<Record<string, MetricValue>>
  readonly rows: number
  /** Rows in whose text no rule found an answer: they count 0. */
  readonly unextracted: readonly number[]
  /** Rows whose text the budget of tokens ended. */
  readonly cut: readonly number[]
  /** How many answers each rule found. */
  readonly rules: Readonly<Record<string, number>>
  /** Rows that could not be scored: they count 0. */
  readonly errors: readonly { readonly index: number; readonly message: string }[]
}

/**
 * The figures of scored rows, each with its 95 % interval: Wilson's for shares, the bootstrap's (1,000 resamples of the rows) for means.
 * @throws GradpromptError `no-rows`
 */
export function generationMetrics(results: readonly RowResult[], { seed }: { seed: number }): GenerationMetrics {
  if (results.length === 0) throw new GradpromptError('no-rows', 'there are no rows to evaluate')
  const sure = results.filter(({ error }) => error === undefined)
  const isAccuracy = sure.length > 0 && sure.every(({ correct }) => correct !== undefined)
  // None of them takes the place of a figure of ours.
  const names = new Set(results.flatMap(({ scores }) => Object.keys(scores ?? {}).filter(name => !ownFigures.has(name))))
  const found = results.filter(({ rule }) => rule !== undefined)
  const figures: [string, number[]][] = [
    isAccuracy
      ? ['accuracy', results.map(({ correct }) => Number(correct ?? false))]
      : ['score', results.map(({ score }) => score)],
    ...[...names].map((name): [string, number[]] => [name, results.flatMap(result => figureOf(result, name))]),
    ['extracted', results.map(({ rule }) => Number(rule !== undefined))],
  ]
  const rules: Record<string, number> = {}
  for (const { rule } of found) rules[rule!] = (rules[rule!] ?? 0) + 1
  return {
    metrics: Object.fromEntries(figures.map(([name, values]) => [name, meanWithInterval(values, seed)])),
    rows: results.length,
    unextracted: results.filter(({ rule }) => rule === undefined).map(({ index }) => index),
    cut: results.filter(({ finishReason }) => finishReason === 'length').map(({ index }) => index),
    rules,
    errors: results.flatMap(({ index, error }) => (error === undefined ? [] : [{ index, message: error }])),
  }
}

/** A further score of a row, if it has it: one that could not be scored counts 0, and one with too few answers says nothing of `pass@k`. */
function figureOf({ scores, error }: RowResult, name: string): number[] {
  const value = scores?.[name]
  if (value !== undefined) return [value]
  return error === undefined || isPassFigure(name) ? [] : [0]
}

const ownFigures: ReadonlySet<string> = new Set(['accuracy', 'score', 'extracted'])

function meanWithInterval(values: readonly number[], seed: number): MetricValue {
  const sum = values.reduce((total, value) => total + value, 0)
  if (values.every(value => value === 0 || value === 1))
    return { value: sum / values.length, ...wilsonInterval(sum, values.length) }
  const mean = (rows: Int32Array) => rows.reduce((total, row) => total + values[row]!, 0) / rows.length
  return bootstrap(values.length, { mean }, { seed }).mean
}
