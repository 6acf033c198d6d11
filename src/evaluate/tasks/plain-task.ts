import type { DataNotice } from '../../data/readers/reader.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { AnswerType } from '../../data/texts/answer-type.js'
import { decideLabels, type LabelSet, type LabelWords } from '../../data/texts/labels.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'
import { classification, freeText, type GenerationTask } from './index.js'

/** What template and answer ask for, where no task does: one of several classes, or free text. */

interface Asked {
  readonly template?: Template | undefined
  readonly answer?: string | undefined
  readonly labels?: LabelWords | undefined
  readonly answerType?: AnswerType | null | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

/** The classes, where answers are of them; where all rows had to say it, that is told. A benchmark has none but those that are given. */
export function labelsIn(
  { answer, labels, answerType, onWarning }: Asked,
  all: readonly DataRecord[],
  isBenchmark: boolean,
): LabelSet | undefined {
  if (answer === undefined) return undefined
  const decided = decideLabels(answer, all, { labels, answerType: isBenchmark ? 'text' : answerType })
  if (decided.notice !== undefined) onWarning?.(decided.notice)
  return decided.labels
}

/** @throws GradpromptError `missing-option`, `invalid-option` */
export function plainTask(options: Asked, labels: LabelSet | undefined): GenerationTask {
  const { template, answer } = options
  if (template === undefined || answer === undefined) {
    throw new GradpromptError('missing-option', 'there is nothing to say what is asked and what is right', {
      found: 'neither a task nor template and answer',
      expected: '--task NAME, a run, or --template and --answer',
    })
  }
  if (labels !== undefined) return classification(labels, { template, answer })
  const [column] = compileTemplate(answer).columns
  if (column === undefined) {
    throw new GradpromptError('invalid-option', 'the answer names no column', {
      found: answer,
      expected: 'an answer with a {column} in it, such as " {answer}"',
    })
  }
  return freeText({ template, answer, answerColumn: column })
}
