import { createHash } from 'node:crypto'
import { localFiles } from '../../data/hub-data.js'
import type { DataRecord } from '../../data/readers/records.js'
import { hashOfData } from '../../data/task.js'
import {
  dropEvaluation,
  evaluationFile,
  generatedRows,
  type KeptEvaluation,
  keepOutcome,
  takeEvaluationName,
} from '../../evaluate/kept-evaluations.js'
import { hashOf, type RowResult, refuseOtherRows } from '../../evaluate/row-results.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { PromptSource } from '../../sources/open.js'
import type { EvaluateOptions, EvaluateResult } from './evaluate.js'
import { type Subject, settingsOf } from './subject.js'

/**
 * Where an evaluation is kept: files that a call names, or those of its own in the run's folder. Evaluations of other rows, of another
 * prompt or with other settings get other files.
 */
export interface Place {
  /** What it is called. */
  readonly name: string
  /** For each row's result. */
  readonly rows: string | undefined
  /** For the page. */
  readonly report: string | undefined
  /** Rows of the run's other evaluations whose texts can be read again. */
  earlier(): Promise<readonly RowResult[]>
  /** Keeps what it came to in the run's folder. */
  keep(result: Pick<EvaluateResult, 'condition' | 'rows' | 'metrics' | 'control' | 'verdict'>): Promise<void>
  /** Called where it came to nothing. */
  drop(): Promise<void>
}

/** @throws what reading the data file throws, and writing into the run's folder */
export async function placeOf(subject: Subject, options: EvaluateOptions, model: LanguageModel): Promise<Place> {
  const { source, name: wanted, dataName: data } = subject
  const { folder: run } = source
  const { rows, report } = options
  if (options.keep !== true || run === undefined)
    return { name: wanted, rows, report, earlier: async () => [], keep: async () => {}, drop: async () => {} }
  const about: KeptEvaluation = {
    ...{ name: wanted, data, key: await keyOf(subject, options, model) },
    settings: Object.fromEntries(settingsOf(subject, options).map(([name, value]) => [name, String(value)])),
  }
  const name = await takeEvaluationName(run, about)
  return {
    name,
    rows: rows ?? evaluationFile(run, name, '.jsonl'),
    report: report ?? evaluationFile(run, name, '.html'),
    earlier: () => generatedRows(run),
    async keep({ condition, rows, metrics, control, verdict }) {
      const against = control && { name: control.name, metrics: control.metrics }
      const outcome = { ended: new Date().toISOString(), rows, condition, metrics, control: against, verdict }
      await keepOutcome(run, { ...about, name, outcome })
    },
    drop: () => dropEvaluation(run, name),
  }
}

/** @throws GradpromptError `file-exists` where results would take the place of those of other rows */
export async function keepsOthers(
  { rows }: Pick<Place, 'rows'>,
  all: readonly DataRecord[],
  scored: readonly DataRecord[],
): Promise<void> {
  if (rows === undefined) return
  const known = new Set(scored)
  await refuseOtherRows(rows, ({ index, row }) => {
    const record = all[index]
    return record !== undefined && known.has(record) && (row === undefined || row === hashOf(record))
  })
}

/** A hash of all that decides which rows are scored and what becomes of them. */
async function keyOf(subject: Subject, options: EvaluateOptions, model: LanguageModel): Promise<string> {
  const {
    source,
    against,
    data,
    template,
    answer,
    labels,
    aggregate,
    isFreeText,
    columns,
    instruction,
    seed,
    testTime,
    strategy,
  } = subject
  const { answerType, calibrate, choose, limit, truncate, generate, task, examples, shots, scorer } = options
  const { maxNewTokens, temperature, weights, choices, regex, jsonSchema, rejectedMass, contrast, ensemble } = options
  const named = (given: unknown) =>
    typeof given === 'string'
      ? given
      : typeof given === 'function'
        ? String(given)
        : (given as { name?: string } | undefined)?.name
  return hashOf({
    model: model.hash,
    prompt: identityOf(source),
    data: typeof data === 'string' ? await hashOfData(await localFiles(data)) : data.sha256,
    ...{ template, answer, labels, aggregate, isFreeText, columns, instruction, seed },
    ...{ answerType, calibrate, choose, limit, truncate, generate, shots, maxNewTokens, temperature, weights },
    ...{ choices, regex, jsonSchema, rejectedMass, contrast, ensemble, testTime, strategy: strategy?.key },
    ...(against && { against: [identityOf(against), named(options.against)] }),
    ...{ task: named(task), scorer: named(scorer), examples: named(examples) ?? (examples === undefined ? undefined : 'rows') },
  })
}

/** What tells a prompt apart. */
export function identityOf({ file, found }: PromptSource): unknown {
  if (found !== undefined) return found.ids
  if (file === undefined) return null
  const hash = createHash('sha256')
  for (const { name, data } of file.tensors)
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return [file.method, hash.digest('hex')]
}
