import { decideLabels } from '../../data/texts/labels.js'
import { largestShare, negatedEnergy, type Separation, separations } from '../../evaluate/foreign/scores.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { scoreClasses } from '../../evaluate/score.js'
import type { LanguageModel } from '../../model/language-model.js'
import { rowBuilderOf } from '../evaluation/likelihood.js'
import { endOf, missing, subjectOf } from '../evaluation/subject.js'
import { knownScores, type Rejection } from '../prediction/rejection.js'

/** How well a run that was taught to reject tells foreign rows from known ones, beside what the run before it says of them. */

interface Progress {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** What the labels of one row score, and what a rejection makes of that. */
export interface LabelScores {
  /** In nats, of every label of the run. */
  readonly scores: readonly number[]
  known(rejection: Pick<Rejection, 'known' | 'groups' | 'seed'>): number
}

/**
 * The scores of all labels of a run, for rows whose labels need not be known.
 * @throws GradpromptError as scoring rows does
 */
export async function labelScores(
  model: LanguageModel,
  { prompt }: { readonly prompt: string },
  rows: readonly Readonly<Record<string, string>>[],
  { signal, onProgress }: Progress,
): Promise<LabelScores[]> {
  const subject = await subjectOf({ model, prompt, data: [] })
  const template = subject.template ?? missing('template')
  const answer = subject.answer ?? missing('answer')
  const labels = decideLabels(answer, [], { labels: subject.labels, aggregate: subject.aggregate }).labels!
  const active = await subject.source.active(model)
  const builder = rowBuilderOf(model, active, {
    template,
    answer,
    labels,
    truncate: true,
    end: endOf(subject, template, model.tokenizer),
  })
  const unlabelled = rows.map(({ [labels.column]: _, ...row }) => row)
  const scored = unlabelled.map((row, i) => builder.scoring(row, i))
  const said = await scoreClasses(model, active, scored, labels, { batchSize: subject.batchSize, signal, onProgress })
  return said.map(({ logLikelihoods: scores }) => ({
    scores,
    known: rejection => knownScores(labels.candidates, scores, { ...rejection, threshold: 0, share: 0, rows: 1 }).known,
  }))
}

/** By the names of the scores: the grouped one of the run, then the largest share and the negated energy of the run before it. */
export type ScoreName = 'grouped' | 'largestShare' | 'energy'

export interface Measured {
  readonly foreign: string
  readonly rows: { readonly known: number; readonly foreign: number }
  readonly scores: Readonly<Record<ScoreName, Separation>>
  /** By how much the AUROC of `grouped` is above the others'. */
  readonly gains: Readonly<Partial<Record<ScoreName, MetricValue>>>
}

export interface MeasureOptions extends Progress {
  readonly before: string
  readonly after: string
  readonly rejection: Pick<Rejection, 'known' | 'groups' | 'seed'>
  /** Rows of none of the classes, and what they are called. */
  readonly foreign: { readonly name: string; readonly records: readonly Readonly<Record<string, string>>[] }
  /** Rows of the classes. */
  readonly known: readonly Readonly<Record<string, string>>[]
  readonly column: string
  readonly seed: number
}

/** Rows of each kind, at most. */
const most = 500

/** @throws GradpromptError `no-rows`, and as scoring rows does */
export async function measure(model: LanguageModel, options: MeasureOptions): Promise<Measured> {
  const { before, after, rejection, foreign, known, column, seed } = options
  const of = (records: readonly Readonly<Record<string, string>>[]) =>
    spaced(records, most).map(record => ({ [column]: record[column] ?? '' }))
  const rows = { known: of(known), foreign: of(foreign.records) }
  const all = [...rows.known, ...rows.foreign]
  const [taught, plain] = [
    await labelScores(model, { prompt: after }, all, options),
    await labelScores(model, { prompt: before }, all, options),
  ]
  const parted = (values: readonly number[]) => ({
    known: values.slice(0, rows.known.length),
    foreign: values.slice(rows.known.length),
  })
  const { scores, gains } = separations<ScoreName>(
    {
      grouped: parted(taught.map(row => row.known(rejection))),
      largestShare: parted(plain.map(row => largestShare(row.scores))),
      energy: parted(plain.map(row => negatedEnergy(row.scores))),
    },
    { seed },
  )
  return { foreign: foreign.name, rows: { known: rows.known.length, foreign: rows.foreign.length }, scores, gains }
}

/** As many, spread over all. */
const spaced = <Row>(rows: readonly Row[], count: number): Row[] =>
  rows.length <= count ? [...rows] : Array.from({ length: count }, (_, i) => rows[Math.floor((i * rows.length) / count)]!)
