import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toyRows } from '../toy.js'

let files = 0

/** Rows of any kind as a file of JSON lines. */
export function rowsFile(folder: string, rows: readonly object[]): string {
  const path = join(folder, `preferences-${files++}.jsonl`)
  writeFileSync(path, rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  return path
}

/** A text and two answers of different lengths, of which its word decides the preferred one. */
export const pairRows = (count: number) =>
  toyRows(count).map((line, i) => {
    const answers = ['the', 'of in']
    return { text: line.split('\t')[0]!, chosen: answers[i % 2]!, rejected: answers[(i + 1) % 2]! }
  })

export const pairsFile = (folder: string, count: number): string => rowsFile(folder, pairRows(count))

/** The same as single answers with thumbs. */
export const thumbRows = (count: number) =>
  pairRows(count).flatMap(({ text, chosen, rejected }) => [
    { text, completion: chosen, label: true },
    { text, completion: rejected, label: false },
  ])
