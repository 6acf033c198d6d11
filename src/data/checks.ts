import type { DataNotice } from './readers/reader.js'
import { type DataRecord, originOf, shorten } from './readers/records.js'
import { type LabelSet, seenLabel, shownLabel } from './texts/labels.js'
import { type Preferences, usualColumns } from './texts/preferences.js'
import { compileMessages } from './texts/rendering.js'
import { compileTemplate, type Template } from './texts/template.js'

/** What may be wrong with rows though each of them can be used: said with counts before anything is computed. */

/** Rows by the name of their part: `train`, `dev`, `test`. */
export type Parts = Readonly<Record<string, readonly DataRecord[]>>

const shown = 5
const listed = (texts: readonly string[]) =>
  texts.slice(0, shown).join(', ') + (texts.length > shown ? `, and ${texts.length - shown} more` : '')
const rowsOf = (count: number) => `${count} ${count === 1 ? 'row' : 'rows'}`

/** Whether every column of a template is there and empty, so that the row asks nothing. */
export const asksNothing = (columns: readonly string[], record: DataRecord): boolean =>
  columns.length > 0 && columns.every(column => Object.hasOwn(record, column) && record[column]!.trim() === '')

/** Rows in which every column of the template is empty, so that they ask nothing. */
export function textNotices(template: Template, parts: Parts): DataNotice[] {
  const { columns } = compileMessages(template)
  return emptyTexts(
    columns,
    Object.entries(parts).map(([part, records]) => ({
      part,
      rows: records.length,
      found: records.flatMap((record, i) => (asksNothing(columns, record) ? [originOf(record, i)] : [])),
    })),
  )
}

/** The same of rows that were counted as they came. @param parts how many there are, and where those stand that ask nothing */
export function emptyTexts(
  columns: readonly string[],
  parts: readonly { readonly part: string; readonly rows: number; readonly found: readonly string[] }[],
): DataNotice[] {
  const empty = parts.flatMap(({ part, rows, found }) =>
    found.length === 0 ? [] : [`${found.length} of ${rowsOf(rows)} in ${part} (${listed(found)})`],
  )
  if (empty.length === 0) return []
  const named = columns.map(column => `{${column}}`).join(', ')
  return [{ code: 'empty-texts', message: `${named} ${columns.length === 1 ? 'is' : 'are'} empty in ${empty.join(', ')}` }]
}

/** Rows whose text was longer than the context. @param where what else took room there, or that it is another reader's context */
export const cutNotices = (cut: number, where = ''): DataNotice[] =>
  cut === 0 ? [] : [{ code: 'rows-truncated', message: `the text of ${rowsOf(cut)} was cut to fit the context${where}` }]

/** Labels that are empty, that look alike, or bring spaces of their own, and classes that a part lacks. */
export function labelNotices(answer: string, labels: LabelSet | undefined, parts: Parts): DataNotice[] {
  const columns = labels === undefined ? compileTemplate(answer).columns : [labels.column]
  const filled = Object.entries(parts).filter(([, records]) => records.length > 0)
  const notices: DataNotice[] = []
  for (const column of columns) {
    const empty = filled.flatMap(([part, records]) => {
      const count = records.filter(record => Object.hasOwn(record, column) && record[column]!.trim() === '').length
      return count === 0 ? [] : [`${count} of ${rowsOf(records.length)} in ${part}`]
    })
    if (empty.length > 0)
      notices.push({
        code: 'empty-labels',
        message: `"${column}" is empty in ${empty.join(', ')}${labels?.words.has('') ? ', and the empty text is learned as a class of its own' : ''}`,
      })
  }
  notices.push(...spacedLabels(answer, labels, filled))
  if (labels === undefined) return notices
  const counts = new Map<string, number>()
  for (const [, records] of filled)
    for (const record of records) {
      const value = Object.hasOwn(record, labels.column) ? record[labels.column] : undefined
      if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1)
    }
  const variants = new Map<string, string[]>()
  for (const value of counts.keys()) {
    const plain = seenLabel(value)
    if (plain !== '') variants.set(plain, [...(variants.get(plain) ?? []), value])
  }
  // Values that are given the same word are one class already.
  const different = [...variants.values()].filter(
    values => new Set(values.map(value => labels.words.get(value) ?? value)).size > 1,
  )
  for (const values of different)
    notices.push({
      code: 'similar-labels',
      message: `labels differ in case, spaces or how characters are written alone, and are classes of their own: ${values.map(value => `${shownLabel(value)} (${rowsOf(counts.get(value)!)})`).join(', ')}. data.labels, in which each value has its word, makes them one`,
    })
  for (const [part, records] of filled) {
    const there = new Set(
      records.map(record => (Object.hasOwn(record, labels.column) ? labels.words.get(record[labels.column]!) : undefined)),
    )
    const isLabelled = records.some(record => Object.hasOwn(record, labels.column))
    const absent = labels.candidates.filter(word => !there.has(word))
    if (isLabelled && absent.length > 0)
      notices.push({
        code: 'absent-labels',
        message: `${part} has no row of ${absent.length} of ${labels.candidates.length} classes: ${listed(absent.map(shorten))}`,
      })
  }
  return notices
}

/**
 * Answers that have, in most rows, a space at an end that the text around them has already, or that nobody would write: columns of a file
 * with spaces behind its commas.
 */
function spacedLabels(
  answer: string,
  labels: LabelSet | undefined,
  parts: readonly (readonly [string, readonly DataRecord[]])[],
) {
  const spaced: DataNotice[] = []
  for (const [, before = '', column] of answer.matchAll(/(\s?)\{([^{}]+)\}/g)) {
    const isSpaced = (record: DataRecord) => {
      const value = Object.hasOwn(record, column!) ? record[column!]! : ''
      const word = labels?.column === column ? (labels?.words.get(value) ?? value) : value
      return word.trim() !== '' && ((before !== '' && /^\s/.test(word)) || /[^\S\n]$/.test(word))
    }
    const found = parts.flatMap(([part, records]) => {
      const count = records.filter(isSpaced).length
      return 2 * count > records.length ? [`${count} of ${rowsOf(records.length)} in ${part}`] : []
    })
    if (found.length > 0)
      spaced.push({
        code: 'spaced-labels',
        message: `"${column}" begins or ends with a space of its own, which is learned with it, in ${found.join(', ')}: answers then have two spaces, or one at their end`,
      })
  }
  return spaced
}

/** Rows of two parts whose inputs are alike. */
export interface Overlap {
  readonly part: string
  /** The part in which they stand as well. */
  readonly other: string
  /** Of `part`. */
  readonly rows: number
  /** Of these, the rows whose answer is another one there. */
  readonly conflicting: number
}

/** Two texts that tell a row apart: what is asked, and what is answered. */
export function rowKeys(template: Template, answer: string): (record: DataRecord, index: number) => readonly [string, string] {
  const asked = compileMessages(template)
  const { columns } = compileTemplate(answer)
  return (record, index) => [
    JSON.stringify(asked.render(record, index)),
    JSON.stringify(columns.map(column => (Object.hasOwn(record, column) ? record[column] : null))),
  ]
}

/** How many rows of each part stand in an earlier one. @throws GradpromptError as rendering a row does */
export function findOverlaps(parts: Parts, keysOf: ReturnType<typeof rowKeys>): Overlap[] {
  const seen: { part: string; answers: ReadonlyMap<string, ReadonlySet<string>> }[] = []
  const overlaps: Overlap[] = []
  for (const [part, records] of Object.entries(parts)) {
    const keys = records.map(keysOf)
    for (const { part: other, answers } of seen) {
      const shared = keys.filter(([asked]) => answers.has(asked))
      const conflicting = shared.filter(([asked, answer]) => !answers.get(asked)!.has(answer)).length
      if (shared.length > 0) overlaps.push({ part, other, rows: shared.length, conflicting })
    }
    const answers = new Map<string, Set<string>>()
    for (const [asked, answer] of keys) answers.set(asked, (answers.get(asked) ?? new Set()).add(answer))
    seen.push({ part, answers })
  }
  return overlaps
}

export const overlapNotices = (overlaps: readonly Overlap[], parts: Parts): DataNotice[] =>
  overlaps.map(({ part, other, rows, conflicting }) => ({
    code: 'overlapping-rows',
    message:
      `${rows} of ${rowsOf(parts[part]!.length)} in ${part} ask what rows in ${other} ask as well` +
      (conflicting > 0 ? `, ${conflicting} of them with another answer` : '') +
      `: figures over ${part} say less about rows that were never seen`,
  }))

/** What is taken for preferences; and columns that have some which are not used. */
export function preferenceNotices(
  columns: readonly string[],
  { answer, rejected, thumbs }: Preferences & { readonly answer: string },
  path: string,
): DataNotice[] {
  if (rejected !== undefined)
    return [{ code: 'preferences', message: `rows are pairs: ${shorten(answer)} was preferred to ${shorten(rejected)}` }]
  if (thumbs !== undefined)
    return [{ code: 'preferences', message: `rows are single answers: "${thumbs}" says whether ${shorten(answer)} was liked` }]
  const isNamed = compileTemplate(answer).columns.some(column => column.split(/[.[]/)[0] === usualColumns.chosen)
  if (!columns.includes(usualColumns.chosen) || !columns.includes(usualColumns.rejected) || !isNamed) return []
  return [
    {
      code: 'preference-data',
      message: `${path} has preferences (chosen, rejected): only {chosen} is learned, as an answer like any other; what was rejected is not used. train.loss: { type: dpo } learns from both`,
    },
  ]
}
