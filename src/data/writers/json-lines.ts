import { printValue } from '../readers/json-text.js'
import type { RowFormat } from './writer.js'

/** One object a line. Integers beyond 2^53 keep the digits that they were read with. */
export const jsonLinesFormat: RowFormat = {
  name: 'jsonl',
  extensions: ['jsonl', 'ndjson'],
  isBinary: false,
  isTable: false,
  async open(sink) {
    return {
      write: rows => sink.write(rows.map(({ object }) => `${printValue(object, 'a row')}\n`).join('')),
      end: async () => {},
    }
  },
}
