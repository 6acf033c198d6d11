import { greaterSchema } from '../../../src/search/methods/greater.js'
import { contextOf, drawnCosts, type Landscape } from './context.js'

export const PERIOD = 1
export const COLON = 2
export const start = [10, 11, 12]
export const text = (id: number) => (id === PERIOD ? '.' : id === COLON ? ':' : ` w${id}`)

export type Asked = { readonly ids: readonly number[]; readonly rows: number; readonly options: Record<string, unknown> }

/** Tokens are the likelier the higher `likelihood` says; prompts grow where `canGrow` says so. */
export function worldOf({
  likelihood = (_: number, id: number) => id,
  canGrow = false,
  frozen = [],
  vocabSize = 30,
  ...landscape
}: Partial<Landscape> & {
  likelihood?: (position: number, id: number) => number
  canGrow?: boolean
  frozen?: readonly number[]
  vocabSize?: number
} = {}) {
  const costs = landscape.costs ?? drawnCosts(8, vocabSize, 3)
  const own: Landscape = { costs, start, text, rows: 6, ...landscape }
  const gradients: Asked[] = []
  const held: { prompts: (readonly number[])[]; rows: number; under: readonly number[] }[] = []
  const raced: number[] = []
  /** Questions whose proposals were asked for: together, and each for itself. */
  const proposed = { together: [] as number[], each: [] as number[] }
  const { context, lossOf, scored } = contextOf(own)
  const rowOf = (position: number) => Array.from({ length: costs[0]!.length }, (_, id) => likelihood(position, id))
  const objective = {
    gradient([ids]: readonly number[][], rows: readonly unknown[], options: Record<string, unknown>) {
      gradients.push({ ids: ids!, rows: rows.length, options })
      return Promise.resolve({ loss: 0, gradient: Float32Array.from(ids!.flatMap((_, i) => costs[i]!)) })
    },
    proposals(_: unknown, rows: readonly unknown[], positions: readonly number[]) {
      proposed.together.push(rows.length)
      return Promise.resolve(Float32Array.from(positions.flatMap(position => rowOf(position))))
    },
    proposalsByRow(_: unknown, rows: readonly unknown[], position: number) {
      proposed.each.push(rows.length)
      return Promise.resolve(rows.map(() => Float32Array.from(rowOf(position))))
    },
    score(prompts: readonly number[][], rows: readonly unknown[]) {
      raced.push(rows.length)
      return Promise.resolve(prompts.map(ids => ({ loss: lossOf(ids), rowLosses: [], exact: false, exactRows: 0 })))
    },
    scoreHeld(prompts: readonly (readonly number[])[], rows: readonly unknown[], under: readonly number[]) {
      held.push({ prompts: [...prompts], rows: rows.length, under })
      // Contrary to the truth, so that it is seen who decides.
      return Promise.resolve(prompts.map(ids => ({ loss: -lossOf(ids) })))
    },
  }
  const space = {
    ...context.space,
    canGrow,
    freeOf: (ids: readonly number[]) => [...ids.keys()].filter(position => !frozen.includes(position)),
    text: (ids: readonly number[]) => ids.map(text).join(''),
  }
  return {
    context: { ...context, objective, space } as unknown as typeof context,
    costs,
    lossOf,
    scored,
    gradients,
    held,
    raced,
    proposed,
  }
}

export const options = (given: Record<string, unknown> = {}) => greaterSchema.parse({ type: 'greater', blocks: 1, ...given })
export const fresh = { ids: start, position: 0, tried: [], best: null, stale: 0 }
export const keys = (prompts: readonly (readonly number[])[]) => prompts.map(ids => ids.join(' '))

/** All swaps of some positions that tokens of a list make, the one that lowers the loss most first. */
export function steepest(costs: readonly (readonly number[])[], positions: readonly number[], tokens: readonly number[]) {
  return positions
    .flatMap(position => tokens.map(to => ({ position, to, score: costs[position]![to]! - costs[position]![start[position]!]! })))
    .filter(({ position, to }) => to !== start[position] && to !== start[position - 1])
    .sort((a, b) => a.score - b.score)
}
