import { readFile } from 'node:fs/promises'
import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import { type ColumnsGiven, columnsGiven, nameInData, refuseUnmeant, withMeant } from '../../data/columns-given.js'
import { readRecords, readText, sizeOf } from '../../data/read.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { columnValue, type DataRecord } from '../../data/readers/records.js'
import { readTask } from '../../data/task.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { requireColumns } from '../../data/texts/template.js'
import { GradpromptError, refuseAborted, shellWord } from '../../errors.js'
import { centred } from '../../evaluate/acquisition.js'
import { farthestLabels } from '../../evaluate/foreign/labels.js'
import { thresholdFor } from '../../evaluate/foreign/scores.js'
import { hashOf } from '../../evaluate/row-results.js'
import { exists } from '../../files.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../../model/with-model.js'
import { shuffle, streams } from '../../random.js'
import { replaceText } from '../../store/atomic.js'
import { freeFolder } from '../../store/run-folder.js'
import type { Hearer } from '../../store/run-session.js'
import type { ConfigInput } from '../../train/config.js'
import type { GradpromptEvent, ScoringProgress } from '../../train/events.js'
import { generate } from '../generation/generate.js'
import { refuseOthersThanRuns, refuseRunOverOthers, tuneOrGoOn } from '../going-on.js'
import { embeddings } from '../prediction/embeddings.js'
import { type Rejection, writeRejection } from '../prediction/rejection.js'
import { readTunedRun, type TunedRun } from '../runs/configs.js'
import type { TuneRun } from '../tune.js'
import { labelScores, type Measured, type MeasureOptions, measure } from './measure.js'
import { refuseWithoutRoom } from './room.js'
import { topics } from './topics.js'

/** A classifier that learns what belongs to none of its classes (LAPT, arXiv 2407.08966): the library's `reject`. */

export type RejectProgress = Omit<ScoringProgress, 'what'> & { readonly what: string }

export interface RejectOptions extends Hearer<GradpromptEvent, RejectProgress>, ModelSettings {
  /** The folder of a finished run that chooses between classes. */
  readonly run: string
  /** By default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** Foreign labels that are mined; by default 40. */
  readonly labels?: number | undefined
  /** Words that these are chosen from, one a line; by default common nouns. */
  readonly words?: string | undefined
  /** Texts that the model writes about each foreign label; by default 4. */
  readonly texts?: number | undefined
  /** The same about each class, which stand beside the run's own rows so that the writer's style tells nothing; by default as many. */
  readonly knownTexts?: number | undefined
  /** Of a written text; by default 48. */
  readonly maxNewTokens?: number | undefined
  /** Groups that foreign labels are dealt into when a row is scored; by default 4. */
  readonly groups?: number | undefined
  /** The share of known rows that the threshold lets pass; by default 0.95. */
  readonly share?: number | undefined
  /** By default 100. */
  readonly steps?: number | undefined
  /** By default 8. */
  readonly batchSize?: number | undefined
  readonly learningRate?: number | undefined
  /** Files of foreign texts, of which nothing is learned: what is learned is measured by them, beside the run's own prompt. */
  readonly foreign?: readonly string[] | undefined
  /** Names of the columns of `foreign` and `data`, where they have no header, or for a column of the template the one of the data. */
  readonly columns?: ColumnsGiven | undefined
  /** Known rows to measure by; by default the run's test rows, or its dev rows. */
  readonly data?: string | undefined
  readonly seed?: number | undefined
  /** The run folder; by default a new name under runs/. The texts stand beside it. */
  readonly out?: string | undefined
}

export interface RejectingRun extends TuneRun {
  readonly rejection: Rejection
  /** The foreign labels, the farthest first. */
  readonly foreignLabels: readonly string[]
  /** The rows that were learned from. */
  readonly texts: string
  /** For each file of `foreign`. */
  readonly measured: readonly Measured[]
}

const names = {
  ...modelSettingNames, run: true, model: true, labels: true, words: true, texts: true, knownTexts: true, maxNewTokens: true,
  groups: true, share: true, steps: true, batchSize: true, learningRate: true, foreign: true, data: true, columns: true, seed: true, out: true,
  onEvent: true, onProgress: true, signal: true,
} satisfies OptionNames<RejectOptions> // biome-ignore format: a list

/** Known rows that are learned beside the written texts, at least; otherwise as many as there are of these. */
const leastKnownRows = 64
/** Held-out known rows, by which the threshold is set. */
const mostDevRows = 200

/**
 * Teaches the classifier of a run to say that a row is of none of its classes. Labels far from the classes are mined by the model's own
 * embeddings, the model writes texts about them, and two prompts (`method: lapt`), one for the classes and one for these labels, learn to
 * choose between all of them. What comes of it is a run of its own, with a threshold that 95 % of held-out known rows reach:
 * `predict` with `reject` goes by it.
 *
 * ```ts
 * const { folder, measured } = await reject({ run: 'runs/agnews', foreign: ['reviews.tsv'] })
 * for await (const { prediction, known } of predict({ prompt: folder, data, reject: true })) …
 * ```
 *
 * @throws GradpromptError `free-text` (a run without classes), `unsupported-template` (more columns than one), `invalid-option`,
 *   `nothing-written`, and as `tune` and `generate` do
 */
export async function reject(options: RejectOptions): Promise<RejectingRun> {
  refuseUnknown('reject', options, names)
  const { labels: count = 40, texts = 4, groups = 4, share = 0.95, maxNewTokens = 48, signal, onProgress, onEvent } = options
  const { knownTexts = texts, seed = defaultSeed } = options
  requireCounts({ labels: count, texts, groups, maxNewTokens })
  requireCounts({ knownTexts }, 0)
  requireShare(share)
  const run = await readTunedRun(options.run)
  const column = textColumn(run)
  const words = options.words === undefined ? topics : await wordsIn(options.words)
  const warn = (warning: DataNotice) => onEvent?.({ event: 'warning', ...warning })
  const textsIn = (path: string, names?: readonly string[]) => rowsIn(path, column, { columns: options.columns ?? names, warn })
  // Hours of learning later is too late to hear of it.
  const foreign: MeasureOptions['foreign'][] = []
  for (const path of options.foreign ?? []) foreign.push({ name: path, records: await textsIn(path) })
  const out = options.out ?? (await freeFolder('runs', 'rejecting'))
  await refuseOthersThanRuns(out)
  const task = await readTask(run.config)
  const known = task.labels!
  const tested =
    options.data === undefined
      ? task.test.length > 0
        ? task.test
        : task.scored
      : await textsIn(options.data, run.config.data.columns)
  if (known.verbalizer !== undefined)
    throw new GradpromptError('invalid-config', 'a class of the run has several words', {
      expected: 'one word for each class',
      hint: 'tune it with one word for each class first',
    })
  const classes = Object.fromEntries(known.words)
  await using used = await useModel(options.model ?? run.config.model, firstOf(options, run.config))
  const { model } = used
  const progress = (what: string) => (done: number, total: number) => onProgress?.({ what, done, total })

  const taken = new Set([...known.words.keys(), ...known.candidates].map(word => word.toLowerCase()))
  const all = [...words.filter(word => !taken.has(word.toLowerCase())), ...known.candidates]
  const points = centred(await embeddings(model, all.map(word => ` ${word}`), { signal, onProgress: (done, total) => progress('labels')(done, total) })) // biome-ignore format: one call
  const embedded = all.map((label, i) => ({ label, embedding: points[i]! }))
  const candidates = embedded.slice(0, -known.candidates.length)
  const foreignLabels = farthestLabels(candidates, embedded.slice(-known.candidates.length), count)
  const labelWords = { ...classes, ...Object.fromEntries(foreignLabels.map(label => [label, label])) }
  const { train, dev } = knownParts(task, seed)
  const held = shuffle(dev, seed, streams.foreign, 3).slice(0, mostDevRows)
  refuseWithoutRoom(run.config, labelWords, held, model)

  const decisive = [model.hash, run.config, foreignLabels, texts, knownTexts, maxNewTokens, seed]
  const path = (part: string) => `${out}-${part}-${hashOf(decisive).slice(0, 8)}.jsonl`
  await refuseRunOverOthers(out, path('train'))
  const written = await write(path('texts'), [
    ...foreignLabels.flatMap(label => Array.from({ length: texts }, () => ({ label, about: label }))),
    ...[...known.words].flatMap(([value, word]) => Array.from({ length: knownTexts }, () => ({ label: value, about: word }))),
  ], { model, seed, maxNewTokens, signal, onProgress: progress('texts') }) // biome-ignore format: rows, then how
  refuseAborted(signal)
  const asRow = ({ label, text }: Written) => ({ [column]: text, [known.column]: label })
  const own = ({ [column]: text, [known.column]: label }: DataRecord) => ({ [column]: text!, [known.column]: label! })
  const mixed = shuffle(written, seed, streams.foreign, 1)
  const aside = Math.ceil(mixed.length / 8)
  const learned = shuffle(train, seed, streams.foreign, 2).slice(0, Math.max(leastKnownRows, written.length))
  await replaceText(path('train'), lines([...learned.map(own), ...mixed.slice(aside).map(asRow)]))
  await replaceText(path('dev'), lines([...held.map(own), ...mixed.slice(0, aside).map(asRow)]))

  const rejecting = await tuneOrGoOn(
    {
      ...configOf(run, known.candidates),
      model,
      data: {
        train: path('train'),
        dev: path('dev'),
        labels: labelWords,
      },
      train: {
        steps: options.steps ?? 100,
        batchSize: options.batchSize ?? 8,
        ...(options.learningRate !== undefined && { learningRate: options.learningRate }),
        truncate: true,
        loss: { type: 'class-cross-entropy' },
      },
      seed,
      out,
    },
    { onEvent, onProgress, signal },
  )
  const rejection = { known: [...known.candidates], groups, seed, share, rows: held.length, threshold: 0 }
  const scored = await labelScores(model, { prompt: out }, held.map(own), { signal, onProgress: progress('threshold') })
  const threshold = thresholdFor(
    scored.map(row => row.known(rejection)),
    share,
  )
  await writeRejection(out, { ...rejection, threshold })
  const measured: Measured[] = []
  for (const rows of foreign)
    measured.push(await measure(model, { before: options.run, after: out, rejection, foreign: rows, known: tested, column, seed, signal, onProgress: progress('rows') })) // biome-ignore format: one call
  return { ...rejecting, rejection: { ...rejection, threshold }, foreignLabels, texts: path('train'), measured }
}

/** What the run had, without what the new one decides for itself. */
function configOf(
  { config, folder, prompt }: TunedRun,
  candidates: readonly string[],
): Omit<ConfigInput, 'data' | 'train' | 'model' | 'families'> {
  // How the model is opened is decided: it is open.
  const { template, answer, answerEnd, evaluate, control } = config
  const rows = prompt.tensors.find(({ name, shape }) => name === 'prompt' && shape.length === 2)
  const method: ConfigInput['method'] = {
    type: 'lapt',
    known: [...candidates],
    // Both begin where the run has come to, if that is rows at the input.
    ...(rows !== undefined && prompt.numVirtualTokens > 0
      ? { numVirtualTokens: prompt.numVirtualTokens, init: { type: 'runs', from: [folder], mix: 'one' } }
      : {}),
  }
  return { template, answer, answerEnd, evaluate, control, method, answerType: 'classes' }
}

/** Dev rows of the run, or an eighth of its training rows. */
function knownParts(
  { train, dev }: { readonly train: readonly DataRecord[]; readonly dev: readonly DataRecord[] },
  seed: number,
) {
  if (dev.length > 0) return { train, dev }
  const mixed = shuffle(train, seed, streams.foreign, 4)
  const aside = Math.max(1, Math.ceil(mixed.length / 8))
  return { train: mixed.slice(aside), dev: mixed.slice(0, aside) }
}

/** The only column that the template has. @throws GradpromptError `free-text`, `unsupported-template` */
function textColumn({ config, prompt }: TunedRun): string {
  if (prompt.labels === undefined)
    throw new GradpromptError('free-text', 'a run without classes has no "none of these"', {
      found: 'a prompt whose answers are free text',
      expected: 'a run with labels',
    })
  const { columns, conversations } = compileMessages(config.template)
  const [column, ...others] = columns
  if (column !== undefined && others.length === 0 && conversations.length === 0) return column
  throw new GradpromptError('unsupported-template', 'texts are written for one column of the template', {
    found: columns.length === 0 ? 'none' : columns.join(', '),
    expected: 'a template with one column',
  })
}

/** Rows of a file that have the text that is asked about. @throws GradpromptError `missing-column`, and as reading data does */
async function rowsIn(
  path: string,
  column: string,
  { columns, warn }: { readonly columns: ColumnsGiven | undefined; readonly warn: (warning: DataNotice) => void },
): Promise<readonly DataRecord[]> {
  const given = columnsGiven(columns)
  refuseUnmeant(given, [column])
  const needed = [nameInData(given, column)]
  const table = await readRecords(path, { columns: given.names, needed, onNotice: warn })
  requireColumns(needed, table.columns, `${path}: the template`, () => otherName(column))
  const records = withMeant(table.records, given)
  for (const [i, record] of records.entries()) columnValue(record, column, i)
  return records
}

const otherName = (column: string) =>
  `say which column is meant: columns (--columns ${shellWord(`${column}=COLUMN`)}), or of a file without a header which there are (--columns ${column},label)`

/** @throws GradpromptError `empty-text` */
async function wordsIn(path: string): Promise<string[]> {
  const words = (await readText(path, await sizeOf(path)))
    .split('\n')
    .map(word => word.trim())
    .filter(word => word !== '')
  if (words.length === 0) throw new GradpromptError('empty-text', `${path} holds no words`, { expected: 'a word or two a line' })
  return words
}

/** @throws GradpromptError `invalid-option` */
function requireShare(share: number): void {
  if (share > 0 && share <= 1) return
  throw new GradpromptError('invalid-option', 'share is not valid', { found: String(share), expected: 'more than 0, at most 1' })
}

interface Written {
  readonly label: string
  readonly text: string
}

interface WriteOptions {
  readonly model: LanguageModel
  readonly seed: number
  readonly maxNewTokens: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: (done: number, total: number) => void
}

/** Has texts written about labels, into a file where the same call finds them again. @throws GradpromptError `nothing-written` */
async function write(
  path: string,
  asked: readonly { readonly label: string; readonly about: string }[],
  { model, ...settings }: WriteOptions,
): Promise<Written[]> {
  const chat = model.tokenizer.chatTemplate !== undefined
  const prompts = asked.map(({ about }, i) => ({ prompt: asks(about, i, chat) }))
  if (!(await exists(path))) {
    await replaceText(`${path}.asked`, lines(prompts))
    await generate.toFile({
      model,
      input: `${path}.asked`,
      output: path,
      chat,
      temperature: 0.9,
      ...(!chat && { stop: ['\n'] }),
      ...settings,
    })
  }
  const said = (await readFile(path, 'utf8')).trimEnd().split('\n')
  const seen = new Set<string>()
  const rows = said.flatMap((line, i): Written[] => {
    const text = (JSON.parse(line) as { readonly text: string }).text.replaceAll(/\s+/g, ' ').trim()
    if (text === '' || seen.has(text) || asked[i] === undefined) return []
    seen.add(text)
    return [{ label: asked[i].label, text }]
  })
  if (rows.length >= 2) return rows
  throw new GradpromptError('nothing-written', 'the model wrote no texts to learn from', {
    found: `${rows.length} that differ`,
    expected: 'at least 2',
    hint: 'more labels or texts, or a larger model',
  })
}

/** What is asked for, in turn, so that texts are of several kinds. */
const kinds = ['a short text', 'two sentences', 'a short news item', 'an opinion'] as const

function asks(about: string, place: number, chat: boolean): string {
  const kind = kinds[place % kinds.length]!
  return chat ? `Write ${kind} about ${about}. Write the text alone.` : `Here is ${kind} about ${about}:`
}

const lines = (rows: readonly object[]) => rows.map(row => `${JSON.stringify(row)}\n`).join('')
