import { defaultSeed, type OptionNames, refuseUnknown, requireCounts } from '../../config/call-options.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { Rows } from '../../data/memory-rows.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { type DataRecord, isNull } from '../../data/readers/records.js'
import type { LabelWords } from '../../data/texts/labels.js'
import { compileMessages } from '../../data/texts/rendering.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { GradpromptError, unknownName } from '../../errors.js'
import {
  type AcquisitionRule,
  acquisitionRules,
  centred,
  highest,
  meanShares,
  spread,
  unsureness,
} from '../../evaluate/acquisition.js'
import type { LanguageModel } from '../../model/language-model.js'
import { firstOf, type ModelSettings, modelSettingNames, useModel } from '../../model/with-model.js'
import type { PromptGiven } from '../../sources/open.js'
import { missing, subjectOf } from '../evaluation/subject.js'
import { embeddings } from './embeddings.js'
import { type AnsweredRow, predictRows } from './rows.js'

/** Which rows of a pool are worth a label: the library's `labelNext`, and `gradprompt label-next`. */

export interface LabelNextOptions extends ModelSettings {
  /** The prompt that is to become better, or several of one task on one model: a committee, whose probabilities are averaged. */
  readonly prompt: PromptGiven | readonly PromptGiven[]
  /** The pool: a data file, `-` for standard input, or rows. What has a label already, and what says the same as a row before or nothing, is left out. */
  readonly data: string | Rows
  /** How many rows; by default 20. */
  readonly count?: number | undefined
  /** `margin` (the default), `entropy`, `disagreement` (of a committee), or `random` to compare with. */
  readonly by?: AcquisitionRule | undefined
  /** The rows are drawn, far from each other, from so many times as many of the least sure; 1: the least sure themselves. By default 5. */
  readonly among?: number | undefined
  /** A model or its name; by default that of the first prompt. */
  readonly model?: LanguageModel | string | undefined
  /** Texts and labels, where the prompt brings none: by default its own. */
  readonly template?: Template | undefined
  readonly answer?: string | undefined
  readonly labels?: LabelWords | undefined
  /** Names of the columns of a file without a header, or for a column of the template the one of the data. */
  readonly columns?: ColumnsGiven | undefined
  /** Use a prompt of another model of the same width. */
  readonly force?: boolean | undefined
  /** Cut texts that are longer than the context. */
  readonly truncate?: boolean | undefined
  readonly seed?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
  /** Hears the data's own columns as soon as they are known; what it throws ends the call. */
  readonly onColumns?: ((columns: readonly string[]) => void) | undefined
}

/** A row worth a label. */
export interface RowToLabel {
  /** Its place in the data, counted from 0. */
  readonly index: number
  readonly row: Readonly<Record<string, unknown>>
  /** The likeliest class of all members. */
  readonly prediction: string
  /** Their mean probability of it. */
  readonly probability: number
  /** By the rule: the higher, the less sure. */
  readonly unsure: number
}

export interface RowsToLabel {
  readonly by: AcquisitionRule
  /** In the order in which they were chosen. */
  readonly rows: readonly RowToLabel[]
  /** The data's own columns. */
  readonly columns: readonly string[]
  /** Rows that could be chosen. */
  readonly pool: number
  readonly labels: readonly string[]
  /** What was left out: rows with a label, rows that say what an earlier one says, and rows that say nothing. */
  readonly labelled: number
  readonly repeated: number
  readonly empty: number
}

const names = {
  ...modelSettingNames, prompt: true, data: true, count: true, by: true, among: true, model: true, template: true, answer: true,
  labels: true, columns: true, force: true, truncate: true, seed: true, signal: true, onProgress: true, onWarning: true,
  onColumns: true,
} satisfies OptionNames<LabelNextOptions> // biome-ignore format: a list

/**
 * Names the rows of a pool whose labels a prompt would learn most from: those that it is least sure of, and among them some that are far
 * from each other by the mean of the model's last hidden states (k-means++ over the least sure, after Zhdanov 2019, arXiv 1901.05954).
 * @throws GradpromptError `invalid-option`, `free-text`, `nothing-to-label`, and as `predict` does
 */
export async function labelNext(options: LabelNextOptions): Promise<RowsToLabel> {
  refuseUnknown('labelNext', options, names)
  const { count = 20, by = 'margin', among = 5, seed = defaultSeed, signal, onProgress, onWarning } = options
  const prompts = Array.isArray(options.prompt) ? (options.prompt as readonly PromptGiven[]) : [options.prompt as PromptGiven]
  if (!acquisitionRules.includes(by)) throw unknownName('invalid-option', 'by is not valid', String(by), acquisitionRules)
  requireCounts({ count, among })
  if (by === 'disagreement' && prompts.length < 2)
    throw new GradpromptError('invalid-option', 'one prompt cannot disagree with itself', {
      found: 'by: disagreement, and one prompt',
      expected: 'several prompts of one task, such as runs of several seeds',
    })
  const { template: givenTemplate, answer: givenAnswer, labels, force, truncate } = options
  const texts = { template: givenTemplate, answer: givenAnswer, labels, force }
  const subject = await subjectOf({ model: options.model, prompt: prompts[0], data: [], ...texts })
  const template = subject.template ?? missing('template')
  const { columns: asked } = compileMessages(template)
  const labelColumn = compileTemplate(subject.answer ?? missing('answer')).columns.find(name => !asked.includes(name))
  const textOf = (record: DataRecord) => asked.map(name => record[name] ?? '')
  const left = { labelled: 0, repeated: 0, empty: 0 }
  const seen = new Set<string>()
  const isCandidate = (record: DataRecord) => {
    const said = textOf(record).map(text => text.trim())
    const key = JSON.stringify(said)
    if (labelColumn !== undefined && hasLabel(record, labelColumn)) left.labelled++
    // Nobody can label a row that says nothing, of which a prompt is often the least sure.
    else if (said.every(text => text === '')) left.empty++
    else if (seen.has(key)) left.repeated++
    else return seen.add(key) !== undefined
    return false
  }
  await using used = await useModel(subject.modelGiven, firstOf(options, subject.config))
  const { model } = used
  let columns: readonly string[] = []
  const onColumns = (known: readonly string[], labels: readonly string[] | undefined) => {
    if (labels === undefined) throw freeText()
    columns = known
    options.onColumns?.(known)
  }
  const pool: DataRecord[] = []
  const keep = (record: DataRecord) => isCandidate(record) && pool.push(record) > 0
  const answered: AnsweredRow[][] = []
  for (const [i, prompt] of prompts.entries()) {
    const before = answered[0]
    if (before?.length === 0) break
    const rows = predictRows(
      {
        prompt,
        model,
        data: before?.map(({ record }) => record) ?? options.data,
        // What the first has read has names.
        columns: before === undefined || !Array.isArray(options.columns) ? options.columns : undefined,
        ...texts,
        truncate,
        signal,
        onProgress: (done, total, what) => onProgress?.(done, total, prompts.length > 1 ? `prompt ${i + 1}: ${what}` : what),
        onWarning: before === undefined ? onWarning : undefined,
      },
      // Of rows that are left out no prompt is asked.
      before === undefined ? { keep, onColumns } : undefined,
    )
    const all: AnsweredRow[] = []
    for await (const row of rows) all.push(row)
    answered.push(all)
  }
  const [own] = answered as [AnsweredRow[]]
  if (pool.length === 0)
    throw new GradpromptError('nothing-to-label', 'no row of the data is without a label', {
      found: `${left.labelled} rows with one in "${labelColumn}", ${left.empty} that say nothing`,
      expected: 'rows with a text whose label is empty, or data without that column',
    })
  const classes = classesOf(answered)
  const shares = own.map((_, place) => answered.map(rows => classes.map(name => rows[place]!.answered.probabilities![name]!)))
  const scores = unsureness(by, shares, { seed })
  // A random choice is what others are compared with: it is left as it falls.
  const wide = by === 'random' ? 1 : among
  const shortlist = highest(scores, count * wide)
  const chosen =
    wide === 1 || shortlist.length <= count
      ? shortlist
      : spread(
          centred(
            await embeddings(
              model,
              shortlist.map(i => textOf(pool[i]!).join('\n')),
              { signal, onProgress, onWarning },
            ),
          ),
          count,
          { seed },
        ).map(i => shortlist[i]!)
  const rows = chosen.slice(0, count).map((i): RowToLabel => {
    const { index, record, value } = own[i]!
    const means = meanShares(shares[i]!)
    const best = means.indexOf(Math.max(...means))
    return {
      index,
      row: (typeof options.data === 'string' ? ownOf(record, value) : value) as RowToLabel['row'],
      prediction: classes[best]!,
      probability: means[best]!,
      unsure: scores[i]!,
    }
  })
  return { by, rows, columns, pool: pool.length, labels: classes, ...left }
}

/** The texts of a row of a file, without what paths have reached. */
const ownOf = (record: DataRecord, value: object): DataRecord =>
  Object.fromEntries(Object.entries(record).filter(([name]) => Object.hasOwn(value, name)))

const hasLabel = (record: DataRecord, column: string) =>
  Object.hasOwn(record, column) && !isNull(record, column) && record[column]!.trim() !== ''

/** @throws GradpromptError `free-text`, `label-mismatch`, `no-rows` */
function classesOf(answered: readonly (readonly AnsweredRow[])[]): string[] {
  const classes = answered.map(([first]) => first && Object.keys(first.answered.probabilities ?? {}))
  const [own] = classes
  if (own === undefined)
    throw new GradpromptError('no-rows', 'there are no rows to choose from', { found: '0 rows', expected: 'at least one' })
  if (classes.some(names => names!.length === 0)) throw freeText()
  const other = classes.find(names => names!.length !== own.length || !own.every(name => names!.includes(name)))
  if (other !== undefined)
    throw new GradpromptError('label-mismatch', 'the prompts choose between different classes', {
      found: other.join(', '),
      expected: own.join(', '),
    })
  return own
}

const freeText = () =>
  new GradpromptError('free-text', 'rows are chosen by the probabilities of classes', {
    found: 'a prompt whose answers are free text',
    expected: 'a prompt with labels',
    hint: 'of a prompt that brings none, such as an adapter, say what they are: labels (--labels)',
  })
