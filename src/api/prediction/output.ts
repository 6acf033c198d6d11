import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { originOf, shorten } from '../../data/readers/records.js'
import {
  type Column,
  type RowFormat,
  type RowWriter,
  rowFormatFor,
  rowFormatNamed,
  type Sink,
  type WrittenRow,
} from '../../data/writers/index.js'
import { GradpromptError, listWord, refuseFullDisk, unknownName } from '../../errors.js'
import { removeLeftovers, synchronizeFolder, temporaryName } from '../../store/atomic.js'
import type { PredictedFile, PredictFileOptions, PredictOptions, PredictSummary } from './predict.js'
import { type AnsweredRow, predictRows } from './rows.js'

/** Answers as a file: which columns it has, and how it comes to stand in its place. */

/** @throws GradpromptError as `predict.toFile` says */
export async function predictFile({ output, format, keep, ...options }: PredictFileOptions): Promise<PredictedFile> {
  const written = format === undefined ? rowFormatFor(output) : rowFormatNamed(format)
  await refuseExisting(output)
  const temporary = temporaryName(output)
  const writing = <Result>(work: Promise<Result>) =>
    work.catch((cause: unknown) => {
      refuseFullDisk(cause, output)
      throw cannotWrite(output, cause)
    })
  await writing(mkdir(dirname(output), { recursive: true }))
  await writing(removeLeftovers(output))
  const file = await writing(open(temporary, 'wx'))
  try {
    const sink: Sink = {
      async write(bytes) {
        await writing(file.appendFile(bytes))
      },
    }
    const summary = await predictInto(sink, written, options, keep).finally(async () => {
      await file.sync().catch(() => {})
      await file.close()
    })
    await writing(rename(temporary, output))
    await synchronizeFolder(dirname(output))
    return { ...summary, output }
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/**
 * Writes the answers to rows as they are computed.
 * @throws GradpromptError as `predict` does; `column-taken`, `missing-column`, `invalid-data` where rows of a table have further columns
 */
export async function predictInto(
  sink: Sink,
  format: RowFormat,
  options: PredictOptions,
  keep: readonly string[] | undefined,
): Promise<PredictSummary> {
  const rows = predictRows(options)
  let layout: Layout | undefined
  let writer: RowWriter | undefined
  const held: WrittenRow[] = []
  const flush = async () => {
    if (held.length > 0) await writer?.write(held.splice(0))
  }
  try {
    for (;;) {
      const next = await rows.next()
      if (next.done === true) {
        // Without rows there are no columns but those of answers.
        writer ??= await format.open(sink, [])
        await flush()
        await writer.end()
        return next.value
      }
      const row = next.value
      if (layout === undefined || writer === undefined) {
        layout = layoutOf(row, keep)
        writer = await format.open(sink, layout.columns)
      }
      held.push(written(row, layout, { format, keepsAll: keep === undefined }))
      if (held.length >= rowsAtOnce) await flush()
    }
  } finally {
    await rows.return(undefined as never)
  }
}

const rowsAtOnce = 64

interface Layout {
  /** Columns of the data that stand before the answer. */
  readonly own: readonly string[]
  /** The classes, in their order. */
  readonly classes: readonly string[]
  readonly columns: readonly Column[]
}

/** What a table is made of is known by its first row. @throws GradpromptError `column-taken`, `missing-column` */
function layoutOf({ columns: there, answered }: AnsweredRow, keep: readonly string[] | undefined): Layout {
  const own = [...new Set(keep ?? there)]
  const unknown = own.find(name => !there.includes(name))
  if (unknown !== undefined) throw unknownName('missing-column', 'there is no such column to keep', unknown, there)
  const classes = Object.keys(answered.probabilities ?? {})
  const added: Column[] = [
    { name: 'prediction', type: 'text' },
    { name: 'probability', type: 'number' },
    ...(answered.margin === undefined ? [] : [{ name: 'margin', type: 'number' as const }]),
    ...(answered.known === undefined ? [] : [{ name: 'known', type: 'number' as const }]),
    ...classes.map(name => ({ name: `p:${name}`, type: 'number' as const })),
    ...(answered.finishReason === undefined ? [] : [{ name: 'finishReason', type: 'text' as const }]),
  ]
  const taken = own.filter(name => name === 'probabilities' || added.some(column => column.name === name))
  if (taken.length > 0)
    throw new GradpromptError('column-taken', 'the data have columns that the answers have as well', {
      found: taken.map(shorten).join(', '),
      expected: 'other names',
      hint: `keep only some columns of the data: --keep ${kept(own.filter(name => !taken.includes(name)))}`,
    })
  return { own, classes, columns: [...own.map(name => ({ name, type: 'text' as const })), ...added] }
}

const kept = (names: readonly string[]) => (names.length === 0 ? 'none' : listWord(names))

function written(
  { index, record, value, answered }: AnsweredRow,
  { own, classes }: Layout,
  { format, keepsAll }: { readonly format: RowFormat; readonly keepsAll: boolean },
): WrittenRow {
  const { prediction, probability, margin, known, probabilities, finishReason } = answered
  const further = keepsAll
    ? Object.keys(value).find(name => !own.includes(name) && (!format.isTable || Object.hasOwn(record, name)))
    : undefined
  if (further !== undefined && (format.isTable || further in answered))
    throw new GradpromptError('invalid-data', `${originOf(record, index)} has a column that the rows before it do not have`, {
      found: shorten(further),
      expected: own.map(shorten).join(', '),
      hint: `keep the columns that you need: --keep ${kept(own)}`,
    })
  const fields = Object.entries(value).filter(([name]) => keepsAll || own.includes(name))
  return {
    cells: [
      ...own.map(name => (Object.hasOwn(record, name) ? record[name] : undefined)),
      prediction,
      probability,
      ...(margin === undefined ? [] : [margin]),
      ...(known === undefined ? [] : [known]),
      ...classes.map(name => probabilities?.[name]),
      ...(finishReason === undefined ? [] : [finishReason]),
    ],
    object: { ...Object.fromEntries(fields), ...answered },
  }
}

/** @throws GradpromptError `file-exists` */
export async function refuseExisting(output: string): Promise<void> {
  if ((await stat(output).catch(() => undefined)) === undefined) return
  throw new GradpromptError('file-exists', `there is already a file ${output}`, {
    found: output,
    expected: 'a new name: nothing is overwritten',
    hint: 'name another output, or remove it',
  })
}

const cannotWrite = (path: string, cause: unknown) =>
  new GradpromptError('cannot-write', `cannot write ${path}`, {
    found: cause instanceof Error ? cause.message : String(cause),
    expected: 'a place for a file, with room on the disk',
    exitCode: 1,
    cause,
  })
