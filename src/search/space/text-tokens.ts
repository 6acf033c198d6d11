import type { SearchRow } from './token-space.js'

/** Nats of pointwise mutual information from which two tokens that follow each other belong together. */
const STRONG = 1

/**
 * The tokens that rows' own texts are made of, without what all rows begin and end with: first those that stand in tokens which belong
 * together by their pointwise mutual information, the most frequent ones first, then the others (the vocabulary of BDPL, Diao et al.
 * 2023, whose entries are whole n-grams).
 */
export function textTokens(rows: readonly SearchRow[]): number[] {
  const texts = [ownParts(rows.map(({ before }) => before)), ownParts(rows.map(({ after }) => after))].flat()
  const alone = new Map<number, number>()
  const pairs = new Map<string, number>()
  let total = 0
  for (const ids of texts)
    for (const [i, id] of ids.entries()) {
      count(alone, id)
      if (i === 0) continue
      count(pairs, `${ids[i - 1]} ${id}`)
      total++
    }
  const together = new Map<number, number>()
  for (const ids of texts)
    for (let i = 1; i < ids.length; i++) {
      const [a, b] = [ids[i - 1]!, ids[i]!]
      const information = Math.log((total * pairs.get(`${a} ${b}`)!) / (alone.get(a)! * alone.get(b)!))
      if (information < STRONG) continue
      count(together, a)
      count(together, b)
    }
  const bound = [...alone.keys()].filter(id => together.has(id))
  const rest = [...alone.keys()].filter(id => !together.has(id))
  const by = (counts: ReadonlyMap<number, number>) => (a: number, b: number) => counts.get(b)! - counts.get(a)! || a - b
  return [...bound.sort(by(together)), ...rest.sort(by(alone))]
}

/** Texts without the beginning and the end that all of them share. */
function ownParts(texts: readonly (readonly number[])[]): number[][] {
  const shortest = Math.min(...texts.map(({ length }) => length))
  const isAlike = (at: (ids: readonly number[]) => number | undefined) => texts.every(ids => at(ids) === at(texts[0]!))
  let [start, end] = [0, 0]
  while (start < shortest && isAlike(ids => ids[start])) start++
  while (end < shortest - start && isAlike(ids => ids.at(-1 - end))) end++
  return texts.map(ids => ids.slice(start, ids.length - end))
}

function count<T>(counts: Map<T, number>, key: T): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
