import { randomGenerator } from '../../../src/random.js'
import type { ScoredCandidate, SearchContext } from '../../../src/search/moves/method.js'
import type { Candidate } from '../../../src/search/space/candidates.js'

/** What a step of a search works with, without a model: every token costs something where it stands, and a loss is the sum of it. */
export interface Landscape {
  /** `costs[position][id]` */
  readonly costs: readonly (readonly number[])[]
  readonly start: readonly number[]
  readonly free?: readonly number[]
  readonly allowed?: readonly number[]
  readonly rows?: number
  readonly seed?: number
  readonly step?: number
  readonly steps?: number
  readonly isBatched?: boolean
  readonly readsBack?: (ids: readonly number[]) => boolean
  /** Whether every answer token is the likeliest one. */
  readonly exact?: (ids: readonly number[]) => boolean
  /** Text of a token. */
  readonly text?: (id: number) => string
}

/** Costs drawn by seed, between 0 and 1. */
export function drawnCosts(positions: number, vocabSize: number, seed: number): number[][] {
  const random = randomGenerator(seed, 77)
  return Array.from({ length: positions }, () => Array.from({ length: vocabSize }, () => (random.next() >>> 0) / 2 ** 32))
}

/** A token's embedding is the unit vector of its own, so that a row of the gradient is a row of the costs. */
export function contextOf(landscape: Landscape, overrides: Record<string, unknown> = {}) {
  const { costs, start, seed = 1, step = 0, steps = 10, isBatched = false, exact = () => false, text = String } = landscape
  const free = landscape.free ?? [...start.keys()]
  const vocabSize = costs[0]!.length
  const lossOf = (ids: readonly number[]) => ids.reduce((sum, id, i) => sum + costs[i]![id]!, 0)
  const scoreOf = (ids: readonly number[]) => ({
    ...{ loss: lossOf(ids), rowLosses: [lossOf(ids)], exact: exact(ids), exactRows: exact(ids) ? 1 : 0 },
  })
  /** What was scored exactly, call by call. */
  const scored: (readonly number[])[][] = []
  /** The same, with their swaps, and with those that do not read back. */
  const given: (readonly Candidate[])[] = []
  /** Prompts whose gradient was asked for, and by how many rows. */
  const gradients: { readonly ids: readonly number[]; readonly rows: number }[] = []
  const readsBack = landscape.readsBack ?? (() => true)
  const context = {
    space: {
      start,
      free,
      freeOf: (ids: readonly number[]) => (ids.length === start.length ? free : [...ids.keys()]),
      canGrow: false,
      text: (ids: readonly number[]) => ids.map(text).join(''),
    },
    embedding: { hiddenSize: vocabSize, vocabSize, project: (rows: Float32Array) => Promise.resolve(rows) },
    allowed: Int32Array.from(landscape.allowed ?? Array.from({ length: vocabSize }, (_, id) => id)),
    rows: Array.from({ length: landscape.rows ?? 1 }, (_, index) => ({ index })),
    objective: {
      gradient([ids]: readonly number[][], rows: readonly unknown[]) {
        gradients.push({ ids: ids!, rows: rows.length })
        return Promise.resolve({ loss: lossOf(ids!), gradient: Float32Array.from(ids!.flatMap((_, i) => costs[i]!)) })
      },
      score: (prompts: readonly number[][]) => Promise.resolve(prompts.map(scoreOf)),
    },
    ...{ isBatched, seed, step, steps, readsBack },
    random: (...stream: number[]) => randomGenerator(seed, step, ...stream),
    guess: () => Promise.resolve(undefined),
    score(candidates: readonly Candidate[]): Promise<ScoredCandidate[]> {
      given.push(candidates)
      const kept = candidates.filter(({ ids }) => readsBack(ids))
      scored.push(kept.map(({ ids }) => ids))
      return Promise.resolve(kept.map(one => ({ ...one, ...scoreOf(one.ids) })).sort((a, b) => a.loss - b.loss))
    },
    ...overrides,
  } as unknown as SearchContext
  return { context, lossOf, scored, given, gradients }
}
