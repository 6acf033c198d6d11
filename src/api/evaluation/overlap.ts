import { learnedRows } from '../../data/describe/evaluated.js'
import type { DataRecord } from '../../data/readers/records.js'
import { readTask } from '../../data/task.js'
import type { TaskTexts } from '../../data/task-columns.js'
import { readSearchTask } from '../../search/run/task.js'
import { searchConfigOf } from '../runs/configs.js'
import type { EvaluateOptions } from './evaluate.js'
import { recordsOf, type Subject } from './subject.js'

/** Whether rows to be scored are among those that the prompt comes from, of whatever kind it is: said before anything is computed. */

/** Tells of rows that the run has learned from, or a search has scored or shown. */
export async function warnOfOverlap(
  subject: Pick<Subject, 'config' | 'source'>,
  records: readonly DataRecord[],
  texts: TaskTexts,
  onWarning: EvaluateOptions['onWarning'],
): Promise<void> {
  const { config, source } = subject
  if (onWarning === undefined || config === undefined) return
  const { found } = source
  const learnedFrom = async () => {
    if (found === undefined) return (await readTask(config)).train
    const { questions, shots } = await readSearchTask(await searchConfigOf(found))
    return [...questions, ...shots]
  }
  for (const warning of await learnedRows(learnedFrom, records, texts)) onWarning(warning)
}

/** The same of rows that nothing else has read yet; rows that lack a column of the run's texts are other rows. */
export async function warnOfOverlapIn(subject: Subject, onWarning: EvaluateOptions['onWarning']): Promise<void> {
  const { config, template, answer } = subject
  if (onWarning === undefined || config === undefined || template === undefined || answer === undefined) return
  const records = await recordsOf(subject, { template, answer }).catch(() => [])
  await warnOfOverlap(subject, records, { template, answer }, onWarning)
}
