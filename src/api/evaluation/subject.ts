import { defaultSeed } from '../../config/call-options.js'
import {
  type ColumnsGiven,
  columnsGiven,
  nameInData,
  refuseUnmeant,
  tableWithMeant,
  withMeant,
} from '../../data/columns-given.js'
import { isHubData } from '../../data/hub-data.js'
import { inMemory, type MemoryRows, readMemoryRows, takeRows } from '../../data/memory-rows.js'
import { type DataNotice, readRecords, sizeOf } from '../../data/read.js'
import type { DataRecord } from '../../data/readers/records.js'
import { namedColumns, requireTaskColumns, type TaskTexts } from '../../data/task-columns.js'
import type { RunTask } from '../../data/task-config.js'
import { type AnswerEnd, resolveAnswerEnd } from '../../data/texts/answer-end.js'
import type { Encoder } from '../../data/texts/encoder.js'
import type { LabelWords } from '../../data/texts/labels.js'
import { usablePreferences } from '../../data/texts/preferences.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import type { Aggregate } from '../../data/texts/verbalizer.js'
import { GradpromptError } from '../../errors.js'
import { evaluationName } from '../../evaluate/by-generation.js'
import { exists } from '../../files.js'
import type { LanguageModel } from '../../model/language-model.js'
import { ownCommand } from '../../own-command.js'
import type { GeneratedAnswers } from '../../report/evaluation.js'
import { openPrompt, type PromptSource } from '../../sources/open.js'
import type { ActiveStrategy } from '../../strategies/asking.js'
import { strategyOf } from '../../strategies/index.js'
import { loadConfigEntries, parseConfig } from '../../train/config.js'
import { describeTestTime, type TestTimeOptions, testTimeOptions } from '../../train/test-time/options.js'
import { otherSource } from '../generation/contrast.js'
import { knownAnswers } from './answers.js'
import type { EvaluateOptions, EvaluateResult } from './evaluate.js'

/**
 * What an evaluation is of, once a call, its config and the prompt's run have each said their part: the one place that knows which of
 * them goes first. A call's word goes before the prompt file's, that before the config's.
 */
export interface Subject {
  readonly source: PromptSource
  /** The prompt that answers are chosen against. */
  readonly against: PromptSource | undefined
  readonly config: RunTask | undefined
  readonly modelGiven: LanguageModel | string
  readonly data: string | MemoryRows
  /** The file's path, or that rows were in memory. */
  readonly dataName: string
  readonly template: Template | undefined
  readonly answer: string | undefined
  readonly labels: LabelWords | undefined
  readonly aggregate: Aggregate | undefined
  /** Answers are free text, however few there are at hand. */
  readonly isFreeText: boolean
  /** Why the training rows, which would have said what the answers are, did not. */
  readonly unread?: unknown
  /** How answers are found with several calls. */
  readonly strategy: ActiveStrategy | undefined
  /** What `answerEnd` says, or what the prompt was learned with. */
  readonly answerEnd: string | { readonly learned: AnswerEnd | undefined }
  readonly columns: ColumnsGiven | undefined
  readonly instruction: string | undefined
  readonly seed: number
  readonly batchSize: number | undefined
  /** What the evaluation is called. */
  readonly name: string
  /** How the prompt is tuned on the rows that it answers, where it is. */
  readonly testTime: TestTimeOptions | undefined
}

/** What a way of judging comes to. */
export interface Scored {
  readonly result: Omit<EvaluateResult, 'model' | 'data' | 'rowsFile' | 'report'>
  /** For the page. */
  readonly generated?: GeneratedAnswers | undefined
}

/** @throws GradpromptError `missing-option`, `file-not-found`, `invalid-option`, and as `openPrompt` and `parseConfig` do */
export async function subjectOf(options: EvaluateOptions): Promise<Subject> {
  refuseUnreadEnsemble(options)
  const source = await openPrompt(options.prompt, options)
  const against = await otherSource(options)
  for (const notice of [source.notice, against?.notice]) if (notice !== undefined) options.onWarning?.(notice)
  const { file, folder, kind } = source
  const isGiven = options.config !== undefined && kind !== 'found'
  const given = isGiven ? parseConfig(await loadConfigEntries(options.config)) : undefined
  const config: RunTask | undefined = given ?? source.task
  if (kind === 'vectors' && options.instruction !== undefined && options.control !== true && options.generate !== true)
    refuseUnreadInstruction(options)
  const data = options.data ?? [config?.data.test, config?.data.dev].find(path => path !== undefined && path !== inMemory)
  if (data === undefined) {
    throw new GradpromptError('missing-option', 'there are no rows to score', {
      found: folder === undefined ? 'no data' : 'no data, and the run has no test or dev file',
      expected: '--data FILE, or data: a file or rows',
      // Rows that were set aside are no file; the run has scored them already.
      ...(folder !== undefined &&
        config?.data.split !== undefined && {
          hint: `the rows that data.split set aside were scored when ${folder} ended: ${ownCommand`inspect ${folder}`}, and report.html in it, show what they came to`,
        }),
    })
  }
  if (typeof data === 'string') await refuseAbsent(data, options.data === undefined ? folder : undefined)
  const dataName = typeof data === 'string' ? data : inMemory
  const name = evaluationName(dataName, typeof options.task === 'object' ? options.task.name : options.task).replaceAll(' ', '-')
  return {
    source,
    against,
    config,
    modelGiven: options.model ?? config?.model ?? source.base ?? missing('model'),
    data: typeof data === 'string' ? data : await takeRows(data, 'rows'),
    dataName,
    template: options.template ?? source.template ?? (file?.template as Template | undefined) ?? config?.template,
    answer: options.answer ?? file?.answer ?? config?.answer,
    ...(await knownAnswers(options, source, config)),
    strategy: await strategyOf(options.strategy),
    aggregate: options.aggregate ?? file?.verbalizer?.aggregate ?? config?.verbalizer?.aggregate,
    answerEnd: endSaid(options, source, config),
    columns: options.columns ?? config?.data.columns,
    // Words with places for values are the template itself.
    instruction: options.instruction ?? (source.template === undefined ? source.text : undefined),
    seed: options.seed ?? file?.seed ?? config?.seed ?? defaultSeed,
    batchSize: options.batchSize ?? config?.evaluate.batchSize,
    name,
    testTime: testTimeOptions(options.testTime, config?.train?.templates),
  }
}

/**
 * Before a model is opened for it.
 * @param run whose own file it is, where no other was named
 * @throws GradpromptError `file-not-found`
 */
async function refuseAbsent(data: string, run: string | undefined): Promise<void> {
  if (isHubData(data)) return
  if (run === undefined || (await exists(data))) await sizeOf(data)
  else
    throw new GradpromptError('file-not-found', `the rows that ${run} was to be scored on cannot be found`, {
      found: `nothing at ${data}, nor where it was seen from the run`,
      expected: 'the test or dev file that the run began with',
      hint: `${ownCommand`evaluate ${run} --data FILE`} says where it is now, or names other rows`,
    })
}

function endSaid(
  { answerEnd }: EvaluateOptions,
  { file, kind }: PromptSource,
  config: RunTask | undefined,
): Subject['answerEnd'] {
  if (answerEnd !== undefined) return answerEnd
  if (file !== undefined) return { learned: file.answerEnd }
  return config?.answerEnd ?? (kind === 'vectors' ? 'none' : 'auto')
}

/**
 * What ends the answers that are scored.
 * @throws GradpromptError `invalid-config`
 */
export const endOf = ({ answerEnd }: Subject, template: Template, tokenizer: Encoder): AnswerEnd | undefined =>
  typeof answerEnd === 'object' ? answerEnd.learned : resolveAnswerEnd({ answerEnd, template }, tokenizer)

/** @throws GradpromptError as reading data does, `missing-column` */
export async function recordsOf(
  { data, columns: given, config }: Subject,
  texts: TaskTexts,
  onWarning?: EvaluateOptions['onWarning'],
): Promise<readonly DataRecord[]> {
  const columns = columnsGiven(given)
  const needed = namedColumns(texts)
  refuseUnmeant(columns, needed)
  const options = { columns: columns.names, task: config?.data.task, needed: needed.map(name => nameInData(columns, name)) }
  const usable = (records: readonly DataRecord[], path: string, notices: readonly DataNotice[] = []) => {
    const found = usablePreferences(records, texts, path)
    for (const notice of [...notices, ...found.notices]) onWarning?.(notice)
    return found.records
  }
  if (typeof data !== 'string') return usable(withMeant((await readMemoryRows(data, options)).records, columns), inMemory)
  try {
    const file = tableWithMeant(await readRecords(data, options), columns)
    requireTaskColumns(texts, file, data)
    return usable(file.records, data, file.notices)
  } catch (error) {
    if (isAboutColumns(error)) await refuseUnlabelled(data, texts)
    throw error
  }
}

const isAboutColumns = (error: unknown) =>
  error instanceof GradpromptError && ['missing-column', 'header-mismatch'].includes(error.code)

/** @throws GradpromptError `no-labels` where a file has all that is asked, and nothing of what is answered */
async function refuseUnlabelled(path: string, texts: { readonly template: Template; readonly answer: string }): Promise<void> {
  const file = await readRecords(path).catch(() => undefined)
  if (file === undefined) return
  const asked = compileMessages(texts.template).columns
  const answers = compileTemplate(texts.answer).columns.filter(column => !asked.includes(column))
  const has = (column: string) => file.columns.includes(column)
  if (answers.length === 0 || !asked.every(has) || answers.some(has)) return
  throw new GradpromptError('no-labels', `${path} has no labels, which an evaluation compares with`, {
    found: `the columns ${file.columns.map(column => JSON.stringify(column)).join(', ')}`,
    expected: `${answers.map(column => JSON.stringify(column)).join(', ')} beside them: the right answer of each row`,
    hint: `rows without labels are answered, and not scored, by ${ownCommand`predict RUN FILE`}`,
  })
}

/** What a call has set, and what of the run's own decides, by name. */
export function settingsOf(
  { source, template, answer, answerEnd, seed, testTime, strategy }: Subject,
  options: EvaluateOptions,
): (readonly [name: string, value: string])[] {
  const { prompt, task, instruction, choose, limit, examples, shots, scorer, maxNewTokens, temperature } = options
  const { strength, ensemble, against, contrast, choices, regex, jsonSchema } = options
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
    ['strength', strength],
    ['ensemble', ensemble && `${ensemble} prompts`],
    ['against', named(against)],
    ['contrast', contrast],
    [
      'strategy',
      strategy &&
        Object.entries(strategy.options)
          .map(([name, value]) => (name === 'type' ? value : `${name} ${value}`))
          .join(', '),
    ],
    ['test-time tuning', testTime && describeTestTime(testTime)],
    ['choices', choices?.join(', ')],
    ['regex', regex],
    ['JSON Schema', jsonSchema === undefined ? undefined : JSON.stringify(jsonSchema)],
  ]
  return given.flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as const]))
}

/** @throws GradpromptError `missing-option` */
export function missing(option: 'model' | 'template' | 'answer'): never {
  throw new GradpromptError('missing-option', `there is no ${option} to go by`, {
    found: 'none, and no run to take it from',
    hint:
      option === 'template' ? 'for example template: "Review: {text}\\nSentiment:"' : `give ${option}, or a run as the prompt`,
  })
}

/** @throws GradpromptError `invalid-option` */
function refuseUnreadEnsemble({ ensemble, testTime, generate, task, scorer, strategy }: EvaluateOptions): void {
  const [beside] = Object.entries({ testTime, generate, task, scorer, strategy }).filter(
    ([, value]) => value !== undefined && value !== false,
  )
  if (ensemble === undefined || beside === undefined) return
  throw new GradpromptError('invalid-option', 'an ensemble averages the shares of classes, by their likelihoods', {
    found: `ensemble beside ${beside[0]}`,
    expected: 'one of the two',
  })
}

function refuseUnreadInstruction(options: EvaluateOptions): void {
  const { task, examples, shots, scorer, maxNewTokens, temperature, weights, choices, regex, jsonSchema } = options
  const generated = [task, examples, shots, scorer, maxNewTokens, temperature, weights, choices, regex, jsonSchema]
  if (generated.some(option => option !== undefined)) return
  throw new GradpromptError('invalid-option', 'an instruction beside a prompt of vectors is what the control is told', {
    found: 'instruction without control',
    expected: 'control: true, or no instruction',
    hint: 'an instruction that the prompt itself is to have belongs into the template',
  })
}
