import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import type { Rows } from '../../data/memory-rows.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { escapeTemplate } from '../../data/texts/template.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import { type MetricValue, wilsonInterval } from '../../evaluate/intervals.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../../model/with-model.js'
import { bundledModel } from '../../package-root.js'
import { shuffle, streams } from '../../random.js'
import { type Diversity, diversityOf } from '../../synthesis/similarity.js'
import { evaluate } from '../evaluation/evaluate.js'
import { refuseExisting } from '../prediction/output.js'
import { Collection, type KeptRow, type Rejected } from './collection.js'
import { Rounds } from './rounds.js'
import { ownRows, writeRows } from './rows.js'

/** Rows for a task of which there are none yet: the library's `synthesize`, and `gradprompt synthesize`. */

export interface SynthesizeOptions extends ModelSettings {
  /** What is to be done with the texts, in words: `Sort mails to a shop by what they are about`. */
  readonly task: string
  /** The classes, as many rows of each: names, or by name what each means. Without them rows have a text and the answer that the model gives. */
  readonly labels?: readonly string[] | Readonly<Record<string, string>> | undefined
  /** Rows in all; by default 60. */
  readonly rows?: number | undefined
  /** A model or its name; by default the bundled one. */
  readonly model?: LanguageModel | string | undefined
  /** Rows of your own, with the same columns: some are shown to the model, and none of them is written again. */
  readonly examples?: string | Rows | undefined
  /** Names of the columns of `examples`, where it has no header. */
  readonly columns?: readonly string[] | undefined
  /** The file: .csv or .jsonl, with the columns `text`, and `label` or `answer`. */
  readonly output: string
  /** By default 1. */
  readonly temperature?: number | undefined
  /** Of a text; by default 96. */
  readonly maxNewTokens?: number | undefined
  /** Texts that share so much of their runs of three words are one; by default 0.6. */
  readonly similar?: number | undefined
  /** Leave out texts that the model itself takes for another class. */
  readonly onlyAgreed?: boolean | undefined
  readonly seed?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

export interface Synthesized {
  readonly output: string
  readonly rows: number
  /** Rows of each class. */
  readonly counts: Readonly<Record<string, number>>
  /** Texts that were written, and why some of them are no rows. */
  readonly written: number
  readonly rejected: Rejected
  /**
   * The share of texts that the model, asked which class a text is of, takes for what it was to be: of those that are rows or were left out for
   * this alone, and of those of each class.
   */
  readonly fidelity?: MetricValue
  readonly fidelityOf?: Readonly<Record<string, number>>
  readonly diversity: Diversity
  readonly model: string
}

const names = {
  ...modelSettingNames, task: true, labels: true, rows: true, model: true, examples: true, columns: true, output: true, temperature: true,
  maxNewTokens: true, similar: true, onlyAgreed: true, seed: true, signal: true, onProgress: true, onWarning: true,
} satisfies OptionNames<SynthesizeOptions> // biome-ignore format: a list

/** A model that writes one text over and over would go on without end. */
const mostRounds = 8

/**
 * Writes rows for a task: the model is asked for texts, as many of each class; what repeats another text, or one of your own, is left out and asked for anew.
 * How many of them the model takes for what they were to be (fidelity), and how far they are from each other (diversity), is measured.
 * Texts and labels are the model's own: what is learned of them is what it believes. Keep rows of people apart to evaluate with.
 *
 * ```ts
 * const { rows, fidelity } = await synthesize({ task: 'Sort mails to a shop', labels: ['complaint', 'question', 'praise'], output: 'mails.csv' })
 * ```
 *
 * @throws GradpromptError `invalid-option`, `file-exists`, `unknown-format`, `nothing-written`, `aborted`, and as `generate` and reading data do
 */
export async function synthesize(options: SynthesizeOptions): Promise<Synthesized> {
  refuseUnknown('synthesize', options, names)
  const { rows = 60, temperature = 1, maxNewTokens = 96, similar = 0.6, seed = defaultSeed, signal, onProgress, output } = options
  const task = requireText('task', options.task)
  requireCounts({ rows, maxNewTokens })
  if (!(similar > 0 && similar <= 1)) throw invalid('similar is not valid', String(similar), 'more than 0, at most 1')
  const meanings = meaningsOf(options.labels, rows)
  await refuseExisting(output)
  const own = await ownRows(options, meanings && [...meanings.keys()])
  await using used = await useModel(options.model ?? bundledModel, firstOf(options, undefined))
  const { model } = used
  const kept = new Collection({ labels: meanings && [...meanings.keys()], rows, similar, own })
  const rounds = new Rounds({ model, task, meanings, own, seed, temperature, maxNewTokens, output, signal })
  let written = 0
  const judged: { readonly label: string | undefined; readonly isRight: boolean }[] = []
  for (let round = 0; round < mostRounds && !kept.isWhole; round++) {
    const texts = await rounds.write(round, kept.missing(), done => onProgress?.(Math.min(rows, kept.size + done), rows, 'texts'))
    refuseAborted(signal)
    written += texts.length
    const fresh = texts.flatMap(({ label, text, asked }) => kept.add(text, label, asked) ?? [])
    if (meanings === undefined || fresh.length === 0) continue
    const taken = await takenFor(model, task, meanings, fresh, options)
    const isRight = (row: KeptRow, i: number) => taken[i] === row.label
    judged.push(...fresh.map((row, i) => ({ label: row.label, isRight: isRight(row, i) })))
    if (options.onlyAgreed === true) kept.drop(fresh.filter((row, i) => !isRight(row, i)))
  }
  if (kept.size === 0)
    throw new GradpromptError('nothing-written', 'the model wrote no rows', {
      found: `${written} texts, of which none was new`,
      hint: 'a larger model, a longer description of the task, or examples',
    })
  if (!kept.isWhole)
    options.onWarning?.({
      code: 'fewer-rows',
      message: `the model wrote ${kept.size} of ${rows} rows that differ: it repeats itself; a larger model, a higher temperature, or examples of your own help`,
    })
  const mixed = shuffle([...kept.rows], seed, streams.synthesis, 0)
  const answered =
    meanings === undefined
      ? await rounds.answer(
          mixed.map(({ text }) => text),
          onProgress,
        )
      : undefined
  refuseAborted(signal)
  await writeRows(
    output,
    mixed.map(({ text, label }, i) => (answered === undefined ? { text, label: label! } : { text, answer: answered[i]! })),
  )
  await rounds.remove()
  return {
    ...{ output, rows: kept.size, counts: kept.counts, written, rejected: kept.rejected, model: model.name },
    ...(meanings !== undefined && {
      fidelity: shareOf(judged),
      fidelityOf: Object.fromEntries(
        [...meanings.keys()].map(name => [name, shareOf(judged.filter(({ label }) => label === name)).value]),
      ),
    }),
    diversity: diversityOf(mixed.map(({ text }) => text)),
  }
}

function shareOf(judged: readonly { readonly isRight: boolean }[]): MetricValue {
  const right = judged.filter(({ isRight }) => isRight).length
  return { value: right / Math.max(1, judged.length), ...wilsonInterval(right, judged.length) }
}

/** Which class the model itself takes each text for, by the likelihood of the classes' names. */
async function takenFor(
  model: LanguageModel,
  task: string,
  meanings: ReadonlyMap<string, string | undefined>,
  texts: readonly { readonly text: string; readonly label: string | undefined }[],
  { signal, onProgress }: SynthesizeOptions,
): Promise<string[]> {
  const classes = [...meanings].map(([name, meaning]) => (meaning === undefined ? name : `${name} (${meaning})`)).join(', ')
  const { predictions } = await evaluate({
    model,
    data: texts.map(({ text, label }) => ({ text, label: label! })),
    template: `${escapeTemplate(task)}\nAnswers: ${escapeTemplate(classes)}\n\nText: {text}\nAnswer:`,
    answer: ' {label}',
    labels: Object.fromEntries([...meanings.keys()].map(name => [name, name])),
    calibrate: true,
    truncate: true,
    signal,
    onProgress: (done, total) => onProgress?.(done, total, 'fidelity'),
  })
  return predictions!.map(({ predicted }) => predicted)
}

/** What each class means, where that is said. @throws GradpromptError `invalid-option` */
function meaningsOf(labels: SynthesizeOptions['labels'], rows: number): ReadonlyMap<string, string | undefined> | undefined {
  if (labels === undefined) return undefined
  const pairs: (readonly [string, string | undefined])[] = Array.isArray(labels)
    ? (labels as readonly string[]).map(name => [name, undefined] as const)
    : Object.entries(labels as Readonly<Record<string, string>>)
  const clean = pairs.map(
    ([name, meaning]) =>
      [requireText('labels', name), meaning === undefined ? undefined : requireText(`labels: ${name}`, meaning)] as const,
  )
  const meanings = new Map(clean)
  if (meanings.size < 2 || meanings.size < clean.length)
    throw invalid('labels are not valid', clean.map(([name]) => name).join(', ') || 'none', 'two classes at least, each once')
  if (rows < meanings.size)
    throw invalid('rows are too few', `${rows}, of ${meanings.size} classes`, 'one of each class at least')
  return meanings
}

function requireText(name: string, given: unknown): string {
  if (typeof given === 'string' && given.trim() !== '') return given.trim()
  throw invalid(`${name} is not valid`, typeof given === 'string' ? 'an empty text' : String(given), 'a text')
}

const invalid = (message: string, found: string, expected: string) =>
  new GradpromptError('invalid-option', message, { found, expected })
