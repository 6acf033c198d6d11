import { cutNotices, labelNotices, textNotices } from '../../data/checks.js'
import type { DataRecord } from '../../data/readers/records.js'
import { RowBuilder } from '../../data/rows/rows.js'
import { limitRecords } from '../../data/split.js'
import { sideOf } from '../../data/task.js'
import { type AnswerEnd, answerEndNotices } from '../../data/texts/answer-end.js'
import { decideLabels, type LabelSet } from '../../data/texts/labels.js'
import type { Preferences } from '../../data/texts/preferences.js'
import { fillPrompt } from '../../data/texts/prompt-place.js'
import { prependInstruction, type Template } from '../../data/texts/template.js'
import { refuseAborted } from '../../errors.js'
import { likelihoodResults } from '../../evaluate/likelihood-results.js'
import { hashOf, type RowResult } from '../../evaluate/row-results.js'
import { contentFreeRow, type ScoredRows, scoreRows, summary } from '../../evaluate/score.js'
import { productsOf } from '../../generate/programs.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import { promptWordWeights } from '../../sources/prompt.js'
import { openRun } from '../../store/run-folder.js'
import type { RunResult } from '../../train/events.js'
import type { EvaluateOptions } from './evaluate.js'
import { warnOfOverlap } from './overlap.js'
import { keepsOthers, type Place } from './place.js'
import { endOf, missing, recordsOf, type Scored, type Subject } from './subject.js'

/** Answers judged by the likelihood of their whole text, beside a control on the same rows. */
export async function byLikelihood(
  model: LanguageModel,
  subject: Subject,
  options: EvaluateOptions,
  place: Place,
): Promise<Scored> {
  const { source, config, instruction } = subject
  const rows = await rowsOf(model, subject, options, place)
  const { template, labels, records } = rows
  const prompt = await source.active(model)
  const isVectors = source.kind === 'vectors'
  const words = isVectors ? undefined : instruction
  const main = await score(rows, { prompt, template: told(template, words), truncate: options.truncate, beside: undefined })
  const initial = source.found?.initial
  const first = initial && fillPrompt(source.found!.config.template, initial.prompt)
  // Beside a prompt the base model with a plain instruction; beside an instruction the base model without; beside a found prompt the one
  // that the search began with.
  const controlWords = isVectors ? (instruction ?? (await usualInstruction(source.folder, config))) : null
  const hasControl = options.control === true && (isVectors || instruction !== undefined || first !== undefined)
  const control = hasControl
    ? await score(rows, {
        prompt: undefined,
        template: told(first ?? template, controlWords ?? undefined),
        truncate: true,
        beside: first === undefined ? 'base model' : 'first prompt',
      })
    : undefined
  return {
    result: {
      condition: conditionOf(subject, options),
      weights: productsOf(model, 'fp32'),
      ...summary(main.scored),
      ...(labels && { predictions: predictionsOf(rows, main) }),
      results: main.results,
      ...(control && {
        control: {
          name: first !== undefined ? 'first prompt' : controlWords === null ? 'base model' : 'base model, instructed',
          metrics: control.scored.metrics,
          instruction: controlWords,
          results: control.results,
        },
      }),
      seconds: main.seconds,
      rowsPerSecond: records.length / Math.max(main.seconds, 1e-6),
    },
  }
}

/**
 * The rows of an evaluation by likelihood, with what is to be said of them said.
 * @throws GradpromptError `missing-option`, `file-exists`, and as reading data and deciding labels do
 */
export async function rowsOf(model: LanguageModel, subject: Subject, options: EvaluateOptions, place: Place): Promise<Rows> {
  const { config, seed } = subject
  const template = subject.template ?? missing('template')
  const answer = subject.answer ?? missing('answer')
  const preferences = preferencesOf(subject, options)
  const all = await recordsOf(subject, { template, answer, ...preferences }, options.onWarning)
  const isPreference = preferences.rejected !== undefined || preferences.thumbs !== undefined
  const { labels, notice } =
    subject.isFreeText || isPreference
      ? { labels: undefined }
      : decideLabels(answer, all, {
          labels: subject.labels,
          answerType: options.answerType ?? (config ? config.answerType : 'auto'),
          aggregate: subject.aggregate,
        })
  if (options.onWarning !== undefined) {
    const parts = { 'the data': all }
    const notices = [...(notice ? [notice] : []), ...textNotices(template, parts), ...labelNotices(answer, labels, parts)]
    for (const one of notices) options.onWarning(one)
    await warnOfOverlap(subject, all, { template, answer }, options.onWarning)
  }
  const places = new Map(all.map((record, i) => [record, i]))
  const records = limitRecords(all, options.limit, seed)
  refuseAborted(options.signal)
  await keepsOthers(place, all, records)
  return { model, template, answer, labels, records, places, subject, options }
}

/** What is scored, in a word. */
const conditionOf = (
  { source, instruction }: Pick<Subject, 'source' | 'instruction'>,
  { ensemble }: Pick<EvaluateOptions, 'ensemble'>,
): string =>
  source.kind === 'found'
    ? 'found prompt'
    : source.kind === 'vectors'
      ? ensemble === undefined
        ? 'tuned'
        : `ensemble of ${ensemble}`
      : instruction === undefined
        ? 'base model'
        : 'base model, instructed'

export interface Rows {
  readonly model: LanguageModel
  readonly template: Template
  readonly answer: string
  readonly labels: LabelSet | undefined
  readonly records: readonly DataRecord[]
  /** Place of each record in the data. */
  readonly places: ReadonlyMap<DataRecord, number>
  readonly subject: Subject
  readonly options: EvaluateOptions
}

interface ScoredCondition {
  readonly scored: ScoredRows
  readonly results: readonly RowResult[]
  readonly targets: readonly { readonly index: number; readonly target: number }[]
  readonly seconds: number
}

/** Makes the rows that are scored under a prompt. */
export function rowBuilderOf(
  { tokenizer, config }: LanguageModel,
  prompt: ActivePrompt | undefined,
  {
    truncate = false,
    ...task
  }: {
    readonly template: Template
    readonly answer: string
    readonly labels: LabelSet | undefined
    /** What ends an answer. */
    readonly end: AnswerEnd | undefined
    readonly truncate?: boolean | undefined
  } & ReturnType<typeof sideOf>,
): RowBuilder {
  return new RowBuilder(tokenizer, {
    ...task,
    contextLength: config.maxPositionEmbeddings,
    numVirtualTokens: prompt?.method.placement(prompt.config, config).numVirtualTokens ?? 0,
    truncate,
    tasks: prompt?.method.tasks?.(prompt.config),
    soft: softVocabulary(prompt?.config, config),
  })
}

async function score(
  of: Rows,
  condition: Told & {
    /** Of the control, what it is. */
    readonly beside: string | undefined
  },
): Promise<ScoredCondition> {
  const { model, answer, labels, records, places, subject, options } = of
  const { source, seed, batchSize } = subject
  const { prompt, template, beside } = condition
  const builder = builderFor(of, condition)
  const rows = records.map(record => builder.scoring(record, places.get(record)!))
  const started = performance.now()
  const scored = await scoreRows(model, prompt, rows, labels, {
    batchSize,
    signal: options.signal,
    onProgress: (done, total) => options.onProgress?.(done, total, beside === undefined ? 'rows' : `rows, ${beside}`),
    seed,
    weights: prompt && source.file && labels && promptWordWeights(source.file, labels),
    contentFree: contentFreeRow(calibrationOf(options, subject), builder, labels),
    perByte: options.choose === 'length',
  })
  const seconds = (performance.now() - started) / 1000
  const results = likelihoodResults(scored, { records, rows, labels, template, answer, tokenizer: model.tokenizer })
  return { scored, results, targets: rows, seconds }
}

/** What stands before each row. */
interface Told {
  readonly prompt: ActivePrompt | undefined
  readonly template: Template
  readonly truncate: boolean | undefined
}

/**
 * Makes the rows of a condition, each of which has been looked at; what is to be said of them is said.
 * @param beside what it is, where it is not what is evaluated
 * @throws GradpromptError as making the row does
 */
export function builderFor(
  { model, answer, labels, records, places, subject, options }: Rows,
  { prompt, template, truncate, beside }: Told & { readonly beside: string | undefined },
): RowBuilder {
  const end = endOf(subject, subject.template!, model.tokenizer)
  const side = sideOf({ answer, ...preferencesOf(subject, options) })
  const texts = { template, answer, labels, end, ...side }
  const builder = rowBuilderOf(model, prompt, { ...texts, truncate: truncate ?? subject.config?.train?.truncate })
  if (beside === undefined && options.onWarning !== undefined) {
    const answerEnd = typeof subject.answerEnd === 'string' ? subject.answerEnd : 'none'
    for (const warning of answerEndNotices({ answerEnd }, end, builder.overlap)) options.onWarning(warning)
  }
  const cut = records.filter(record => builder.check(record, places.get(record)!)).length
  for (const notice of cutNotices(cut, beside && ` (${beside})`)) options.onWarning?.(notice)
  return builder
}

export const predictionsOf = (
  { labels, records }: Pick<Rows, 'labels' | 'records'>,
  { scored, targets }: Pick<ScoredCondition, 'targets'> & { readonly scored: Pick<ScoredRows, 'predictions' | 'logLikelihoods'> },
) =>
  targets.map(({ index, target }, i) => ({
    index,
    label: labels!.candidates[target]!,
    predicted: labels!.candidates[scored.predictions[i]!]!,
    logLikelihoods: scored.logLikelihoods[i]!,
    row: hashOf(records[i]!),
  }))

/** What the run has learned from, unless the call says otherwise what the answer is. */
const preferencesOf = ({ config }: Subject, { answer, labels }: EvaluateOptions): Preferences =>
  answer === undefined && labels === undefined ? { rejected: config?.rejected, thumbs: config?.thumbs } : {}

const told = (template: Template, instruction: string | undefined) =>
  instruction === undefined ? template : prependInstruction(template, instruction)

/** The unconditional likelihood is that after an empty text. */
export const calibrationOf = ({ choose, calibrate }: Pick<EvaluateOptions, 'choose' | 'calibrate'>, { config }: Subject) =>
  choose === undefined ? (calibrate ?? config?.evaluate.calibrate) : choose === 'unconditional' ? '' : false

/** The instruction that a run's own control had. */
async function usualInstruction(run: string | undefined, config: Subject['config']): Promise<string | null> {
  if (run !== undefined) {
    const result = (await (await openRun(run)).readResult()) as RunResult | undefined
    if (result !== undefined) return result.control.instruction
  }
  return config?.control?.instruction ?? null
}
