import { mkdir } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { writeRowResults } from '../../evaluate/row-results.js'
import type { LanguageModel } from '../../model/language-model.js'
import { evaluationPage } from '../../report/evaluation.js'
import { refreshEvaluations } from '../../report/evaluations.js'
import { writePage } from '../../report/parts/page.js'
import { peakMemory } from '../../store/environment.js'
import type { EvaluateOptions } from './evaluate.js'
import type { Place } from './place.js'
import { type Scored, type Subject, settingsOf } from './subject.js'

/**
 * Writes what an evaluation leaves behind, where files for it are given: each row's result, and the page.
 * @returns the page's path
 * @throws GradpromptError `cannot-write`
 */
export async function finish(
  model: LanguageModel,
  subject: Subject,
  options: EvaluateOptions,
  { result, generated }: Scored,
  place: Place,
): Promise<string | undefined> {
  const { source, dataName: data } = subject
  const { name } = place
  // Rows with generated answers stand there already, each since it was finished.
  if (place.rows !== undefined && generated === undefined) await writeRowResults(place.rows, result.results)
  await place.keep(result)
  if (place.report === undefined) return undefined
  const { metrics, results: rows, labels, confusion, condition, control, verdict, seconds, testTime } = result
  await mkdir(dirname(resolve(place.report)), { recursive: true })
  const page = evaluationPage({
    name: source.folder === undefined ? name : `${basename(resolve(source.folder))} · ${name}`,
    ...{ model: model.name, data, metrics, rows, labels, confusion, condition, verdict, generated, seconds },
    control: control && { ...control, rows: control.results },
    beside: testTime?.averaged,
    settings: settingsOf(subject, options),
    peakMemory: peakMemory(),
  })
  await writePage(place.report, page)
  if (source.folder !== undefined && options.keep === true) await refreshEvaluations(source.folder)
  return place.report
}
