import { type LabelSet, labelWord } from './labels.js'
import { shuffle, streams } from './random.js'
import type { DataRecord } from './records.js'

/** What a token of an example is: text of the template, a value from the data, or the answer. */
export type TokenKind = 'template' | 'input' | 'label'

/** A training row as something to show: what is fed, without a BOS, and what each token is. */
export interface ExampleRow {
  readonly ids: readonly number[]
  /** [ids.length] */
  readonly kinds: readonly TokenKind[]
}

/**
 * Draws rows to show, class after class in turn where there are classes, so that none is missing for long.
 * @returns indices into the records, as many as asked for or as there are
 */
export function drawExamples(
  records: readonly DataRecord[],
  labels: LabelSet | undefined,
  count: number,
  seed: number,
): number[] {
  const order = shuffle([...records.keys()], seed, streams.example)
  if (labels === undefined) return order.slice(0, count)
  const classes = new Map<string | undefined, number[]>()
  for (const index of order) {
    const word = labelWord(labels, records[index]!, index)
    classes.set(word, [...(classes.get(word) ?? []), index])
  }
  const queues = [...classes.values()]
  const longest = Math.max(0, ...queues.map(({ length }) => length))
  const turns = Array.from({ length: longest }, (_, turn) => queues.flatMap(queue => queue.slice(turn, turn + 1)))
  return turns.flat().slice(0, count)
}

/**
 * Which tokens of a context come from the data. A token that holds any character of a value counts as input.
 *
 * @param values in the order of the template; where one cannot be found as it is, its tokens count as the template's
 * @param decode gives the text of a run of ids
 */
export function contextKinds(
  ids: readonly number[],
  values: readonly string[],
  decode: (ids: readonly number[]) => string,
): TokenKind[] {
  const text = decode(ids)
  const spans: { start: number; end: number }[] = []
  let from = 0
  for (const value of values) {
    const start = value === '' ? -1 : text.indexOf(value, from)
    if (start < 0) continue
    from = start + value.length
    spans.push({ start, end: from })
  }
  const ends = ids.map((_, i) => decode(ids.slice(0, i + 1)).length)
  return ids.map((_, i) => {
    const [start, end] = [i === 0 ? 0 : ends[i - 1]!, ends[i]!]
    return spans.some(span => span.start < end && start < span.end) ? 'input' : 'template'
  })
}
