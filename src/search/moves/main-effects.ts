import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { mean } from '../../numbers.js'
import { randomGenerator, streams } from '../../random.js'

/** What each snippet of a grid does by itself (a factorial design): its cells against all others of its slot, question by question. */

/** A cell of the grid: which snippet of each slot it has, and its score on every question (more is better). */
export interface Cell {
  readonly places: readonly number[]
  readonly scores: readonly number[]
}

export interface MainEffect {
  readonly slot: number
  readonly snippet: number
  /** Mean score with the snippet, and without. */
  readonly mean: number
  readonly others: number
  /** Their difference, with its 95 % interval by resampled questions. */
  readonly effect: number
  readonly low: number
  readonly high: number
  /** By resampled questions, two-sided. */
  readonly p: number
  /** Corrected for the number of snippets (Holm 1979). */
  readonly adjusted: number
}

/** All combinations, the last slot first through. */
export const gridOf = (sizes: readonly number[]): number[][] =>
  sizes.reduce<number[][]>((cells, size) => cells.flatMap(cell => Array.from({ length: size }, (_, i) => [...cell, i])), [[]])

const SAMPLES = 1000

/** @throws nothing; slots of a single snippet have no effect */
export function mainEffects(cells: readonly Cell[], sizes: readonly number[], seed: number): MainEffect[] {
  const questions = cells[0]?.scores.length ?? 0
  const effects: Omit<MainEffect, 'adjusted'>[] = []
  for (const [slot, size] of sizes.entries()) {
    if (size < 2) continue
    for (let snippet = 0; snippet < size; snippet++) {
      const own = cells.filter(({ places }) => places[slot] === snippet)
      const rest = cells.filter(({ places }) => places[slot] !== snippet)
      if (own.length === 0 || rest.length === 0) continue
      const byQuestion = (group: readonly Cell[]) =>
        Array.from({ length: questions }, (_, q) => mean(group.map(({ scores }) => scores[q]!)))
      const [with_, without] = [byQuestion(own), byQuestion(rest)]
      const differences = with_.map((value, q) => value - without[q]!)
      effects.push({ slot, snippet, mean: mean(with_), others: mean(without), ...resampled(differences, seed, slot, snippet) })
    }
  }
  const adjusted = holm(effects.map(({ p }) => p))
  return effects.map((effect, i) => ({ ...effect, adjusted: adjusted[i]! }))
}

function resampled(differences: readonly number[], seed: number, slot: number, snippet: number) {
  const random = randomGenerator(seed, streams.selection, slot, snippet)
  const effect = mean(differences)
  const means = Array.from({ length: SAMPLES }, () =>
    mean(differences.map(() => differences[uniformInt(random, 0, differences.length - 1)]!)),
  ).sort((a, b) => a - b)
  const below = means.filter(value => value <= 0).length
  const above = means.filter(value => value >= 0).length
  const p = Math.min(1, (2 * (Math.min(below, above) + 1)) / (SAMPLES + 1))
  return { effect, low: means[Math.floor(0.025 * SAMPLES)]!, high: means[Math.ceil(0.975 * SAMPLES) - 1]!, p }
}

/** Chances of an error, corrected so that the chance of any error stays below a level (Holm 1979). */
export function holm(chances: readonly number[]): number[] {
  const order = [...chances.keys()].sort((a, b) => chances[a]! - chances[b]!)
  const adjusted: number[] = new Array(chances.length)
  let highest = 0
  for (const [rank, i] of order.entries()) {
    highest = Math.max(highest, Math.min(1, chances[i]! * (chances.length - rank)))
    adjusted[i] = highest
  }
  return adjusted
}
