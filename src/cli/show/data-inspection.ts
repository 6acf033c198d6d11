import { labelNotices } from '../../data/checks.js'
import { describeColumns } from '../../data/describe/columns.js'
import { type DataDescription, describeData, type RowLength } from '../../data/describe/describe.js'
import { type Suggestion, suggestTask } from '../../data/describe/suggest.js'
import { type DataFile, readRecords } from '../../data/read.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { RowBuilder } from '../../data/rows/rows.js'
import { namedColumns } from '../../data/task-columns.js'
import { resolveAnswerEnd } from '../../data/texts/answer-end.js'
import { decideLabels } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import { loadTokenizer } from '../../formats/tokenizer.js'
import { openCheckpoint, shortName } from '../../model/weights/checkpoint.js'
import { bundledModel } from '../../package-root.js'
import { count, type Output, plural, quoted, table } from '../terminal/output.js'
import { dataTable } from './data-table.js'

/** `gradprompt inspect DATA`: a data file as it is read, what its columns hold, and the rows that they would make. */
export async function inspectData(path: string, output: Output): Promise<void> {
  const file = await readRecords(path)
  const suggestion = suggestTask(file)
  const made = suggestion && (await rowsOf(path, suggestion))
  const columns = describeColumns(file)
  const notices = [...file.notices, ...(made?.notices ?? [])]
  if (suggestion === undefined) notices.push(unnamed)
  output.object({
    event: 'inspect',
    kind: 'data',
    path,
    format: file.format,
    rows: file.records.length,
    columns,
    suggestion: suggestion ?? null,
    data: made?.data ?? null,
    warnings: notices,
  })
  for (const { code, message } of notices) output.note(`warning[${code}]: ${message}`)
  const head = table([
    ['data', path],
    ['format', file.format],
    ['rows', count(file.records.length)],
  ])
  const about = table(
    columns.map(({ name, kind, different, empty, nulls, absent, length, values }) => [
      `  ${quoted(name, 30)}`,
      kind,
      `${count(different)} different`,
      [
        ...(length ? [`${count(length.least)} to ${count(length.most)} characters (median ${count(length.median)})`] : []),
        ...(empty > 0 ? [`${count(empty)} empty`] : []),
        ...(nulls > 0 ? [plural(nulls, 'null')] : []),
        ...(absent > 0 ? [`absent in ${plural(absent, 'row')}`] : []),
        ...(values ? [values.map(({ value, rows }) => `${quoted(value, 24)} ${count(rows)}`).join(', ')] : []),
      ].join('; '),
    ]),
  )
  const asked = suggestion && [
    `looks like ${suggestion.kind}:`,
    table([
      [
        '  template',
        quoted(typeof suggestion.template === 'string' ? suggestion.template : JSON.stringify(suggestion.template), 100),
      ],
      ['  answer', quoted(suggestion.answer)],
    ]),
    ...(made?.data ? [dataTable(made.data)] : []),
  ]
  output.text([head, `columns\n${about}`, ...(asked ? [asked.join('\n')] : [])].join('\n\n'))
  if (made?.measuredBy !== undefined) output.note(`tokens are those of ${made.measuredBy}`)
}

interface Made {
  /** Nothing when the suggestion does not fit the rows after all. */
  readonly data: DataDescription | undefined
  readonly notices: readonly DataNotice[]
  readonly measuredBy: string | undefined
}

/** Where the names of the columns do not tell what they are for. */
const unnamed: DataNotice = {
  code: 'unknown-columns',
  message: `the names of the columns do not say which is the text and which the answer: a config, or --template '{COLUMN} …' --answer ' {COLUMN}', does`,
}

/** The rows that a suggestion would make, or why it does not fit them. */
async function rowsOf(path: string, suggestion: Suggestion): Promise<Made> {
  const { template, answer, answerType } = suggestion
  try {
    const { records } = await readRecords(path, { needed: namedColumns(suggestion) })
    const { labels, notice } = decideLabels(answer, records, { answerType })
    const measured = await measuring(suggestion, records, labels)
    const parts = { rows: records }
    return {
      data: describeData({ template, answer, labels, parts, lengthOf: measured?.lengthOf }),
      notices: [...(notice ? [notice] : []), ...labelNotices(answer, labels, parts)],
      measuredBy: measured?.name,
    }
  } catch (error) {
    if (!(error instanceof GradpromptError)) throw error
    const { code, message, hint } = error
    const notice = { code, message: `these rows cannot be made: ${message}${hint === undefined ? '' : ` (${hint})`}` }
    return { data: undefined, notices: [notice], measuredBy: undefined }
  }
}

/** Lengths in tokens of the model that comes with the package, where it is there. */
async function measuring(
  { template, answer }: Suggestion,
  records: DataFile['records'],
  labels: ReturnType<typeof decideLabels>['labels'],
) {
  const checkpoint = await openCheckpoint(bundledModel).catch(() => undefined)
  if (checkpoint === undefined || records.length === 0) return undefined
  await checkpoint.file.close()
  const tokenizer = await loadTokenizer(checkpoint.tokenizer)
  const contextLength = checkpoint.config.maxPositionEmbeddings
  const end = resolveAnswerEnd({ answerEnd: 'auto', template }, tokenizer)
  const options = { template, answer, labels, contextLength, end, numVirtualTokens: 0, truncate: true }
  const builder = new RowBuilder(tokenizer, options)
  const lengthOf = (record: DataFile['records'][number], index: number): RowLength => {
    const { ids, labels: learned, truncated } = builder.training(record, index)
    return { tokens: ids.length, answerTokens: learned.filter(label => label !== -100).length, truncated }
  }
  return { lengthOf, name: shortName(checkpoint) }
}
