import { type OptionNames, refuseUnknown } from '../../config/call-options.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { Rows } from '../../data/memory-rows.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { AnswerType } from '../../data/texts/answer-type.js'
import type { LabelWords } from '../../data/texts/labels.js'
import type { Template } from '../../data/texts/template.js'
import type { Aggregate } from '../../data/texts/verbalizer.js'
import type { Choice } from '../../evaluate/score.js'
import type { Products } from '../../generate/programs.js'
import type { WeightChoice } from '../../generate/width.js'
import type { LanguageModel } from '../../model/language-model.js'
import { type ModelSettings, modelSettingNames } from '../../model/with-model.js'
import type { OpenOptions, PromptGiven } from '../../sources/open.js'
import type { TestTimeInput } from '../../train/test-time/options.js'
import type { Answered } from './predictor.js'

/** Answers for rows whose answers nobody knows: the library's `predict`, as a loop over rows or as a file. */

export interface PredictOptions extends ModelSettings, Pick<OpenOptions, 'strength' | 'ensemble'> {
  /** A data file, `-` for standard input, or rows as an iterable of objects, which may be asynchronous. Labels are not needed. */
  readonly data: string | Rows
  /** A run of either kind, its folder, a prompt file, a PEFT adapter's folder, rows of vectors, a plain instruction, or nothing. */
  readonly prompt?: PromptGiven
  /** A model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** By default the prompt's own. */
  readonly template?: Template | undefined
  /** By default the prompt's own. */
  readonly answer?: string | undefined
  /** Value in the data -> word in the answer. By default the prompt's own. */
  readonly labels?: LabelWords | undefined
  /** `text`: answers are generated, although there are labels. */
  readonly answerType?: AnswerType | undefined
  /** How several words of a class make its score; by default as the prompt does, or their mean. */
  readonly aggregate?: Aggregate | undefined
  /** Subtract what the labels score after a text that says nothing; by default as the run did. */
  readonly calibrate?: boolean | string | undefined
  /** By which likelihood a class is chosen: `plain` (the default), `length` or `unconditional`. */
  readonly choose?: Choice | undefined
  /**
   * Rows that belong to none of the classes are said to be `none of these`: those that score below the threshold of a run that was taught to
   * reject (`reject`), or below a number of your own, from 0 to 1. Such a run says of every row how sure it is that it is of a class (`known`).
   */
  readonly reject?: boolean | number | undefined
  /**
   * Tune the prompt on each row before it answers it, from the prompt as it was learned every time: true, or how. Rows that are tuned on
   * together (`batch`) are those in turn.
   */
  readonly testTime?: boolean | TestTimeInput | undefined
  /** Names of the columns of a file without a header, or for a column of the template the one of the data: `{ text: 'review' }`. */
  readonly columns?: ColumnsGiven | undefined
  /** Cut the text of a row that is longer than the context; by default as the run did. */
  readonly truncate?: boolean | undefined
  readonly batchSize?: number | undefined
  /** Use a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
  /** Of a prompt of several tasks that generates: which of them. */
  readonly promptTask?: string | undefined
  /** Of free text, at most; by default 256, or what the context has left. */
  readonly maxNewTokens?: number | undefined
  /** The arithmetic of free text; by default `auto`. Classes are chosen by exact arithmetic. */
  readonly weights?: WeightChoice | undefined
  /** Called once with the model's short name, when the first row can be answered. */
  readonly onOpened?: ((model: string) => void) | undefined
  /** Hears of rows that are done (the total is 0 where it is not known), and of weights that are written to the cache, in percent. */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  /** Hears what was guessed about the data. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** The answer to one row. */
export interface PredictedRow extends Answered {
  /** The row's place in the data, counted from 0. */
  readonly index: number
  /** The row: as it was given, or a file's columns as text. */
  readonly row: Readonly<Record<string, unknown>>
}

/** What became of all rows. */
export interface PredictSummary {
  /** Short name of the model. */
  readonly model: string
  readonly rows: number
  /** The classes, where answers are a closed set. */
  readonly labels?: readonly string[]
  /** The arithmetic that was used. */
  readonly weights: Products
  /** Of answering alone. */
  readonly seconds: number
}

export interface PredictFileOptions extends PredictOptions {
  /** Where the answers go: `.csv`, `.jsonl` or `.parquet`. It appears when all rows are done. */
  readonly output: string
  /** By default as the name of `output` ends. */
  readonly format?: string | undefined
  /** Own columns of a row that stand before its answer: all, by default, or those named. */
  readonly keep?: readonly string[] | undefined
}

export interface PredictedFile extends PredictSummary {
  readonly output: string
}

const shared = {
  ...modelSettingNames,
  data: true,
  prompt: true,
  model: true,
  template: true,
  answer: true,
  labels: true,
  answerType: true,
  aggregate: true,
  calibrate: true,
  choose: true,
  reject: true,
  testTime: true,
  columns: true,
  truncate: true,
  batchSize: true,
  force: true,
  strength: true,
  ensemble: true,
  promptTask: true,
  maxNewTokens: true,
  weights: true,
  onOpened: true,
  onProgress: true,
  onWarning: true,
  signal: true,
} satisfies OptionNames<PredictOptions>
const fileNames = { ...shared, output: true, format: true, keep: true } satisfies OptionNames<PredictFileOptions>

/**
 * Answers each row under a prompt: of a closed set its class, the probability of each and the margin to the second, decided as
 * `evaluate` does; of free text the answer that greedy decoding writes. Rows come in their order, as they are computed; leaving the
 * loop ends it.
 *
 * ```ts
 * for await (const { row, prediction, probability } of predict({ prompt: 'runs/sst2', data: 'reviews.csv' })) …
 * ```
 *
 * `predict.toFile` writes them into a file.
 *
 * @throws GradpromptError `unknown-option`, `missing-column` and `null-value` with the row's place, `missing-option`, `invalid-option`,
 *   `unsupported-prompt` (a search over reasoning), `row-too-long`, `aborted`, and as reading data, opening a prompt and loading a model do
 */
async function* answers(options: PredictOptions): AsyncGenerator<PredictedRow, PredictSummary, void> {
  refuseUnknown('predict', options, shared)
  const { predictRows } = await import('./rows.js')
  const rows = predictRows(options)
  try {
    for (;;) {
      const next = await rows.next()
      if (next.done === true) return next.value
      const { index, record, value, answered } = next.value
      const row = (typeof options.data === 'string' ? record : value) as PredictedRow['row']
      yield { index, row, ...answered }
    }
  } finally {
    await rows.return(undefined as never)
  }
}

/**
 * Writes the answers to the rows of `data` into a file: own columns, then `prediction`, `probability`, and of classes `margin` and the
 * probability of each (columns `p:CLASS`; in JSON lines an object `probabilities`). It is written beside its place and appears there
 * when it is complete.
 * @throws GradpromptError as `predict` does; `file-exists`, `unknown-format`, `column-taken`, `cannot-write`
 */
async function toFile(options: PredictFileOptions): Promise<PredictedFile> {
  refuseUnknown('predict.toFile', options, fileNames)
  const { predictFile } = await import('./output.js')
  return predictFile(options)
}

export const predict: typeof answers & { readonly toFile: typeof toFile } = Object.assign(answers, { toFile })
