import type { Column, RowFormat, Sink, WrittenRow } from './writer.js'

/** Rows as one text, of a format whose bytes are text. */
export async function textOfRows(format: RowFormat, columns: readonly Column[], rows: readonly WrittenRow[]): Promise<string> {
  let text = ''
  const sink: Sink = {
    async write(bytes) {
      text += String(bytes)
    },
  }
  const writer = await format.open(sink, columns)
  await writer.write(rows)
  await writer.end()
  return text
}
