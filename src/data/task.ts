import { createHash } from 'node:crypto'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { GradpromptError } from '../errors.js'
import { hashFile } from '../files.js'
import { randomGenerator, streams } from '../random.js'
import { findOverlaps, labelNotices, overlapNotices, preferenceNotices, rowKeys, textNotices } from './checks.js'
import { localFiles } from './hub-data.js'
import { inMemory, type MemoryRows } from './memory-rows.js'
import { readRecords } from './read.js'
import { unreadable } from './readers/input.js'
import type { DataNotice } from './readers/reader.js'
import type { DataRecord } from './readers/records.js'
import { drawExamples, type ExampleRow } from './rows/examples.js'
import { RowBuilder, type RowOptions } from './rows/rows.js'
import { limitRecords, splitRecords } from './split.js'
import { namedColumns, requireTaskColumns } from './task-columns.js'
import type { TaskConfig } from './task-config.js'
import { resolveAnswerEnd } from './texts/answer-end.js'
import type { Encoder } from './texts/encoder.js'
import { decideLabels, findLabels, type LabelSet, labelWordsOf } from './texts/labels.js'
import { type Preferences, usablePreferences } from './texts/preferences.js'
import { compileMessages } from './texts/rendering.js'
import { compileTemplate, type Template } from './texts/template.js'

/** What a config says about data comes to: rows in their parts, the label set, and what is to be said about them. */

export const parts = ['train', 'dev', 'test'] as const
export type Part = (typeof parts)[number]

/** A file as it was read: its digest tells a resumed run whether it is still the same. */
export interface DataSource {
  readonly path: string
  readonly sha256: string
  /** Of rows in memory: how many there were. */
  readonly rows?: number
}

/** What a config's data come to, before any model is opened. */
export interface Task extends Readonly<Record<Part, readonly DataRecord[]>> {
  /** The dev rows that are scored: `evaluate.limit` of them. */
  readonly scored: readonly DataRecord[]
  /** The closed set of answers, where there is one. */
  readonly labels: LabelSet | undefined
  readonly sources: Readonly<Partial<Record<Part, DataSource>>>
  /** What was guessed, and what may be wrong with the rows. */
  readonly notices: readonly DataNotice[]
}

/** Rows of parts that a config calls `rows in memory`. */
export type TaskRows = Readonly<Partial<Record<Part, MemoryRows>>>

/**
 * Reads a config's data files, sets parts of train aside and takes the limits. A limit counts what is left after the split. Which rows
 * are dev and test is a matter of `data.splitSeed` alone, so that runs of different `seed` are scored on the same; which training rows
 * a limit keeps is one of `seed`. Where answers are classes, every part has its share of each.
 * @throws GradpromptError what `readRecords` throws; `rows-needed` where rows were in memory and are not given again; `missing-column`,
 *   `structured-column`, `split-too-large`, `invalid-template`, `too-many-classes`
 */
export async function readTask(config: TaskConfig, inMemoryRows: TaskRows = {}): Promise<Task> {
  const { data, seed, answer, template } = config
  const train = (await readPart(config, 'train', inMemoryRows))!
  const dev = await readPart(config, 'dev', inMemoryRows)
  const test = await readPart(config, 'test', inMemoryRows)
  const { labels, notice } = taskLabels(config, train.records)
  const drawnBy = data.splitSeed ?? seed
  const classOf = (record: DataRecord) => (labels === undefined ? undefined : record[labels.column])
  const split =
    data.split === undefined
      ? { train: train.records, dev: [], test: [] }
      : splitRecords(train.records, data.split, drawnBy, data.splitSeed !== null && labels ? classOf : undefined)
  const limited = (part: Part, records: readonly DataRecord[]) =>
    limitRecords(records, typeof data.limit === 'number' ? data.limit : data.limit?.[part], part === 'train' ? seed : drawnBy)
  const rows = {
    train: limited('train', split.train),
    dev: limited('dev', dev?.records ?? split.dev),
    test: limited('test', test?.records ?? split.test),
  }
  return {
    ...rows,
    scored: limitRecords(rows.dev, config.evaluate.limit, drawnBy),
    labels,
    sources: { train: train.source, ...(dev && { dev: dev.source }), ...(test && { test: test.source }) },
    notices: [
      ...[train, dev, test].flatMap(file => file?.notices ?? []),
      ...conversationNotices(template),
      ...preferenceNotices(train.columns, config, train.source.path),
      ...(notice ? [notice] : []),
      ...textNotices(template, rows),
      ...labelNotices(answer, labels, rows),
      ...overlapNotices(findOverlaps(rows, rowKeys(template, answer)), rows),
    ],
  }
}

async function readPart(config: TaskConfig, part: Part, inMemoryRows: TaskRows) {
  const { data, answer, rejected, thumbs } = config
  const path = data[part]
  if (path === undefined) return undefined
  const templates = templatesOf(config)
  const needed = [...new Set(templates.flatMap(template => namedColumns({ template, answer, rejected, thumbs })))]
  const given = inMemoryRows[part]
  if (path === inMemory && given === undefined) throw rowsNeeded(part)
  if (given?.count === 0) throw noRows(part)
  const local = given ? [path] : await localFiles(path)
  const [file, sha256] = await Promise.all([
    readRecords(given ?? local, { columns: data.columns, task: data.task, needed }),
    given?.sha256 ?? hashOfData(local),
  ])
  // Scoring has the first template alone.
  for (const template of part === 'train' ? templates : templates.slice(0, 1))
    requireTaskColumns({ template, answer, rejected, thumbs }, file, path)
  const { records, notices } = usablePreferences(file.records, config, path, { both: part === 'train' })
  return {
    ...file,
    records,
    notices: [...file.notices, ...notices],
    source: { path, sha256, ...(given && { rows: given.count }) },
  }
}

/** The label set of a task, of whose files the training rows alone are read. @throws GradpromptError as `readTask` does */
export async function readTaskLabels(config: TaskConfig): Promise<LabelSet | undefined> {
  const train = await readPart(config, 'train', {})
  return taskLabels(config, train!.records).labels
}

/** As `decideLabels`; the candidates stand in the order in which a prompt file gives them back. */
function taskLabels({ answer, answerType, data, verbalizer, ...preferences }: TaskConfig, records: readonly DataRecord[]) {
  // Of what people preferred the text counts, however often it stands there.
  if (preferences.rejected !== undefined || preferences.thumbs !== undefined) return { labels: undefined, notice: undefined }
  const { labels: found, notice } = decideLabels(answer, records, { labels: data.labels, answerType })
  return { labels: found && findLabels(answer, labelWordsOf(found), records, verbalizer?.aggregate), notice }
}

const conversationNotices = (template: Template): DataNotice[] =>
  compileMessages(template).conversations.map(column => ({
    code: 'conversations',
    message: `{${column}} holds conversations: the turns before the assistant's last one are the prompt, by the model's chat template`,
  }))

/** What `taskRows` needs to know of a model: also known before its weights are loaded. */
export interface RowLimits {
  readonly tokenizer: Encoder
  readonly contextLength: number
  readonly numVirtualTokens: number
  readonly tasks?: RowOptions['tasks']
  readonly soft?: RowOptions['soft']
  /** The texts that are learned of each record; by default the config's answer alone. */
  readonly learned?: readonly string[]
}

/**
 * The rows of a task, made when asked for; every one of them is checked here.
 * @returns the builder of rows that are scored; those of rows that are learned from: of every template that one may have, that of scoring
 *   first, and for each of them of every text that is learned; and how many rows have to be cut to fit (only with `train.truncate`)
 * @throws GradpromptError `row-too-long`, `unknown-label`, `missing-column`, `special-token-in-data`, `empty-answer`: each names the row;
 *   `invalid-config`
 */
export function taskRows(
  config: TaskConfig,
  task: Pick<Task, Part | 'labels'>,
  { tokenizer, contextLength, numVirtualTokens, tasks, soft, learned }: RowLimits,
): { builder: RowBuilder; builders: readonly RowBuilder[]; truncated: number } {
  const { answer, rejected } = config
  const truncate = config.train?.truncate ?? false
  const end = resolveAnswerEnd(config, tokenizer)
  const isEndNamed = config.answerEnd !== 'auto'
  const common = { labels: task.labels, contextLength, numVirtualTokens, truncate, tasks, soft, end, isEndNamed }
  const builderOf = (template: Template, text: string) =>
    new RowBuilder(tokenizer, { template, answer: text, ...common, ...sideOf(config, text) })
  const texts = learned ?? [answer]
  const builders = templatesOf(config).flatMap(template => texts.map(text => builderOf(template, text)))
  const builder = texts[0] === answer ? builders[0]! : builderOf(config.template, answer)
  const answerColumns = [...compileTemplate(answer).columns, ...compileTemplate(rejected ?? '').columns]
  const markup = specialTokens(tokenizer)
  let truncated = 0
  const check = (builder: RowBuilder, records: readonly DataRecord[]) => {
    for (const [i, record] of records.entries()) {
      if (builder.check(record, i)) truncated++
      // What else can be wrong with a row shows when it is tokenised, and few rows can be wrong: only these are tokenised now.
      const suspicious =
        builder.columns.some(column => markup?.test(record[column]!)) || answerColumns.some(column => record[column] === '')
      if (suspicious) builder.training(record, i)
    }
  }
  for (const records of [task.train, task.dev, task.test]) check(builder, records)
  for (const further of builders) if (further !== builder) check(further, task.train)
  return { builder, builders, truncated }
}

/** What a builder of rows with an answer is told of preferences. */
export function sideOf(
  { answer, rejected, thumbs }: Preferences & { readonly answer: string },
  text = answer,
): Pick<RowOptions, 'other' | 'liked'> {
  if (thumbs !== undefined) return { liked: { column: thumbs } }
  return rejected === undefined ? {} : { other: text === rejected ? answer : rejected, liked: text !== rejected }
}

/** The templates that a training row may have; the first is that of scoring. */
const templatesOf = ({ template, train }: Pick<TaskConfig, 'template' | 'train'>) => [template, ...(train?.templates ?? [])]

/** Which of the templates a row has in an epoch. */
export function drawTemplate(templates: number, { seed, epoch, row }: { seed: number; epoch: number; row: number }): number {
  return templates === 1 ? 0 : uniformInt(randomGenerator(seed, streams.template, epoch, row), 0, templates - 1)
}

/** Draws training rows to show, by seed: so many, or as many as there are. */
export function exampleRows(
  { template, answer, train, seed }: Pick<TaskConfig, 'template' | 'answer' | 'train' | 'seed'>,
  task: Pick<Task, 'train' | 'labels'>,
  { tokenizer, contextLength }: Pick<RowLimits, 'tokenizer' | 'contextLength'>,
): (count: number) => ExampleRow[] {
  const { labels } = task
  const builder = new RowBuilder(tokenizer, {
    template,
    answer,
    labels,
    contextLength,
    numVirtualTokens: 0,
    truncate: train?.truncate ?? false,
  })
  return count => drawExamples(task.train, labels, count, seed).map(i => builder.example(task.train[i]!, i))
}

/** Matches the text of any special token. */
function specialTokens(tokenizer: Encoder): RegExp | undefined {
  const texts = [...tokenizer.specialTokenIds].map(id => tokenizer.decode([id]).trim()).filter(text => text !== '')
  return texts.length === 0 ? undefined : new RegExp(texts.map(text => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'))
}

/** SHA-256 of one file's bytes, or of the hashes of all parts. @throws GradpromptError `file-not-found` */
export async function hashOfData(paths: readonly string[]): Promise<string> {
  const hashes: string[] = []
  for (const path of paths)
    try {
      hashes.push(await hashFile(path))
    } catch (cause) {
      throw unreadable(path, cause)
    }
  return hashes.length === 1 ? hashes[0]! : createHash('sha256').update(hashes.join()).digest('hex')
}

const rowsNeeded = (part: Part) =>
  new GradpromptError('rows-needed', `the ${part} rows were in memory, and no file holds them`, {
    found: `data.${part}: ${inMemory}`,
    expected: 'the same rows once more',
    hint: `hand them over: resume(folder, { data: { ${part}: rows } })`,
  })

const noRows = (part: Part) =>
  new GradpromptError('empty-data', `there are no ${part} rows`, { found: 'no rows', expected: 'at least one row' })
