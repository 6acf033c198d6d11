import { readTaskLabels } from '../../data/task.js'
import type { RunTask } from '../../data/task-config.js'
import { type LabelWords, labelWordsOf, promptLabels } from '../../data/texts/labels.js'
import { compileTemplate } from '../../data/texts/template.js'
import type { PromptSource } from '../../sources/open.js'
import type { EvaluateOptions } from './evaluate.js'

/**
 * What is known of the answers before a row is read. Rows that are to be scored say it where nothing else does: a file that happens to
 * hold one class, or few answers, changes neither what is chosen between nor whether answers are classes.
 */
export interface KnownAnswers {
  /** The classes, where answers are of them. */
  readonly labels: LabelWords | undefined
  readonly isFreeText: boolean
  /** Why the training rows, which would have said it, did not. */
  readonly unread?: unknown
}

type Said = Pick<EvaluateOptions, 'labels' | 'answerType' | 'answer' | 'task'>

export async function knownAnswers(
  { labels, answerType, answer, task }: Said,
  { file, found, kind }: PromptSource,
  config: RunTask | undefined,
): Promise<KnownAnswers> {
  if (labels !== undefined) return classes(labels)
  if (file !== undefined) return classes(promptLabels(file))
  if (config?.data.labels !== undefined) return classes(config.data.labels)
  // A benchmark, and another column than the config's, have answers of their own.
  const isOther = kind !== 'found' && answer !== undefined && columnsOf(answer) !== columnsOf(config?.answer ?? '')
  if (config === undefined || task !== undefined || isOther) return unknown
  const said = answerType ?? config.answerType
  if (said === 'text') return classes(undefined)
  if (found?.labels !== undefined && (found.labels !== null || answerType !== 'classes'))
    return classes(found.labels ?? undefined)
  try {
    const learned = await readTaskLabels({ ...config, answerType: said })
    return classes(learned && labelWordsOf(learned))
  } catch (unread) {
    return { ...unknown, unread }
  }
}

const unknown: KnownAnswers = { labels: undefined, isFreeText: false }

const classes = (labels: LabelWords | undefined): KnownAnswers => ({ labels, isFreeText: labels === undefined })

const columnsOf = (answer: string) => JSON.stringify(compileTemplate(answer).columns)
