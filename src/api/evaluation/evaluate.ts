import { type OptionNames, refuseUnknown } from '../../config/call-options.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { Rows } from '../../data/memory-rows.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { AnswerType } from '../../data/texts/answer-type.js'
import type { LabelWords } from '../../data/texts/labels.js'
import type { Template } from '../../data/texts/template.js'
import type { Aggregate } from '../../data/texts/verbalizer.js'
import { unknownName } from '../../errors.js'
import type { GenerationEvaluationResult } from '../../evaluate/by-generation.js'
import type { RowResult } from '../../evaluate/row-results.js'
import { type RunCodeOptions, runCodeNames } from '../../evaluate/sandbox/running.js'
import type { Choice, Evaluation, Metrics } from '../../evaluate/score.js'
import type { OwnScorer } from '../../evaluate/scorer.js'
import type { OwnTask } from '../../evaluate/tasks/index.js'
import { type Verdict, verdictOf } from '../../evaluate/verdict.js'
import { lineEndings, pageEndings, requireEnding } from '../../files.js'
import type { LimitsAsked } from '../../generate/limits/asked.js'
import type { Products } from '../../generate/programs.js'
import type { WeightChoice } from '../../generate/width.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../../model/with-model.js'
import type { OpenOptions, PromptGiven } from '../../sources/open.js'
import type { StrategyGiven } from '../../strategies/index.js'
import type { ConfigInput } from '../../train/config.js'
import type { TestTimeInput } from '../../train/test-time/options.js'
import type { ContrastOptions } from '../generation/contrast.js'
import type { Scored, Subject } from './subject.js'

/**
 * Scoring a prompt, a plain instruction or the bare model: the library's `evaluate`, which the command line calls. How an answer is
 * judged (by likelihood, behind reasoning, as it is generated) is a file each in `evaluation/`.
 */

type Asked = ModelSettings & LimitsAsked & ContrastOptions & RunCodeOptions & Pick<OpenOptions, 'strength' | 'ensemble'>
export interface EvaluateOptions extends Asked {
  /** A model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** A data file, or rows as an iterable of objects. By default the test or dev file of the run. */
  readonly data?: string | Rows | undefined
  /** A run (of either kind), its folder, a prompt file, a PEFT adapter's folder, rows of a soft prompt, a plain instruction, or nothing. */
  readonly prompt?: PromptGiven
  /** A task's config, in the place of the one of the run that learned the prompt. */
  readonly config?: ConfigInput | undefined
  /** By default the prompt's own. */
  readonly template?: Template | undefined
  /** By default the prompt's own. */
  readonly answer?: string | undefined
  /** Value in the data -> word in the answer, or several. By default the prompt's own, without a prompt those of the config's training rows, else the values themselves, when they are few. */
  readonly labels?: LabelWords | undefined
  /** Whether answers are classes or free text, where no prompt and no `labels` say it; by default judged by the rows, and said. */
  readonly answerType?: AnswerType | undefined
  /**
   * What ends an answer: `auto`, `none`, or a text. By default what the prompt was learned with; without a prompt `auto`, and `none` under
   * vectors that say nothing of it.
   */
  readonly answerEnd?: string | undefined
  /** How several words of a class make its score; by default as the prompt does, or their mean. */
  readonly aggregate?: Aggregate | undefined
  /** Subtract what the labels score after a text that says nothing: that text, or true for `N/A`. By default as the run did. */
  readonly calibrate?: boolean | string | undefined
  /** By which likelihood an answer of a closed set is chosen: `plain` (the default), `length` or `unconditional`. */
  readonly choose?: Choice | undefined
  /**
   * Names of the columns of a file without a header, or for a column of the template the one of the data: `{ text: 'review' }`. By default
   * the run's own.
   */
  readonly columns?: ColumnsGiven | undefined
  /** A plain instruction before the template. Beside a prompt of vectors it is what the control is told. */
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
  /**
   * Score the base model, or the prompt that a search began with, on the same rows beside it; beside generated answers that are limited
   * those that are not.
   */
  readonly control?: boolean | undefined
  /**
   * Tune the prompt on each row before it answers it, without the label, and from the prompt as it was learned every time: true, or how. The
   * control is then the prompt as it was learned.
   */
  readonly testTime?: boolean | TestTimeInput | undefined
  /** Generate an answer to each row and read it, instead of scoring its likelihood; so do the options below that belong to it. */
  readonly generate?: boolean | undefined
  /**
   * Answer each row with several calls: `self-consistency`, `retries`, … or that with its options. The control is then one answer, or as many
   * as the same tokens buy.
   */
  readonly strategy?: StrategyGiven | undefined
  /** A benchmark with its own prompts and rules: `gsm8k`, `bbh`, `lm-eval/gsm8k`, … Its answers are generated. */
  readonly task?: string | OwnTask | undefined
  /** Rows to show before each question, drawn by seed; none of them is scored. */
  readonly examples?: string | Rows | undefined
  /** How many of them; by default as is usual for the task. */
  readonly shots?: number | undefined
  /** What a generated text counts for: a built-in scorer by its name, a module by its path, a function, or a scorer. */
  readonly scorer?: string | OwnScorer | undefined
  /** Of an answer that is generated, at most. */
  readonly maxNewTokens?: number | undefined
  /** 0 (the default): greedy. */
  readonly temperature?: number | undefined
  /** Of generated answers; by default `auto`, under what was tuned or found the arithmetic of that. */
  readonly weights?: WeightChoice | undefined
  /** A file for each row's result. Rows with generated answers that stand in it are not done again. */
  readonly rows?: string | undefined
  /** A file for a page of it all. */
  readonly report?: string | undefined
  /** Write both into the run's folder, where they are not given and the prompt is a run. */
  readonly keep?: boolean | undefined
  /** Hears of rows that are done, of weights that are written to the cache (in percent), and what they are: `rows`, `rows, base model`, … */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
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
  /** Short name of the model. */
  readonly model: string
  /** The file, or `rows in memory`. */
  readonly data: string
  /** The arithmetic: `fp32` is exact. */
  readonly weights: Products
  /** What was scored: `tuned`, `found prompt`, `base model`, or that with an instruction. */
  readonly condition: string
  /** With a label set, where answers were scored by their likelihood. */
  readonly predictions?: readonly Prediction[]
  /** What became of each row, as `gradprompt compare` reads it from a file. */
  readonly results: readonly RowResult[]
  /** With `control`: the base model, or the prompt that a search began with, on the same rows. */
  readonly control?: EvaluatedControl | undefined
  /** Against the control, in words. */
  readonly verdict?: Verdict | undefined
  /** Where answers were generated. */
  readonly generated?: GeneratedFigures | undefined
  /** Where the prompt was tuned on the rows that it answered. */
  readonly testTime?: TestTimeFigures | undefined
  /** Where each row's result was written. */
  readonly rowsFile?: string | undefined
  /** Where the page was written. */
  readonly report?: string | undefined
  /** Scoring alone, without loading and without the control. */
  readonly seconds: number
  /** Of the rows that are not from before. */
  readonly rowsPerSecond: number
}

export interface EvaluatedControl {
  readonly name: string
  readonly metrics: Metrics
  /** What it was told before the template. */
  readonly instruction: string | null
  readonly results: readonly RowResult[]
}

/** What generation adds to a result. */
export interface GeneratedFigures {
  readonly task: string
  readonly weights: Products
  readonly generatedTokens: number
  /** Rows taken from earlier results. */
  readonly resumed: number
  readonly unextracted: number
  /** Rows whose text the budget of tokens ended. */
  readonly cut: number
  readonly rules: Readonly<Record<string, number>>
  readonly filters: GenerationEvaluationResult['filters']
  readonly errors: readonly { readonly index: number; readonly message: string }[]
}

/** What tuning on the rows adds to a result. */
export interface TestTimeFigures {
  /** How, in a line. */
  readonly how: string
  /** Views of a row, in the mean. */
  readonly views: number
  /** The same views without tuning, by the mean of their shares. Rows that are tuned on together have none. */
  readonly averaged?: { readonly name: string; readonly metrics: Metrics }
  /** Rows taken from earlier results. */
  readonly resumed: number
}

const names = {
  ...modelSettingNames,
  ...runCodeNames,
  model: true,
  data: true,
  prompt: true,
  config: true,
  template: true,
  answer: true,
  labels: true,
  answerType: true,
  answerEnd: true,
  aggregate: true,
  calibrate: true,
  choose: true,
  columns: true,
  instruction: true,
  metrics: true,
  limit: true,
  seed: true,
  truncate: true,
  batchSize: true,
  force: true,
  strength: true,
  ensemble: true,
  control: true,
  testTime: true,
  generate: true,
  strategy: true,
  task: true,
  examples: true,
  shots: true,
  scorer: true,
  maxNewTokens: true,
  temperature: true,
  against: true,
  contrast: true,
  choices: true,
  regex: true,
  jsonSchema: true,
  rejectedMass: true,
  weights: true,
  rows: true,
  report: true,
  keep: true,
  onProgress: true,
  onWarning: true,
  signal: true,
} satisfies OptionNames<EvaluateOptions>

/** Each of them asks for generated answers. */
const generating = [
  ...(['generate', 'task', 'examples', 'shots', 'scorer', 'maxNewTokens', 'temperature', 'weights'] as const),
  ...(['choices', 'regex', 'jsonSchema', 'rejectedMass', 'against', 'contrast', 'strategy'] as const),
] as const

/** The first option that does. */
const askedToGenerate = (options: EvaluateOptions) =>
  generating.find(name => options[name] !== undefined && options[name] !== false)

/**
 * Scores a prompt, a plain instruction or the bare model. By default an answer is scored by its likelihood: of a closed set each
 * candidate's whole answer; of free text the row's own, its log-likelihood and perplexity. With `generate`, or an option that belongs to
 * it, answers are generated, read by the task's rules and scored. What a search over reasoning has found is judged as that does it: the
 * model reasons, and the answer has to follow the extractor. With `testTime` the prompt is tuned on each row before it answers it.
 *
 * ```ts
 * const { metrics, control } = await evaluate({ prompt: 'runs/sst2', data: 'test.tsv', control: true })
 * const { generated } = await evaluate({ model, data: 'test.jsonl', task: 'gsm8k', examples: 'train.jsonl', shots: 8 })
 * const own = await evaluate({ model, data: rows, template: '{question}', answer: ' {answer}', scorer: (row, text) => text.includes(row.answer) })
 * ```
 *
 * @throws GradpromptError `unknown-option`, `model-mismatch` (the prompt was learned on another model), `missing-option`,
 *   `unknown-metric`, `unknown-format` (what `rows` and `report` are called), `not-tunable` and `no-views` (`testTime`), `unknown-task`, `unknown-scorer`, `not-a-prompt`, `run-not-finished`, `aborted`, and as reading data, loading a
 *   model and building rows do
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  refuseUnknown('evaluate', options, names)
  if (options.rows !== undefined) requireEnding(options.rows, lineEndings, 'rows are written as JSON lines')
  if (options.report !== undefined) requireEnding(options.report, pageEndings, 'the page is HTML')
  await (await import('./asked-scorer.js')).refuseUnreadOfTask(options)
  const { subjectOf } = await import('./subject.js')
  const subject = await subjectOf(options)
  const { config, modelGiven } = subject
  if (subject.testTime !== undefined) (await import('./test-time.js')).refuseUntunable(subject, options, askedToGenerate(options))
  await using used = await useModel(modelGiven, {
    ...firstOf(options, config),
    onProgress: share => options.onProgress?.(Math.floor(99 * share), 100, 'weights'),
  })
  const judge = await judgeOf(options, subject)
  const place = await (await import('./place.js')).placeOf(subject, options, used.model)
  let scored: Scored
  try {
    scored = withVerdict(await judge(used.model, subject, options, place), subject.seed)
  } catch (error) {
    await place.drop()
    throw error
  }
  const { finish } = await import('./page.js')
  const report = await finish(used.model, subject, options, scored, place)
  return {
    model: used.model.name,
    data: subject.dataName,
    ...scored.result,
    metrics: chosen(scored.result.metrics, options.metrics),
    ...(place.rows !== undefined && { rowsFile: place.rows }),
    ...(report !== undefined && { report }),
  }
}

/** Whether it is better than its control, where it has one. */
function withVerdict(scored: Scored, seed: number): Scored {
  const { condition, results, control } = scored.result
  if (control === undefined) return scored
  const judged = { name: spoken(condition), rows: results }
  const verdict = verdictOf(judged, { name: spoken(control.name), rows: control.results }, { seed, rowsOf: 'scored' })
  return verdict === undefined ? scored : { ...scored, result: { ...scored.result, verdict } }
}

/** Conditions as a sentence calls them, where that is not by their names. */
const sentences: Readonly<Record<string, string>> = {
  tuned: 'the tuned prompt',
  'tuned at test time': 'the prompt tuned at test time',
  'as learned': 'the prompt as it was learned',
}

function spoken(condition: string): string {
  const [, what, how] = /^(.*?)( by .*)?$/s.exec(condition)!
  return `${sentences[what!] ?? `the ${what!.replace(/, instructed$/, ' with its instruction')}`}${how ?? ''}`
}

async function judgeOf(options: EvaluateOptions, { source, testTime }: Subject) {
  if (testTime !== undefined) return (await import('./test-time.js')).byTestTime
  if (askedToGenerate(options) !== undefined) return (await import('./generation.js')).byGeneration
  const reasons = source.found?.config.search?.extractor !== undefined
  return reasons ? (await import('./reasoning.js')).byReasoning : (await import('./likelihood.js')).byLikelihood
}

function chosen(metrics: Metrics, names: readonly string[] | undefined): Metrics {
  if (names === undefined) return metrics
  return Object.fromEntries(
    names.map(name => {
      const metric = metrics[name]
      if (metric !== undefined) return [name, metric]
      throw unknownName('unknown-metric', 'there is no such figure', name, Object.keys(metrics))
    }),
  )
}
