import { readMemoryRows, takeRows } from '../../data/memory-rows.js'
import { readRecords } from '../../data/read.js'
import { columnValue, type DataRecord } from '../../data/readers/records.js'
import { requireColumns } from '../../data/texts/template.js'
import { rowFormatFor } from '../../data/writers/index.js'
import { textOfRows } from '../../data/writers/text.js'
import { GradpromptError } from '../../errors.js'
import { replaceText } from '../../store/atomic.js'
import type { SynthesizeOptions } from './synthesize.js'

/** Rows of people's own that are shown, and the file that comes of it all. */

/** @throws GradpromptError `missing-column`, `unknown-label`, `unknown-format`, and as reading data does */
export async function ownRows(
  { examples, columns, output, onWarning }: Pick<SynthesizeOptions, 'examples' | 'columns' | 'output' | 'onWarning'>,
  labels: readonly string[] | undefined,
): Promise<{ readonly text: string; readonly label: string | undefined }[]> {
  // A name that nothing can be written under is told before anything is computed.
  refuseBinary(output)
  if (examples === undefined) return []
  const needed = ['text', ...(labels === undefined ? [] : ['label'])]
  const given = { columns, needed, onNotice: onWarning }
  const { records, columns: found } =
    typeof examples === 'string'
      ? await readRecords(examples, given)
      : withColumns(await readMemoryRows(await takeRows(examples, 'examples'), given))
  requireColumns(needed, found, `${typeof examples === 'string' ? examples : 'examples'}: synthesize`)
  return records.map((record, i) => {
    const label = labels === undefined ? undefined : columnValue(record, 'label', i)
    if (label !== undefined && !labels!.includes(label))
      throw new GradpromptError('unknown-label', `row ${i + 1} of the examples has a label outside the set`, {
        found: label,
        expected: `one of ${labels!.join(', ')}`,
      })
    return { text: columnValue(record, 'text', i), label }
  })
}

const withColumns = ({ records }: { readonly records: readonly DataRecord[] }) => ({
  records,
  columns: Object.keys(records[0] ?? {}),
})

/** @throws GradpromptError `unknown-format`, `cannot-write` */
export async function writeRows(output: string, rows: readonly Readonly<Record<string, string>>[]): Promise<void> {
  const columns = Object.keys(rows[0]!)
  const text = await textOfRows(
    refuseBinary(output),
    columns.map(name => ({ name, type: 'text' })),
    rows.map(row => ({ cells: columns.map(name => row[name]), object: row })),
  )
  await replaceText(output, text)
}

/** What people look through, and mend, is text. */
function refuseBinary(output: string) {
  const format = rowFormatFor(output)
  if (!format.isBinary) return format
  throw new GradpromptError('unknown-format', 'rows that people look through are written as text', {
    found: format.name,
    expected: 'csv or jsonl',
  })
}
