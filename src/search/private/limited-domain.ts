/**
 * The choice of the most frequent of many things under differential privacy, without looking at the rare ones: LimitedDomain with one winner
 * (Durfee and Rogers 2019, arXiv 1905.04273, algorithm 1).
 */
export interface LimitedDomain {
  /** How many things there are, known before any count. */
  readonly size: number
  /** The most frequent that may win. */
  readonly candidates: number
  readonly tokenEpsilon: number
  readonly tokenDelta: number
  /** Whether a row moves a vote, and does not add its own. */
  readonly moves: boolean
}

/**
 * By how many votes the threshold lies above the first count that cannot win, without its noise: a thing that a row's vote has brought among
 * the candidates, or driven out of them, is at most one vote above that count, two where the vote was moved; it then wins with a chance below delta0.
 * One thing at most changes so in either case; the logarithm has the published min(2, ...), which only errs on the safe side.
 */
export function thresholdAbove({ size, candidates, tokenEpsilon, tokenDelta, moves }: LimitedDomain): number {
  const changed = Math.max(1, Math.min(2, candidates, size - candidates))
  return (moves ? 2 : 1) + Math.log(changed / tokenDelta) / tokenEpsilon
}

/** Counts of things, the highest first and of equals the lower id: an order that no row has a say in beside its count. */
function highest(counts: ReadonlyMap<number, number>, count: number, size: number): [id: number, count: number][] {
  const sorted = [...counts].sort(([a, x], [b, y]) => y - x || a - b).slice(0, count)
  // Things without a vote are candidates like any other.
  for (let id = 0; sorted.length < Math.min(count, size); id++) if (!counts.has(id)) sorted.push([id, 0])
  return sorted
}

/**
 * @param counts votes by id, none of them 0
 * @param noise standard Gumbel numbers: of the threshold, then of each candidate
 * @returns the winner; undefined where the threshold is above all candidates
 */
export function limitedTop(counts: ReadonlyMap<number, number>, domain: LimitedDomain, noise: Float64Array): number | undefined {
  const { candidates, tokenEpsilon, size } = domain
  const sorted = highest(counts, candidates + 1, size)
  const above = sorted[candidates]?.[1] ?? 0
  let best = above + thresholdAbove(domain) + noise[0]! / tokenEpsilon
  let winner: number | undefined
  for (const [i, [id, count]] of sorted.slice(0, candidates).entries()) {
    const noisy = count + noise[i + 1]! / tokenEpsilon
    if (noisy < best) continue
    best = noisy
    winner = id
  }
  return winner
}

/** By how many votes the first is ahead of the one that the threshold lies above. */
export function leadOf(
  counts: ReadonlyMap<number, number>,
  { candidates, size }: Pick<LimitedDomain, 'candidates' | 'size'>,
): number {
  const sorted = highest(counts, candidates + 1, size)
  return (sorted[0]?.[1] ?? 0) - (sorted[candidates]?.[1] ?? 0)
}

/** The vote without noise: the control, which nothing is promised of. Of equals the lower id; undefined where there is no vote. */
export const plainTop = (counts: ReadonlyMap<number, number>): number | undefined => highest(counts, 1, counts.size)[0]?.[0]

/** Votes by id. */
export function counted(votes: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>()
  for (const id of votes) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

/** The place of the highest of whole counts with noise: report-noisy-max of scores that a row raises by 1 or not at all, epsilon in all. */
export function noisyTop(counts: readonly number[], epsilon: number, noise: Float64Array): number {
  let best = 0
  const noisy = counts.map((count, i) => count + noise[i]! / epsilon)
  for (const [i, value] of noisy.entries()) if (value > noisy[best]!) best = i
  return best
}
