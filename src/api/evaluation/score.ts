import { basename } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { defaultSeed, type OptionNames, refuseUnknown } from '../../config/call-options.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import { type Rows, takeRows } from '../../data/memory-rows.js'
import { type DataFile, readRecords } from '../../data/read.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { columnValue, type DataRecord, originOf } from '../../data/readers/records.js'
import type { LabelWords } from '../../data/texts/labels.js'
import { GradpromptError, untilAborted } from '../../errors.js'
import { recordsOf } from '../../evaluate/by-generation.js'
import { ownPart } from '../../evaluate/code/own-part.js'
import { usualKs } from '../../evaluate/code/pass-at-k.js'
import { type GenerationMetrics, generationMetrics, scoreGeneration, scoreSamples } from '../../evaluate/generations.js'
import { type RowResult, writeRowResults } from '../../evaluate/row-results.js'
import { type RunCodeOptions, runCodeNames } from '../../evaluate/sandbox/running.js'
import { loadScorer, type OwnScorer } from '../../evaluate/scorer.js'
import { loadTask, type OwnTask } from '../../evaluate/tasks/index.js'
import { labelsIn, plainTask } from '../../evaluate/tasks/plain-task.js'
import { lineEndings, requireEnding } from '../../files.js'
import { askedScorer, refuseUnreadRunning } from './asked-scorer.js'

/** Scoring answers that were made elsewhere: the library's `scorePredictions`, which the command line calls. No model is opened. */

export interface ScorePredictionsOptions extends RunCodeOptions {
  /** A data file with an answer a row: a column `prediction`, `completion` or `text`, and `task_id`, `id` or `index` beside it. */
  readonly predictions: string
  /** The rows that were answered: a file, or rows in memory. */
  readonly data: string | Rows
  /** As `evaluate` reads and scores answers: a benchmark, or `answer` with what is right. */
  readonly task?: string | OwnTask | undefined
  /** What is right, with {column} placeholders; by default `{answer}`. */
  readonly answer?: string | undefined
  readonly labels?: LabelWords | undefined
  readonly columns?: ColumnsGiven | undefined
  /** By default the task's own. */
  readonly scorer?: string | OwnScorer | undefined
  /** Of the bootstrap; by default 13. */
  readonly seed?: number | undefined
  /** A file for each row's result, as `compareRuns` takes it; of a call that is aborted for the rows that were scored. */
  readonly rows?: string | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  /** Hears of rows that are scored. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ScoredPredictions extends GenerationMetrics {
  readonly task: string
  readonly results: readonly RowResult[]
}

const names = {
  ...runCodeNames,
  predictions: true,
  data: true,
  task: true,
  answer: true,
  labels: true,
  columns: true,
  scorer: true,
  seed: true,
  rows: true,
  onWarning: true,
  onProgress: true,
  signal: true,
} satisfies OptionNames<ScorePredictionsOptions>

/**
 * Scores answers that were made elsewhere, by a fine-tuned model for example, as `evaluate` scores its own, so that `compareRuns` lays them
 * beside one another. Several answers to a row all count, as those of the strategy `samples` do.
 *
 * ```ts
 * await scorePredictions({ predictions: 'finetuned.jsonl', data: 'test.jsonl', scorer: 'bleu', rows: 'finetuned-rows.jsonl' })
 * await compareRuns(['prompted-rows.jsonl', 'finetuned-rows.jsonl'])
 * ```
 *
 * @throws GradpromptError `unknown-option`, `invalid-option`, `unknown-task`, `unknown-scorer`, `missing-column`, `missing-prediction` (a row has none), `null-value` and
 *   `invalid-data` (a line's answer is null, or a list),
 *   `unknown-row` (there is no such row), `aborted`, and as reading data and the scorer do
 */
export async function scorePredictions(options: ScorePredictionsOptions): Promise<ScoredPredictions> {
  refuseUnknown('scorePredictions', options, names)
  const { predictions, onWarning, onProgress, signal, seed = defaultSeed } = options
  if (options.rows !== undefined) requireEnding(options.rows, lineEndings, 'rows are written as JSON lines')
  const data = typeof options.data === 'string' ? options.data : await takeRows(options.data, 'data')
  const adapter = options.task === undefined ? undefined : await loadTask(options.task)
  for (const name of ['answer', 'labels'] as const)
    if (adapter !== undefined && options[name] !== undefined)
      throw new GradpromptError('invalid-option', `${name} has no effect beside a task, which says itself what is right`, {
        found: `${name} and task`,
        expected: 'one of the two',
      })
  const records = await recordsOf(data, options, adapter?.columns)
  const path = typeof data === 'string' ? data : data.name
  // No question is asked; a template says nothing here.
  const asked = { template: '', answer: options.answer ?? '{answer}', labels: options.labels, answerType: 'text' } as const
  const asGenerated = adapter?.task({ path, rows: records }) ?? plainTask(asked, labelsIn(asked, records, false))
  const task = { ...asGenerated, stop: [] }
  await refuseUnreadRunning(options)
  const given = await askedScorer(options)
  const texts = textsByRow(await readRecords(predictions, { onNotice: onWarning }), records, predictions).map(own =>
    own.map(text => ownPart(text, asGenerated.stop)),
  )
  const scorer = given === undefined ? undefined : await loadScorer(given, options)
  const ks = numbersOfAnswers(texts, onWarning)
  const results: RowResult[] = []
  for (const [index, record] of records.entries()) {
    // A scorer that waits for nothing leaves no moment in which a stop could be heard of.
    await setImmediate()
    const own = texts[index]!
    const row = { record, index }
    const result = await untilAborted(signal, () =>
      ks === undefined
        ? scoreGeneration(task, { ...row, text: own[0]! }, scorer)
        : scoreSamples(task, { ...row, texts: own }, scorer, ks),
    ).catch((error: unknown) => {
      if (signal?.aborted) return undefined
      throw error
    })
    // What stops this call may have stopped the program of a row as well.
    if (result === undefined || signal?.aborted) throw await stopped(results, records.length, options.rows)
    results.push(result)
    onProgress?.(index + 1, records.length)
  }
  if (options.rows !== undefined) await writeRowResults(options.rows, results)
  return { ...generationMetrics(results, { seed }), task: task.name, results }
}

/** Keeps what is scored so far. */
async function stopped(results: readonly RowResult[], total: number, rows: string | undefined): Promise<GradpromptError> {
  const kept = results.length > 0 ? rows : undefined
  if (kept !== undefined) await writeRowResults(kept, results)
  return new GradpromptError('aborted', `stopped after ${results.length} of ${total} rows`, {
    ...(kept !== undefined && { hint: `the rows that are scored stand in ${kept}; the same command scores all anew` }),
    exitCode: 1,
  })
}

/**
 * The `k` of `pass@k` where some row has several answers: those that any row has, so that each is a mean over all rows of so many answers.
 * That rows have different numbers is said.
 */
function numbersOfAnswers(
  texts: readonly (readonly string[])[],
  onWarning?: (warning: DataNotice) => void,
): readonly number[] | undefined {
  const rows = new Map<number, number>()
  for (const { length } of texts) rows.set(length, (rows.get(length) ?? 0) + 1)
  const counts = [...rows].sort(([a], [b]) => a - b)
  if (counts.every(([answers]) => answers === 1)) return undefined
  if (counts.length > 1)
    onWarning?.({
      code: 'uneven-answers',
      message: `rows have different numbers of answers: ${counts.map(([answers, count]) => `${count} of ${texts.length} rows have ${answers}`).join(', ')}. A figure pass@k is over the rows that have k answers or more`,
    })
  return [...new Set(counts.flatMap(([answers]) => usualKs(answers)))].sort((a, b) => a - b)
}

const textColumns = ['prediction', 'completion', 'text'] as const
const idColumns = ['task_id', 'id', 'index'] as const

/** The texts of each row. A file without ids has a line for each row. */
function textsByRow(
  { records: predictions, values }: Pick<DataFile, 'records' | 'values'>,
  records: readonly DataRecord[],
  path: string,
): readonly string[][] {
  const text = textColumns.find(column => predictions.some(row => Object.hasOwn(row, column)))
  if (text === undefined)
    throw new GradpromptError('missing-column', `${basename(path)} has no answers`, {
      found: Object.keys(predictions[0] ?? {}).join(', ') || 'no rows',
      expected: `a column ${textColumns.join(', or ')}`,
    })
  const id = idColumns.find(column => predictions.some(row => Object.hasOwn(row, column)))
  const places = new Map(records.map((record, i) => [id === undefined ? String(i) : (record[id] ?? String(i)), i]))
  const texts: string[][] = records.map(() => [])
  for (const [i, row] of predictions.entries()) {
    const name = id === undefined ? String(i) : row[id]
    const place = name === undefined ? undefined : places.get(name)
    if (place === undefined)
      throw new GradpromptError('unknown-row', `${originOf(row, i)} answers no row of the data`, {
        found: id === undefined ? `line ${i + 1} of ${records.length} rows` : `${id}: ${name ?? 'nothing'}`,
        expected: id === undefined ? 'as many lines as there are rows' : `the ${id} of a row, or its place, counted from 0`,
      })
    const value = (values?.[i] as Readonly<Record<string, unknown>> | undefined)?.[text]
    if (typeof value === 'object' && value !== null)
      throw new GradpromptError('invalid-data', `${originOf(row, i)} has no text in the column "${text}"`, {
        found: Array.isArray(value) ? 'a list' : 'an object',
        expected: 'one answer, as text',
        hint: 'several answers to a row are lines of their own',
      })
    texts[place]!.push(columnValue(row, text, i))
  }
  const missing = texts.findIndex(own => own.length === 0)
  if (missing !== -1)
    throw new GradpromptError('missing-prediction', `${basename(path)} does not answer every row`, {
      found: `nothing for ${originOf(records[missing]!, missing)}`,
      expected: 'an answer to each row, which may be empty',
      hint: 'rows are compared in pairs: score the same rows of every system',
    })
  return texts
}
