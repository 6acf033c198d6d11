import type { InstructionEdges } from './method.js'

/**
 * The first and the last tokens of an instruction, as ReFT counts them (Wu et al. 2024, arXiv 2404.03592, and its program): so many from
 * each side, and of an instruction of L tokens floor(L / 2) at most, so that no token is one of both.
 */

/** @param index of the token in its text, from 0 @param length tokens of the text's instruction: none behind them is an edge */
export function isEdge({ first, last }: InstructionEdges, index: number, length: number): boolean {
  const half = Math.floor(length / 2)
  return index < Math.min(first, half) || (index < length && index >= length - Math.min(last, half))
}

/**
 * How many tokens, from the first, are alike for all of some texts in being edges or not: so far a row may stand for all of them.
 * @param lengths tokens of each text's instruction
 * @param most a number that is large enough
 */
export function edgesAlike(edges: InstructionEdges, lengths: readonly number[], most: number): number {
  const [one = 0, ...others] = new Set(lengths)
  let alike = 0
  while (alike < most && others.every(length => isEdge(edges, alike, length) === isEdge(edges, alike, one))) alike++
  return alike
}

/**
 * A text by which beginnings are known: its ids, of which edges are written as other numbers than the same tokens elsewhere.
 * @param ids of an instruction alone
 */
export const withEdges = (edges: InstructionEdges | undefined, ids: readonly number[]): readonly number[] =>
  edges === undefined ? ids : ids.map((id, i) => (isEdge(edges, i, ids.length) ? -1 - id : id))
