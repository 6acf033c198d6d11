import { mkdir } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { writeRowResults } from '../../evaluate/row-results.js'
import type { LanguageModel } from '../../model/language-model.js'
import { evaluationPage } from '../../report/evaluation.js'
import type { Fact } from '../../report/parts/cost.js'
import { writePage } from '../../report/parts/page.js'
import { peakMemory } from '../../store/environment.js'
import type { EvaluateOptions } from './evaluate.js'
import type { Scored, Subject } from './subject.js'

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
): Promise<string | undefined> {
  const { paths, source, name, dataName: data } = subject
  // Rows with generated answers stand there already, each since it was finished.
  if (paths.rows !== undefined && generated === undefined) await writeRowResults(paths.rows, result.results)
  if (paths.report === undefined) return undefined
  const { metrics, results: rows, labels, confusion, condition, control, seconds } = result
  await mkdir(dirname(resolve(paths.report)), { recursive: true })
  const page = evaluationPage({
    name: source.folder === undefined ? name : `${basename(resolve(source.folder))} · ${name}`,
    ...{ model: model.name, data, metrics, rows, labels, confusion, condition, generated, seconds },
    control: control && { ...control, rows: control.results },
    settings: settingsOf(subject, options),
    peakMemory: peakMemory(),
  })
  await writePage(paths.report, page)
  return paths.report
}

function settingsOf({ source, template, answer, answerEnd, seed }: Subject, options: EvaluateOptions): Fact[] {
  const { prompt, task, instruction, choose, limit, examples, shots, scorer, maxNewTokens, temperature } = options
  const texts = typeof template === 'string' ? template : template?.map(({ role, content }) => `${role}: ${content}`).join('\n')
  const named = (value: unknown) => (typeof value === 'string' ? value : value === undefined ? undefined : 'given by the program')
  const given: (readonly [string, unknown])[] = [
    ['prompt', source.folder ?? (typeof prompt === 'string' ? prompt : undefined)],
    ['template', task === undefined ? texts : undefined],
    ['answer', task === undefined ? answer : undefined],
    [
      'answer ends',
      task === undefined ? (typeof answerEnd === 'string' ? answerEnd : (answerEnd.learned?.text ?? 'none')) : undefined,
    ],
    ['instruction', instruction],
    ['chosen by', choose],
    ['rows at most', limit],
    ['seed', seed],
    ['examples', named(examples)],
    ['shots', shots],
    ['scorer', named(scorer)],
    ['maxNewTokens', maxNewTokens],
    ['temperature', temperature],
  ]
  return given.flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as const]))
}
