import type { RowFormat } from './writer.js'

/** CSV after RFC 4180, with a header; lines end in a line feed, as `csv.ts` among the readers takes them. */
export const csvFormat: RowFormat = {
  name: 'csv',
  extensions: ['csv'],
  isBinary: false,
  isTable: true,
  async open(sink, columns) {
    await sink.write(lineOf(columns.map(({ name }) => name)))
    return {
      write: rows => sink.write(rows.map(({ cells }) => lineOf(cells)).join('')),
      end: async () => {},
    }
  },
}

const lineOf = (cells: readonly (string | number | undefined)[]) => {
  const line = cells.map(cell => (typeof cell === 'string' ? quoted(cell) : String(cell ?? ''))).join(',')
  // A line without anything on it would be no row.
  return `${line === '' ? '""' : line}\n`
}

const quoted = (text: string) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
