import type { DataRecord } from '../../data/readers/records.js'
import type { RowBuilder, ScoringRow } from '../../data/rows/rows.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import type { ClassScores } from '../../evaluate/score.js'
import type { TestTimeScores } from '../../evaluate/test-time-scores.js'
import { logMean } from '../../losses/view-entropy.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { TestTimeOptions } from './options.js'
import { openParaphraser } from './paraphrases.js'
import { TestTimeTuner, type TunedRow } from './tuner.js'
import { viewsOf } from './views.js'

/** Answers rows under a prompt that is tuned on each of them, or on some at a time: what evaluating and predicting both open. */
export interface TestTime extends AsyncDisposable {
  /** Rows that are tuned on together; what is asked for at once are so many, or the last. */
  readonly size: number
  /**
   * Labels are not read.
   * @param places of the records in the data
   * @throws GradpromptError as making a row, scoring it and the model's gradient do
   */
  answer(records: readonly DataRecord[], places: readonly number[]): Promise<AnsweredRow[]>
}

/** One row's classes. */
export interface AnsweredRow {
  /** The row itself, as it is scored. */
  readonly row: ScoringRow
  /** Under the prompt once tuned. */
  readonly scores: ClassScores
  readonly figures: TestTimeScores
}

/** @throws GradpromptError `nothing-to-tune`, `no-views`, and as opening an engine for paraphrases does */
export async function openTestTime(
  model: LanguageModel,
  prompt: ActivePrompt,
  {
    builders,
    columns,
    labels,
    weights,
    options,
    seed,
    signal,
  }: {
    /** Of the prompt's template, then of each of `options.templates`. */
    readonly builders: readonly RowBuilder[]
    /** Columns of texts that words can be left out of. */
    readonly columns: readonly string[]
    readonly labels: LabelSet
    readonly weights: Float32Array | undefined
    readonly options: TestTimeOptions
    readonly seed: number
    readonly signal: AbortSignal | undefined
  },
): Promise<TestTime> {
  const tuner = new TestTimeTuner(model, prompt, { ...options, labels, weights, signal })
  const { batch, paraphrases: count } = options
  if (batch === undefined && columns.length === 0 && builders.length === 1 && options.views > 1) throw noViews()
  const paraphraser = batch === undefined && count > 0 ? await openParaphraser(model, { count, signal }) : undefined
  const dispose = async () => paraphraser?.[Symbol.asyncDispose]()
  if (batch !== undefined)
    return {
      size: batch,
      async answer(records, places) {
        const rows = records.map((record, i) => builders[0]!.scoring(record, places[i]!))
        return (await tuner.onBatch(rows)).map((tuned, i) => answered(rows[i]!, tuned))
      },
      [Symbol.asyncDispose]: dispose,
    }
  const source = { builders, columns, options, seed, paraphrase: paraphraser?.write }
  return {
    size: 1,
    async answer(records, places) {
      const rows: AnsweredRow[] = []
      for (const [i, record] of records.entries()) {
        const views = await viewsOf(record, places[i]!, source)
        rows.push(answered(views[0]!, await tuner.onViews(views)))
      }
      return rows
    },
    [Symbol.asyncDispose]: dispose,
  }
}

const sharesOf = (logs: readonly (readonly number[])[]) => logMean(logs).map(Math.exp)

const answered = (row: ScoringRow, { before, after, views, kept, losses }: TunedRow): AnsweredRow => ({
  row,
  scores: after,
  figures: {
    before: before.logLikelihoods,
    after: after.logLikelihoods,
    averaged: sharesOf(views),
    surest: sharesOf(kept.map(i => views[i]!)),
    views: views.length,
    loss: losses[0]!,
  },
})

const noViews = () =>
  new GradpromptError('no-views', 'there is nothing that views of a row could be made of', {
    found: 'a template without a column of text',
    expected: 'a column of text, further templates, or rows that are tuned on together (testTime.batch)',
  })
