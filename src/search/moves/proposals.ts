import { draw } from '../space/candidates.js'
import type { SearchRow } from '../space/token-space.js'
import type { SearchContext } from './method.js'

/**
 * How the next-token distributions of several questions become one set of tokens. `intersection`: what is among the top k of all (GReaTer's
 * paper). `union`: the union of several such sets of five questions each (its released code). `mean`: the k of the best mean log-probability.
 */
export const proposalKinds = ['intersection', 'union', 'mean'] as const
export type ProposalKind = (typeof proposalKinds)[number]

export interface ProposalOptions {
  readonly proposals: ProposalKind
  readonly topk: number
  readonly mu: number
}

/** Intersections of which a union is made, and questions of each. */
const INTERSECTIONS = 5
const INTERSECTED = 5

/**
 * Tokens that the model itself would put at some positions, whatever the question. The token that stands before a position is never
 * proposed for it. A set that is smaller than twice the shortlist grows, by larger k, as far as the vocabulary goes.
 *
 * @param positions up to the one behind the prompt's last token
 * @returns for each position ids, the likeliest first
 */
export async function proposeTokens(
  ids: readonly number[],
  positions: readonly number[],
  sampled: readonly SearchRow[],
  { proposals, topk, mu }: ProposalOptions,
  context: SearchContext,
): Promise<number[][]> {
  const { objective, allowed, rows, random } = context
  const allowedAt = (position: number) => allowed.filter(id => id !== ids[position - 1])
  if (proposals === 'mean') {
    const means = await objective.proposals(ids, sampled, positions)
    const vocabSize = means.length / positions.length
    return positions.map((position, j) =>
      highest(means.subarray(j * vocabSize, (j + 1) * vocabSize), allowedAt(position), Math.max(topk, 2 * mu)),
    )
  }
  const result: number[][] = []
  for (const position of positions) {
    const asked = proposals === 'union' ? rows : sampled
    const logProbabilities = await objective.proposalsByRow(ids, asked, position)
    const candidates = allowedAt(position)
    const groups =
      proposals === 'union'
        ? Array.from({ length: INTERSECTIONS }, (_, i) => draw([...asked.keys()], INTERSECTED, random(5, i)))
        : [[...asked.keys()]]
    result.push(commonTokens(logProbabilities, groups, candidates, topk, 2 * mu))
  }
  return result
}

/** The union over groups of what is among the top k of each member, with the smallest k from `topk` on, in twos, that gives enough. */
function commonTokens(
  logProbabilities: readonly Float32Array[],
  groups: readonly (readonly number[])[],
  allowed: Int32Array,
  topk: number,
  least: number,
): number[] {
  const means = new Float32Array(logProbabilities[0]!.length)
  for (const own of logProbabilities) for (const id of allowed) means[id]! += own[id]! / logProbabilities.length
  const orders = logProbabilities.map(own => highest(own, allowed, allowed.length))
  for (let k = topk; ; k += 2) {
    const tops = orders.map(order => new Set(order.slice(0, k)))
    const found = new Set(
      groups.flatMap(group => orders[group[0]!]!.slice(0, k).filter(id => group.every(i => tops[i]!.has(id)))),
    )
    if (found.size >= Math.min(least, allowed.length) || k >= allowed.length)
      return [...found].sort((a, b) => means[b]! - means[a]! || a - b)
  }
}

/** The allowed ids of the highest values, in falling order; of equal ones the lower id first. */
const highest = (values: Float32Array, allowed: Int32Array, count: number): number[] =>
  Array.from(allowed)
    .sort((a, b) => values[b]! - values[a]! || a - b)
    .slice(0, count)
