import type { SearchRow } from './token-space.js'
import type { ReadSequence, ReadToken } from './token-tree.js'

/** What the model wrote on a question under some prompt, and what it then makes of the right answer. */
export interface Reasoned {
  /** Greedy, without the end token. */
  readonly reasoning: readonly number[]
  /** Of each token of the answer, in nats, behind the reasoning and the extractor. */
  readonly logProbabilities: readonly number[]
  /** Whether each of them is the likeliest one in its place: greedy decoding would begin with the answer. */
  readonly isExact: boolean
  /** Besides, what would follow is no part of a longer word or number. */
  readonly isRight: boolean
  /** Whether the reasoning ran out of tokens. */
  readonly isCut: boolean
}

/** A row as each answer of its closed set ends it. */
export function choicesOf(row: SearchRow): SearchRow[] {
  const { after, words } = row.choices!
  return words.map(answer => ({ ...row, after, answer }))
}

/** A row in which the model has reasoned, as if its text said so. */
export const behind = (row: SearchRow, reasoning: readonly number[]): SearchRow => ({
  ...row,
  after: [...row.after, ...reasoning, ...row.extractor],
  extractor: [],
})

/** The reads of the free tokens come first, then those of the answer. */
export function sequenceOf(
  prompt: readonly number[],
  { before, after, extractor, answer }: SearchRow,
  free: readonly number[],
  reasoned?: Reasoned,
): ReadSequence {
  const ids = [...before, ...prompt, ...after, ...(reasoned?.reasoning ?? []), ...extractor, ...answer]
  const first = ids.length - answer.length
  const read = (position: number): ReadToken => ({ position, id: ids[position]! })
  const own = readable({ before }, free).map(position => read(before.length + position))
  return { ids, reads: [...own, ...answer.map((_, i) => read(first + i))] }
}

/** Positions of a prompt that something predicts: all but the first of a text. */
export const readable = ({ before }: Pick<SearchRow, 'before'>, positions: readonly number[]) =>
  before.length > 0 ? positions : positions.filter(position => position > 0)
