import { findOverlaps, type Overlap, type Parts, rowKeys } from '../checks.js'
import type { DataRecord } from '../readers/records.js'
import { type LabelSet, labelWord } from '../texts/labels.js'
import type { Template } from '../texts/template.js'

/** What rows are like, in figures: classes, repeats, overlaps and lengths. It knows nothing of models; lengths come from its caller. */

export interface Lengths {
  readonly least: number
  readonly median: number
  readonly most: number
}

/** A row's length, as `describeData` asks for it. */
export interface RowLength {
  /** Tokens of context and answer together. */
  readonly tokens: number
  readonly answerTokens: number
  /** Whether text had to be cut. */
  readonly truncated: boolean
}

export interface PartDescription {
  readonly rows: number
  /** Rows of each class, the most frequent first; rows without a label are in none. */
  readonly classes?: readonly { readonly label: string; readonly rows: number }[]
  /** Answers that differ. */
  readonly answers: number
  /** Rows whose input an earlier row of the part has as well, and those of them with another answer. */
  readonly repeated: { readonly rows: number; readonly conflicting: number }
  readonly tokens?: Lengths
  readonly answerTokens?: Lengths
  /** Rows whose text is cut, among those that were measured. */
  readonly cut?: number
  /** Rows that were measured: the first so many. */
  readonly measured?: number
}

export interface DataDescription {
  readonly parts: Readonly<Record<string, PartDescription>>
  readonly overlaps: readonly Overlap[]
}

export interface DescribeOptions {
  readonly template: Template
  readonly answer: string
  readonly labels: LabelSet | undefined
  readonly parts: Parts
  /** The length of a row; without it none are given. */
  readonly lengthOf?: ((record: DataRecord, index: number) => RowLength) | undefined
  /** Rows of each part to measure, by default 2,000. */
  readonly measure?: number | undefined
}

/**
 * Describes the rows of a task.
 * @throws GradpromptError as rendering and measuring a row do
 */
export function describeData({ template, answer, labels, parts, lengthOf, measure = 2000 }: DescribeOptions): DataDescription {
  const keysOf = rowKeys(template, answer)
  const described = Object.entries(parts).map(([part, records]) => {
    const keys = records.map(keysOf)
    const measured = lengthOf === undefined ? [] : records.slice(0, measure).map(lengthOf)
    return [
      part,
      {
        rows: records.length,
        ...(labels && { classes: classesOf(records, labels) }),
        answers: new Set(keys.map(([, said]) => said)).size,
        repeated: repeatedOf(keys),
        ...(measured.length > 0 && {
          tokens: lengthsOf(measured.map(({ tokens }) => tokens)),
          answerTokens: lengthsOf(measured.map(({ answerTokens }) => answerTokens)),
          cut: measured.filter(({ truncated }) => truncated).length,
          measured: measured.length,
        }),
      },
    ] as const
  })
  return { parts: Object.fromEntries(described), overlaps: findOverlaps(parts, keysOf) }
}

function classesOf(records: readonly DataRecord[], labels: LabelSet) {
  const counts = new Map(labels.candidates.map(label => [label, 0]))
  for (const [i, record] of records.entries()) {
    const word = labelWord(labels, record, i)
    if (word !== undefined) counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return [...counts].map(([label, rows]) => ({ label, rows })).sort((a, b) => b.rows - a.rows)
}

function repeatedOf(keys: readonly (readonly [string, string])[]) {
  const seen = new Map<string, Set<string>>()
  let [rows, conflicting] = [0, 0]
  for (const [asked, said] of keys) {
    const answers = seen.get(asked)
    if (answers === undefined) seen.set(asked, new Set([said]))
    else {
      rows++
      if (!answers.has(said)) conflicting++
      answers.add(said)
    }
  }
  return { rows, conflicting }
}

/** @param values at least one */
export function lengthsOf(values: readonly number[]): Lengths {
  const sorted = [...values].sort((a, b) => a - b)
  return { least: sorted[0]!, median: sorted[sorted.length >> 1]!, most: sorted.at(-1)! }
}
