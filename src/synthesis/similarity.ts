/** How alike texts are, by the runs of three words that they share; shorter ones by their words. */

const run = 3

const wordsOf = (text: string): readonly string[] => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []

/** Runs of words, without case and marks. */
export function piecesOf(text: string): ReadonlySet<string> {
  const words = wordsOf(text)
  if (words.length < run) return new Set(words)
  return new Set(Array.from({ length: words.length - run + 1 }, (_, i) => words.slice(i, i + run).join(' ')))
}

/** The share of pieces of either text that both have: Jaccard's index, from 0 to 1. */
export function alike(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  const [small, large] = one.size < other.size ? [one, other] : [other, one]
  let shared = 0
  for (const piece of small) if (large.has(piece)) shared++
  const all = one.size + other.size - shared
  return all === 0 ? 1 : shared / all
}

export interface Diversity {
  /** 1 less the mean likeness of two texts, over all pairs, or the first so many. */
  readonly distance: number
  /** Of all pairs of neighbouring words, the share that differ (distinct-2, Li et al. 2016, arXiv 1510.03055). */
  readonly distinctPairs: number
}

const mostPairs = 20_000

/** @param texts in a random order, of which the first are looked at where there are too many pairs */
export function diversityOf(texts: readonly string[]): Diversity {
  const pieces = texts.map(piecesOf)
  let [sum, count] = [0, 0]
  for (let i = 1; i < pieces.length && count < mostPairs; i++)
    for (let j = 0; j < i && count < mostPairs; j++, count++) sum += alike(pieces[i]!, pieces[j]!)
  const pairs = texts.flatMap(text => {
    const words = wordsOf(text)
    return words.slice(1).map((word, i) => `${words[i]} ${word}`)
  })
  return {
    distance: count === 0 ? 1 : 1 - sum / count,
    distinctPairs: pairs.length === 0 ? 1 : new Set(pairs).size / pairs.length,
  }
}
