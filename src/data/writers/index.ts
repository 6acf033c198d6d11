import { unknownName } from '../../errors.js'
import { csvFormat } from './csv.js'
import { jsonLinesFormat } from './json-lines.js'
import { parquetFormat } from './parquet.js'
import type { RowFormat } from './writer.js'

/** Which format rows are written in, by a file's name or by the format's own. A new one is a file beside `csv.ts`, and a word here. */

export type { Column, RowFormat, RowWriter, Sink, WrittenRow } from './writer.js'

const formats: readonly RowFormat[] = [csvFormat, jsonLinesFormat, parquetFormat]

/** @throws GradpromptError `unknown-format` */
export function rowFormatNamed(name: string): RowFormat {
  const format = formats.find(format => format.name === name)
  if (format !== undefined) return format
  throw unknownName('unknown-format', 'rows are not written in this format', name, namesOf(formats))
}

/** @throws GradpromptError `unknown-format` */
export function rowFormatFor(path: string): RowFormat {
  const extension = /\.([^./\\]*)$/.exec(path)?.[1]?.toLowerCase() ?? ''
  const format = formats.find(({ extensions }) => extensions.includes(extension))
  if (format !== undefined) return format
  const known = formats.flatMap(({ extensions }) => extensions)
  throw unknownName('unknown-format', `the format of ${path} is not known`, extension, known, {
    print: ending => `.${ending}`,
    also: `, or a format by its name: ${namesOf(formats).join(', ')}`,
  })
}

const namesOf = (formats: readonly RowFormat[]) => formats.map(({ name }) => name)
