import type { AnswerType } from '../data/answer-type.js'
import { learnedRows } from '../data/describe/evaluated.js'
import { decideLabels, type LabelWords, promptLabels } from '../data/labels.js'
import { readRecords, tableOf } from '../data/read.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { DataRecord } from '../data/records.js'
import { RowBuilder } from '../data/rows.js'
import { limitRecords } from '../data/split.js'
import { namedColumns, requireTaskColumns } from '../data/task-columns.js'
import type { RunTask } from '../data/task-config.js'
import type { DataTask } from '../data/task-records.js'
import { prependInstruction, type Template } from '../data/template.js'
import type { Aggregate } from '../data/verbalizer.js'
import { GradpromptError, nearest, refuseAborted } from '../errors.js'
import { likelihoodResults } from '../evaluate/likelihood-results.js'
import { hashOf, type RowResult } from '../evaluate/row-results.js'
import { type Choice, contentFreeRow, type Evaluation, type Metrics, scoreRows, summary } from '../evaluate/score.js'
import { LanguageModel } from '../model/language-model.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { taskConfig } from '../search/config.js'
import { openPrompt, type PromptGiven, type PromptSource } from '../sources/open.js'
import { promptWordWeights } from '../sources/prompt.js'
import type { FoundRun } from '../sources/run.js'
import { searchConfigOf } from './runs.js'

export interface EvaluateOptions {
  /** A model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** A data file, or rows. */
  readonly data: string | readonly Readonly<Record<string, unknown>>[]
  /** A run (of either kind), its folder, a prompt file, a PEFT adapter's folder, rows of a soft prompt, a plain instruction, or nothing. */
  readonly prompt?: PromptGiven
  /** By default the prompt's own. */
  readonly template?: Template | undefined
  /** By default the prompt's own. */
  readonly answer?: string | undefined
  /** Value in the data -> word in the answer, or several. By default the prompt's own; without a prompt the values themselves, when they are few. */
  readonly labels?: LabelWords | undefined
  /** Whether answers are classes or free text, where no prompt and no `labels` say it; by default judged by the rows, and said. */
  readonly answerType?: AnswerType | undefined
  /** How several words of a class make its score; by default as the prompt does, or their mean. */
  readonly aggregate?: Aggregate | undefined
  /** Subtract what the labels score after a text that says nothing: that text, or true for `N/A`. By default as the run did. */
  readonly calibrate?: boolean | string | undefined
  /** By which likelihood an answer of a closed set is chosen: `plain` (the default), `length` or `unconditional`. */
  readonly choose?: Choice | undefined
  /** Names of the columns of a file without a header; by default the run's own. */
  readonly columns?: readonly string[] | undefined
  /** What the file is read as, such as `gsm8k`; by default as the run read its own. */
  readonly task?: DataTask | undefined
  /** A plain instruction before the template. */
  readonly instruction?: string | undefined
  /** The figures wanted; by default all. */
  readonly metrics?: readonly string[] | undefined
  /** Score this many rows, drawn by seed. */
  readonly limit?: number | undefined
  /** Decides the rows of `limit` and the resamples of the intervals; by default the prompt's own. */
  readonly seed?: number | undefined
  /** Cut the text of a row that is longer than the context; by default as the run did. */
  readonly truncate?: boolean | undefined
  readonly batchSize?: number | undefined
  /** Use a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
  readonly onProgress?: ((rows: number, total: number) => void) | undefined
  /** Hears, before anything is computed, what was guessed about the data and what may be wrong with them. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Prediction {
  /** The row's place in the data, counted from 0. */
  readonly index: number
  readonly label: string
  readonly predicted: string
  /** Of each candidate's whole answer, in nats, in the order of `labels`. */
  readonly logLikelihoods: readonly number[]
  /** Hash of the row's values, by which results over the same rows are known. */
  readonly row: string
}

export interface EvaluateResult extends Evaluation {
  /** With a label set. */
  readonly predictions?: readonly Prediction[]
  /** What became of each row, as `gradprompt compare` reads it from a file. */
  readonly results: readonly RowResult[]
  /** Scoring alone, without loading. */
  readonly seconds: number
  readonly rowsPerSecond: number
}

const defaultSeed = 13

/**
 * Scores a prompt, a plain instruction or the bare model by the likelihood of each candidate's whole answer. Without a label set
 * the row's own answer is scored: its log-likelihood and perplexity. What a search over reasoning has found is judged as that does
 * it: the model reasons, and the answer has to follow the extractor.
 * @throws GradpromptError `model-mismatch` (the prompt was learned on another model), `missing-option`, `unknown-metric`,
 *   `not-a-prompt`, `run-not-finished`, and as reading data, loading a model and building rows do
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  const { signal } = options
  const source = await openPrompt(options.prompt, options)
  const { file, task: config, found } = source
  if (found?.config.search?.extractor !== undefined) return evaluateReasoning(options, found)
  const template = options.template ?? (file?.template as Template | undefined) ?? config?.template ?? missing('template')
  const answer = options.answer ?? file?.answer ?? config?.answer ?? missing('answer')
  const seed = options.seed ?? file?.seed ?? config?.seed ?? defaultSeed
  const all = await readData(options, config, { template, answer })
  const { labels, notice } = labelsOf(options, source, answer, all)
  if (options.onWarning !== undefined) {
    const learned = config && source.found === undefined ? await learnedRows(config, all, { template, answer }) : []
    for (const warning of [...(notice ? [notice] : []), ...learned]) options.onWarning(warning)
  }
  const records = limitRecords(all, options.limit, seed)
  const places = new Map(all.map((record, i) => [record, i]))
  refuseAborted(signal)

  const given = options.model ?? config?.model ?? missing('model')
  const model = typeof given === 'string' ? await loadFor(given, config) : given
  try {
    const prompt = await source.active(model)
    const instruction = options.instruction ?? source.text
    const builder = new RowBuilder(model.tokenizer, {
      template: instruction === undefined ? template : prependInstruction(template, instruction),
      answer,
      labels,
      contextLength: model.config.maxPositionEmbeddings,
      numVirtualTokens: prompt?.method.placement(prompt.config, model.config).numVirtualTokens ?? 0,
      truncate: options.truncate ?? config?.train?.truncate ?? false,
      tasks: prompt?.method.tasks?.(prompt.config),
      soft: softVocabulary(prompt?.config, model.config),
    })
    for (const record of records) builder.check(record, places.get(record)!)
    const rows = records.map(record => builder.scoring(record, places.get(record)!))
    const started = performance.now()
    const scored = await scoreRows(model, prompt, rows, labels, {
      ...options,
      seed,
      weights: file && labels && promptWordWeights(file, labels),
      contentFree: contentFreeRow(calibrationOf(options, config), builder, labels),
      perByte: options.choose === 'length',
    })
    const seconds = (performance.now() - started) / 1000
    return {
      ...summary(scored),
      metrics: chosen(scored.metrics, options.metrics),
      ...(labels && {
        predictions: rows.map(({ index, target }, i) => ({
          index,
          label: labels.candidates[target]!,
          predicted: labels.candidates[scored.predictions[i]!]!,
          logLikelihoods: scored.logLikelihoods[i]!,
          row: hashOf(records[i]!),
        })),
      }),
      results: likelihoodResults(scored, { records, rows, labels, template, answer, tokenizer: model.tokenizer }),
      seconds,
      rowsPerSecond: rows.length / Math.max(seconds, 1e-6),
    }
  } finally {
    if (typeof given === 'string') await model.dispose()
  }
}

async function evaluateReasoning(
  options: EvaluateOptions,
  { folder, config: stored, prompt, ids }: FoundRun,
): Promise<EvaluateResult> {
  const { evaluateReasoned, refuseUnread } = await import('../search/run/judge.js')
  refuseUnread(options)
  const config = searchConfigOf({ folder, config: stored })
  const task = taskConfig(config, prompt)
  const seed = options.seed ?? config.seed
  const records = limitRecords(await readData(options, task, task), options.limit, seed)
  const given = options.model ?? config.model
  const model = typeof given === 'string' ? await loadFor(given, task) : given
  try {
    const started = performance.now()
    const [outcome] = await evaluateReasoned({ ...config, seed }, model, records, [ids], options)
    const { judged, results } = outcome!
    const seconds = (performance.now() - started) / 1000
    return {
      ...summary(judged),
      metrics: chosen(judged.metrics, options.metrics),
      results,
      seconds,
      rowsPerSecond: judged.rows / Math.max(seconds, 1e-6),
    }
  } finally {
    if (typeof given === 'string') await model.dispose()
  }
}

/** The unconditional likelihood is that after an empty text. */
const calibrationOf = ({ choose, calibrate }: EvaluateOptions, config: RunTask | undefined) =>
  choose === undefined ? (calibrate ?? config?.evaluate.calibrate) : choose === 'unconditional' ? '' : false

async function readData(
  { data, columns, task, onWarning }: EvaluateOptions,
  config: RunTask | undefined,
  texts: { readonly template: Template; readonly answer: string },
): Promise<readonly DataRecord[]> {
  if (typeof data === 'string') {
    const file = await readRecords(data, {
      columns: columns ?? config?.data.columns,
      task: task ?? config?.data.task,
      needed: namedColumns(texts),
    })
    requireTaskColumns(texts, file, data)
    for (const notice of file.notices) onWarning?.(notice)
    return file.records
  }
  const { records } = tableOf(data, namedColumns(texts))
  return records
}

/** A prompt that was learned on free-text answers has no label set, however few the answers at hand. */
function labelsOf(
  options: EvaluateOptions,
  { file, task: config }: PromptSource,
  answer: string,
  records: readonly DataRecord[],
): ReturnType<typeof decideLabels> {
  if (options.labels === undefined && file !== undefined && file.labels === undefined) return { labels: undefined }
  return decideLabels(answer, records, {
    labels: options.labels ?? (file ? promptLabels(file) : config?.data.labels),
    answerType: options.answerType ?? (config ? config.answerType : 'auto'),
    aggregate: options.aggregate ?? file?.verbalizer?.aggregate,
  })
}

const loadFor = (name: string, config: RunTask | undefined): Promise<LanguageModel> =>
  LanguageModel.load(name, {
    ...(config && { device: config.device }),
    ...(config?.threads !== undefined && { threads: config.threads }),
    ...(config?.memory !== undefined && { memory: config.memory * 1e9 }),
  })

function chosen(metrics: Metrics, names: readonly string[] | undefined): Metrics {
  if (names === undefined) return metrics
  const known = Object.keys(metrics)
  return Object.fromEntries(
    names.map(name => {
      const metric = metrics[name]
      if (metric !== undefined) return [name, metric]
      const meant = nearest(name, known)
      throw new GradpromptError('unknown-metric', 'there is no such figure', {
        found: name,
        expected: `one of ${known.join(', ')}`,
        ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
      })
    }),
  )
}

function missing(option: 'model' | 'template' | 'answer'): never {
  throw new GradpromptError('missing-option', `evaluate needs ${option === 'answer' ? 'an answer' : `a ${option}`}`, {
    found: 'none, and no run to take it from',
    hint:
      option === 'template' ? 'for example template: "Review: {text}\\nSentiment:"' : `give ${option}, or a run as the prompt`,
  })
}
