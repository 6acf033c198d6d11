import type { DataNotice } from '../../data/readers/reader.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { ScoringRow } from '../../data/rows/rows.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import { likelihoodResults } from '../../evaluate/likelihood-results.js'
import { classificationMetrics } from '../../evaluate/metrics.js'
import { hashOf, type RowResult, RowResultFile, resultKey } from '../../evaluate/row-results.js'
import { scoresAmong } from '../../evaluate/score.js'
import type { TestTimeScores } from '../../evaluate/test-time-scores.js'
import { productsOf } from '../../generate/programs.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { aboveZero } from '../../numbers.js'
import { promptWordWeights } from '../../sources/prompt.js'
import { describeTestTime } from '../../train/test-time/options.js'
import { openTestTime } from '../../train/test-time/test-time.js'
import type { EvaluateOptions } from './evaluate.js'
import { builderFor, calibrationOf, predictionsOf, type Rows, rowsOf } from './likelihood.js'
import { identityOf, type Place } from './place.js'
import type { Scored, Subject } from './subject.js'

/**
 * Classes chosen under a prompt that is tuned on the rows that it answers, beside the prompt as it was learned on the same rows, and the mean of
 * the same views: what tuning adds, and what views alone do. A row is on the disk as soon as it is answered, and not done again.
 */
export async function byTestTime(
  model: LanguageModel,
  subject: Subject,
  options: EvaluateOptions,
  place: Place,
): Promise<Scored> {
  const testTime = subject.testTime!
  const rows = await rowsOf(model, subject, options, place)
  const { labels, records } = rows
  if (labels === undefined) throw notClasses()
  const answered = await answers(model, { ...rows, labels }, place)
  const figures = answered.map(({ testTime }) => testTime)
  const { seed } = subject
  const judge = (of: (figures: TestTimeScores) => readonly number[]) => {
    const own = answered.map(({ row, testTime }) => ({ row, logLikelihoods: of(testTime) }))
    const scored = own.map(({ row, logLikelihoods }) => ({
      ...{ target: row.target, logLikelihoods },
      scores: scoresAmong(row, logLikelihoods),
    }))
    const { metrics, ...others } = classificationMetrics(scored, labels.candidates, { seed })
    const judged = { ...others, metrics: { ...metrics }, logLikelihoods: own.map(({ logLikelihoods }) => logLikelihoods) }
    return { judged, results: likelihoodResults(judged, { ...rows, rows: answered.map(({ row }) => row) }) }
  }
  const tuned = judge(({ after }) => after)
  const learned = judge(({ before }) => before)
  const { accuracy, macroF1, calibrationError } = judge(({ averaged }) => averaged.map(logShare)).judged.metrics
  const resumed = answered.filter(({ isFromBefore }) => isFromBefore).length
  const few = figures.filter(({ views }) => views < testTime.views).length
  if (testTime.batch === undefined && few > 0) options.onWarning?.(fewViews(few, testTime.views))
  const seconds = answered.reduce((sum, one) => sum + one.seconds, 0)
  return {
    result: {
      condition: 'tuned at test time',
      weights: productsOf(model, 'fp32'),
      metrics: tuned.judged.metrics,
      rows: records.length,
      labels: labels.candidates,
      confusion: tuned.judged.confusion,
      predictions: predictionsOf({ labels, records }, { scored: tuned.judged, targets: answered.map(({ row }) => row) }),
      results: tuned.results.map((result, i) => ({ ...result, testTime: figures[i]!, key: answered[i]!.key })),
      ...(options.control === true && {
        control: { name: 'as learned', metrics: learned.judged.metrics, instruction: null, results: learned.results },
      }),
      testTime: {
        how: describeTestTime(testTime),
        views: figures.reduce((sum, { views }) => sum + views, 0) / figures.length,
        resumed,
        ...(testTime.batch === undefined && {
          averaged: { name: 'mean of the views', metrics: { accuracy, macroF1, calibrationError } },
        }),
      },
      seconds,
      rowsPerSecond: (records.length - resumed) / Math.max(seconds, 1e-6),
    },
  }
}

/** A share that is nothing in numbers is all but that. */
const logShare = (share: number) => Math.log(Math.max(share, aboveZero))

interface Answered {
  readonly row: ScoringRow
  readonly testTime: TestTimeScores
  readonly key: string
  readonly isFromBefore: boolean
  readonly seconds: number
}

/** Every row in its order; those that a file has from before are taken from there. */
async function answers(model: LanguageModel, rows: Rows & { readonly labels: LabelSet }, place: Place): Promise<Answered[]> {
  const { labels, records, places, subject, options, template, answer } = rows
  const testTime = subject.testTime!
  const { source, seed } = subject
  const prompt = (await source.active(model))!
  const told = { prompt, truncate: options.truncate }
  const builder = builderFor(rows, { ...told, template, beside: undefined })
  const others = testTime.templates.map((own, i) => builderFor(rows, { ...told, template: own, beside: `template ${i + 2}` }))
  const weights = source.file && promptWordWeights(source.file, labels)
  await using opened = await openTestTime(model, prompt, {
    ...{
      builders: [builder, ...others],
      columns: textColumns(template, labels, prompt),
      labels,
      weights,
      options: testTime,
      seed,
    },
    signal: options.signal,
  })
  using file = place.rows === undefined ? undefined : await RowResultFile.open(place.rows)
  const { candidates, verbalizer } = labels
  const settings = {
    template,
    answer,
    candidates,
    verbalizer,
    end: subject.answerEnd,
    testTime,
    seed,
    truncate: options.truncate,
  }
  const keyOf = (part: readonly DataRecord[], record: DataRecord) =>
    resultKey({
      model: model.hash,
      prompt: hashOf(identityOf(source)),
      row: hashOf(testTime.batch === undefined ? record : [record, part]),
      settings,
    })
  const done: Answered[] = []
  for (let start = 0; start < records.length; start += opened.size) {
    refuseAborted(options.signal)
    const part = records.slice(start, start + opened.size)
    const indices = part.map(record => places.get(record)!)
    const keys = part.map(record => keyOf(part, record))
    const known = indices.map((index, i) => file?.finished(index, keys[i]!)?.testTime)
    const started = performance.now()
    const isKnown = known.every(one => one !== undefined)
    const answered = isKnown ? undefined : await opened.answer(part, indices)
    const seconds = (performance.now() - started) / 1000 / part.length
    for (const [i, record] of part.entries()) {
      const row = builder.scoring(record, indices[i]!)
      const one = {
        row,
        testTime: answered === undefined ? known[i]! : answered[i]!.figures,
        key: keys[i]!,
        isFromBefore: isKnown,
        seconds,
      }
      done.push(one)
      if (!isKnown) file?.append(lineOf(one, record, labels))
    }
    options.onProgress?.(done.length, records.length, 'rows')
  }
  return done
}

/** What stands in the file until all rows are done. */
function lineOf({ row, testTime, key }: Answered, record: DataRecord, { candidates }: LabelSet): RowResult {
  const scores = scoresAmong(row, testTime.after)
  const predicted = scores.indexOf(Math.max(...scores))
  const isRight = predicted === row.target
  return {
    ...{ index: row.index, extracted: candidates[predicted]!, answer: candidates[row.target] ?? '' },
    ...{ score: Number(isRight), correct: isRight, testTime, row: hashOf(record), key },
  }
}

/** The columns of a template that are texts: neither conversations, nor the label, nor what names a row's task. */
export function textColumns(
  template: Template,
  { column }: Pick<LabelSet, 'column'>,
  { method, config }: ActivePrompt,
): string[] {
  const { columns, conversations } = compileMessages(template)
  const others = [column, method.tasks?.(config)?.column, ...conversations]
  return columns.filter(name => !others.includes(name))
}

/**
 * Before a model is opened.
 * @param generating an option by which answers would be generated
 * @throws GradpromptError `not-tunable`, `invalid-option`
 */
export function refuseUntunable(
  subject: Subject,
  { choose, calibrate, batchSize, instruction }: Pick<EvaluateOptions, 'choose' | 'calibrate' | 'batchSize' | 'instruction'>,
  generating?: string | undefined,
): void {
  const { source, isFreeText, labels, config, answer } = subject
  if (source.kind === 'found')
    throw notTunable('the prompt of a search is words, which have no gradient', `a search, ${source.folder ?? 'in memory'}`)
  if (source.kind !== 'vectors')
    throw notTunable(
      'there is no soft prompt to tune',
      source.kind === 'text' ? 'a plain instruction' : 'a model without a prompt',
    )
  if (generating !== undefined)
    throw new GradpromptError(
      'invalid-option',
      'a prompt is tuned at test time by the likelihoods of classes, not by generated answers',
      {
        found: `testTime (--test-time) beside ${generating}`,
        expected: 'one of the two',
      },
    )
  const answered = answer === undefined ? [] : compileTemplate(answer).columns
  if (isFreeText || (labels === undefined && config?.answerType === 'text') || (answered.length !== 1 && labels === undefined))
    throw notClasses()
  if (config?.rejected !== undefined || config?.thumbs !== undefined) throw notClasses()
  const scoring = calibrationOf({ choose, calibrate }, subject)
  const by =
    choose === 'length'
      ? '--choose length'
      : scoring === undefined || scoring === false
        ? undefined
        : 'scores less those of a text that says nothing'
  if (by !== undefined)
    throw new GradpromptError('invalid-option', 'a prompt is tuned at test time by plain likelihoods', {
      found: by,
      expected: "choose: 'plain' (--choose plain)",
    })
  const [unread] = Object.entries({ batchSize, instruction }).filter(([, value]) => value !== undefined)
  if (unread !== undefined)
    throw new GradpromptError('invalid-option', `${unread[0]} has no effect beside testTime`, {
      found: String(unread[1]),
      expected:
        unread[0] === 'batchSize'
          ? 'neither: each row is tuned on by itself, or with those of testTime.batch'
          : 'neither: the control is the prompt as it was learned',
    })
}

const notTunable = (message: string, found: string) =>
  new GradpromptError('not-tunable', message, { found, expected: 'a run of gradprompt tune whose answers are classes' })

export const notClasses = (): GradpromptError =>
  new GradpromptError(
    'not-tunable',
    'a prompt is tuned at test time on how likely each class is, and answers here are free text',
    {
      found: 'answers without a closed set of labels',
      expected: 'data.labels (--labels), or few values in the label column',
    },
  )

const fewViews = (rows: number, views: number): DataNotice => ({
  code: 'few-views',
  message: `${rows} ${rows === 1 ? 'row has' : 'rows have'} fewer than ${views} views that differ: texts of few words, or paraphrases that came to nothing`,
})
