import { createHash } from 'node:crypto'
import { cutNotices } from '../data/checks.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { DataRecord } from '../data/readers/records.js'
import { RowBuilder } from '../data/rows/rows.js'
import { sideOf, type Task } from '../data/task.js'
import { resolveAnswerEnd } from '../data/texts/answer-end.js'
import { prependInstruction, type Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { likelihoodResults } from '../evaluate/likelihood-results.js'
import type { ScoredPart } from '../evaluate/predictions.js'
import type { RowResult } from '../evaluate/row-results.js'
import { contentFreeRow, type Metrics, type ScoreOptions, scoreRows } from '../evaluate/score.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import type { LanguageModel } from '../model/language-model.js'
import { promptMethods } from '../prompts/methods/index.js'
import type { Config } from './config.js'
import type { Control, ControlEvent, ControlScores } from './events.js'
import type { Job, TuneSession } from './job.js'
import type { TeacherModel } from './study/teacher-model.js'

/** What the base model is told when no one has said it better: to answer with one of the label words. */
export function controlInstruction(config: Config, task: Pick<Task, 'labels'>): string | null {
  if (config.control.instruction !== undefined) return config.control.instruction
  if (task.labels === undefined) return null
  const words = task.labels.candidates
  const listed = words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
  return `Classify the text. Answer with one word: ${listed}.`
}

/** What rows are made with. */
interface Reader {
  readonly tokenizer: Tokenizer
  readonly contextLength: number
}

/** An instruction takes room, so here a text that no longer fits is cut. */
const controlRows = (config: Config, labels: Task['labels'], template: Template, { tokenizer, contextLength }: Reader) =>
  new RowBuilder(tokenizer, {
    template,
    answer: config.answer,
    labels,
    contextLength,
    numVirtualTokens: 0,
    truncate: true,
    end: resolveAnswerEnd(config, tokenizer),
    // The base model chooses among the same labels.
    tasks: promptMethods.find(config.method.type)?.tasks?.(config.method),
    ...sideOf(config),
  })

/**
 * Whether the base model can read the rows behind its instruction, and how many of them not as a whole.
 * @throws GradpromptError `row-too-long` where the instruction leaves no room
 */
export function controlNotices(config: Config, task: Pick<Task, 'labels' | 'scored' | 'test'>, reader: Reader): DataNotice[] {
  const instruction = controlInstruction(config, task)
  if (instruction === null) return []
  const builder = controlRows(config, task.labels, prependInstruction(config.template, instruction), reader)
  try {
    const cut = [task.scored, task.test].flatMap(records => records.filter((record, i) => builder.check(record, i)))
    return cutNotices(cut.length, ' where the base model is told its instruction')
  } catch (error) {
    throw error instanceof GradpromptError && error.code === 'row-too-long' ? instructionTooLong(instruction, error) : error
  }
}

/** The base model's figures, and what became of each row. */
export interface ScoredControl {
  readonly scores: ControlScores
  readonly rows: { readonly control: readonly RowResult[]; readonly plain: readonly RowResult[] }
}

/**
 * Scores the base model on the rows that the prompt is scored on: with an instruction before the template, and without.
 * @param other the teacher's model, which is scored without one
 */
export async function scoreControl(
  other: TeacherModel | undefined,
  model: LanguageModel,
  config: Config,
  task: Pick<Task, 'labels'>,
  records: readonly DataRecord[],
  options: ScoreOptions,
): Promise<ScoredControl> {
  const instruction = controlInstruction(config, task)
  const reader = { tokenizer: model.tokenizer, contextLength: model.config.maxPositionEmbeddings }
  const score = async (template: Template, by = model): Promise<{ metrics: Metrics; results: readonly RowResult[] }> => {
    const builder = controlRows(config, task.labels, template, reader)
    const rows = records.map((record, i) => builder.scoring(record, i))
    const contentFree = contentFreeRow(config.evaluate.calibrate, builder, task.labels)
    const scored = await scoreRows(by, undefined, rows, task.labels, { ...options, contentFree, seed: config.seed })
    const { labels } = task
    const results = likelihoodResults(scored, { records, rows, labels, template: config.template, answer: config.answer })
    return { metrics: scored.metrics, results }
  }
  // A template may leave everything to the soft prompt: without one there is then nothing to predict from.
  const plain = await score(config.template).catch((error: unknown) => {
    if (error instanceof GradpromptError && error.code === 'empty-context') return { metrics: {}, results: [] }
    throw error
  })
  const teacher = other && (await score(config.template, await other.open()))
  const control = instruction === null ? plain : await score(prependInstruction(config.template, instruction))
  return {
    scores: {
      metrics: control.metrics,
      plain: { metrics: plain.metrics },
      ...(teacher && { teacher: { metrics: teacher.metrics } }),
    },
    rows: { control: control.results, plain: plain.results },
  }
}

const instructionTooLong = (instruction: string, cause: GradpromptError) =>
  new GradpromptError('row-too-long', "the base model's instruction leaves no room for the rows it is held against", {
    found: `${cause.found} with ${JSON.stringify(instruction.length > 100 ? `${instruction.slice(0, 99)}…` : instruction)}`,
    ...(cause.expected !== undefined && { expected: cause.expected }),
    hint: 'a shorter one: control.instruction (--control.instruction "…")',
    cause,
  })

/** Keeps what the base model came to, for further runs on the same rows. */
export interface ControlStore {
  read(key: string): Promise<ScoredControl | undefined>
  write(key: string, control: ScoredControl): Promise<void>
}

/** `scoreControl`, unless the store has what it comes to. */
export async function keptControl(
  store: ControlStore | undefined,
  ...[other, model, config, task, records, options]: Parameters<typeof scoreControl>
): Promise<ScoredControl> {
  if (store === undefined) return scoreControl(other, model, config, task, records, options)
  const key = controlKey(model, config, task, records)
  const known = await store.read(key)
  if (known !== undefined) return known
  const scored = await scoreControl(other, model, config, task, records, options)
  await store.write(key, scored)
  return scored
}

/** A hash of all that decides the base model's figures: not of what is learned, nor where. */
function controlKey(model: LanguageModel, config: Config, task: Pick<Task, 'labels'>, records: readonly DataRecord[]): string {
  const {
    method,
    train,
    out: _out,
    device: _device,
    threads: _threads,
    memory: _memory,
    keepWeights: _form,
    track: _track,
    ...ofTask
  } = config
  const tasks = promptMethods.find(method.type)?.tasks?.(method)
  const { truncate, loss, distillation } = train
  const decides = [model.hash, model.device, ofTask, tasks, truncate, loss, distillation?.model, task.labels, records]
  return createHash('sha256').update(JSON.stringify(decides)).digest('hex')
}

/** The control on the dev rows: scored once in a run's life, before its first step. */
export async function devControl(
  job: Job,
  session: TuneSession,
  keep: (part: ScoredPart, control: ScoredControl) => Promise<void>,
  scoring: ScoreOptions,
): Promise<Control> {
  const { config, task, model, other } = job
  const instruction = controlInstruction(config, task)
  if (task.scored.length === 0) return { instruction, metrics: {}, plain: { metrics: {} } }
  const known = (await session.readEvents()).find(({ event }) => event === 'control') as ControlEvent | undefined
  if (known !== undefined) return { instruction, ...scoresOf(known) }
  const control = await keptControl(job.controls, other, model, config, task, task.scored, scoring)
  await keep('dev', control)
  session.emit({ event: 'control', instruction, ...control.scores, rows: task.scored.length })
  return { instruction, ...control.scores }
}

const scoresOf = ({ metrics, plain, teacher }: ControlScores): ControlScores => ({ metrics, plain, ...(teacher && { teacher }) })
