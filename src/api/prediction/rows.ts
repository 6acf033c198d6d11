import { asksNothing, cutNotices, emptyTexts } from '../../data/checks.js'
import { columnsGiven, nameInData, refuseUnmeant, withMeant } from '../../data/columns-given.js'
import { inMemory } from '../../data/memory-rows.js'
import { type DataRecord, originOf, setOrigin } from '../../data/readers/records.js'
import { standardInput, standardInputName, streamRecords } from '../../data/record-stream.js'
import { requireTexts } from '../../data/task-columns.js'
import { pathOf } from '../../data/texts/paths.js'
import { requireColumns } from '../../data/texts/template.js'
import { GradpromptError, nearest, refuseAborted, shellWord } from '../../errors.js'
import type { PredictOptions, PredictSummary } from './predict.js'
import { type Answered, openPredictor, type Predictor } from './predictor.js'

/** Rows as they come, answered a few at a time: neither all rows nor all answers are ever held. */

export interface AnsweredRow {
  readonly index: number
  readonly record: DataRecord
  /** The row as it was given. */
  readonly value: object
  /** The data's own columns, as far as they are known. */
  readonly columns: readonly string[]
  readonly answered: Answered
}

/** What is told apart before a row is answered. */
export interface RowChoice {
  /** Rows for which it says no are neither answered nor handed on. */
  keep(record: DataRecord): boolean
  /** Hears the data's own columns and the classes that there are, once, before any row is answered; what it throws ends the answering. */
  onColumns(columns: readonly string[], labels: readonly string[] | undefined): void
}

/** @throws GradpromptError as `predict` says */
export async function* predictRows(
  options: PredictOptions,
  choice?: RowChoice,
): AsyncGenerator<AnsweredRow, PredictSummary, void> {
  const { data, signal, onProgress, onWarning } = options
  await using predictor = await openPredictor(options)
  const { needed, texts, model, weights, labels, task, usualColumns } = predictor
  const name = data === standardInput ? standardInputName : typeof data === 'string' ? data : inMemory
  const given = columnsGiven(options.columns)
  const inDataName = (name: string) => nameInData(given, name)
  refuseUnmeant(given, needed)
  const inData = needed.map(inDataName)
  const chunks = streamRecords(data, {
    columns: given.names,
    // Who says what the data call a column has data with names.
    usualColumns: options.columns === undefined ? usualColumns : [],
    needed: inData,
    task,
    size: predictor.size,
    onNotice: onWarning,
  })
  const started = performance.now()
  let done = 0
  const silent: string[] = []
  for await (const chunk of chunks) {
    refuseAborted(signal)
    // What only some rows lack is told with the row.
    if (done === 0) requireColumns(inData, chunk.columns, `${name}: the template`, column => otherName(column, chunk.columns))
    requireTexts(texts.map(inDataName), chunk, name)
    if (done === 0 && options.columns === undefined) refuseHeader(chunk.records, predictor, name)
    const reached = chunk.columns.filter(column => isReached(column, inData, chunk.columns))
    const columns = chunk.columns.filter(column => !reached.includes(column))
    if (done === 0) choice?.onColumns(columns, labels)
    const meant = withMeant(chunk.records, given, done)
    const places = [...meant.keys()].filter(i => choice === undefined || choice.keep(meant[i]!))
    // A row keeps its own name in messages, wherever it stands among those that are left.
    if (choice !== undefined) for (const i of places) setOrigin(meant[i]!, originOf(meant[i]!, done + i))
    const kept = { records: places.map(i => meant[i]!) }
    if (choice === undefined)
      for (const [i, record] of meant.entries())
        if (asksNothing(needed, record)) silent.push(originOf(chunk.records[i]!, done + i))
    const told = (answered: number) => onProgress?.(done + answered, chunk.total ?? 0, 'rows')
    const answers = places.length === 0 ? [] : await predictor.predict(kept, done, told)
    for (const [i, answered] of answers.entries()) {
      const at = places[i]!
      yield { index: done + at, record: chunk.records[at]!, value: without(chunk.values[at]!, reached), columns, answered }
    }
    done += chunk.records.length
  }
  // A row without a text has a label like every other, and often a sure one.
  for (const notice of emptyTexts(needed, [{ part: name, rows: done, found: silent }])) onWarning?.(notice)
  for (const notice of cutNotices(predictor.cut())) onWarning?.(notice)
  const seconds = (performance.now() - started) / 1000
  return { model, rows: done, ...(labels && { labels }), weights, seconds }
}

/** How data are told apart that have a column under another name. */
function otherName(column: string, there: readonly string[]): string {
  const meant = `${column}=${nearest(column, there) ?? 'COLUMN'}`
  return `where the data have it under another name: columns: { template's: data's } (--columns ${shellWord(meant)})`
}

/**
 * Columns of the run's own are for files without a header: a first row that is one has the name of a column for its label.
 * @throws GradpromptError `header-mismatch` where the first row alone has a label that is none
 */
function refuseHeader(
  [first, ...others]: readonly DataRecord[],
  { known, needed }: Pick<Predictor, 'known' | 'needed'>,
  name: string,
): void {
  const label = known && first?.[known.column]
  if (known === undefined || label === undefined || known.values.has(label) || others.length === 0) return
  // Where a header was read the first row stands in a later line, and may have any label.
  if (!/\.[ct]sv(\.gz)?$/i.test(name) || !originOf(first!, 0).endsWith(':1')) return
  if (!others.every(record => known.values.has(record[known.column] ?? ''))) return
  const columns = Object.keys(first!)
  const values = Object.values(first!)
  const meant = columns.flatMap((column, i) => (needed.includes(column) ? [`${column}=${values[i]}`] : [])).join(',')
  throw new GradpromptError('header-mismatch', `${name}: the first line looks like a header, and its columns have other names`, {
    found: values.map(value => JSON.stringify(value)).join(', '),
    expected: columns.join(', '),
    hint: `say which is which, --columns ${shellWord(meant)}, or that it is a row: --columns ${shellWord(columns.join(','))}`,
  })
}

/** A row as it was given: what paths have reached is none of its columns. */
const without = (value: object, reached: readonly string[]): object =>
  reached.length === 0 ? value : Object.fromEntries(Object.entries(value).filter(([name]) => !reached.includes(name)))

/** Whether a column is a path that a template names, and none of the data's own. */
const isReached = (column: string, named: readonly string[], there: readonly string[]) => {
  const head = named.includes(column) ? pathOf(column)?.head : undefined
  return head !== undefined && there.includes(head)
}
