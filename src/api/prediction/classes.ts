import { type DataRecord, isNull, originOf, setNulls, setOrigin } from '../../data/readers/records.js'
import { decideLabels, type LabelSet } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import type { Subject } from '../evaluation/subject.js'
import type { PredictOptions } from './predict.js'
import type { Answered } from './predictor.js'

/** Which classes there are, rows without theirs, and what the scores of classes say of a row. */

/** The classes of the prompt, of the call, or those that a search read from its training rows. @throws GradpromptError `missing-option` */
export function labelsOf(
  { isFreeText, labels, aggregate, unread }: Subject,
  answer: string,
  { answerType }: PredictOptions,
): LabelSet | undefined {
  if (isFreeText || answerType === 'text') return undefined
  if (labels !== undefined) return decideLabels(answer, [], { labels, aggregate }).labels
  if (unread !== undefined || answerType === 'classes') throw noClasses(unread)
  return undefined
}

const noClasses = (cause?: unknown) =>
  new GradpromptError('missing-option', 'it is not known which answers there are', {
    found: cause instanceof Error ? `no labels; of the training rows that have them: ${cause.message}` : 'no labels',
    expected: 'labels: value in the data -> word in the answer (--labels 0=negative,1=positive)',
    ...(cause !== undefined && { cause }),
  })

/** What stands in the column of labels is not asked for, and need not be one of them. */
export function withoutLabel(record: DataRecord, index: number, label: string, columns: readonly string[]): DataRecord {
  if (!Object.hasOwn(record, label)) return record
  const { [label]: _, ...others } = record
  setOrigin(others, originOf(record, index))
  setNulls(
    others,
    columns.filter(column => isNull(record, column)),
  )
  return others
}

/** @throws GradpromptError `not-finite` */
export function classified(classes: readonly string[], scores: readonly number[], origin: string): Answered {
  const most = Math.max(...scores)
  const weights = scores.map(score => Math.exp(score - most))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (!Number.isFinite(most) || !Number.isFinite(total))
    throw new GradpromptError('not-finite', `${origin}: the likelihood of an answer is not a finite number`, {
      found: scores.join(', '),
      hint: 'the prompt or the weights hold numbers that are too large',
      exitCode: 1,
    })
  const probabilities = weights.map(weight => weight / total)
  const best = scores.indexOf(most)
  const second = Math.max(0, ...probabilities.filter((_, i) => i !== best))
  return {
    prediction: classes[best]!,
    probability: probabilities[best]!,
    margin: probabilities[best]! - second,
    probabilities: Object.fromEntries(classes.map((name, i) => [name, probabilities[i]!])),
  }
}
