import type { AttentionLayout } from '../../kernels/attention/causal.js'
import type { tf } from '../../kernels/tf.js'
import type { InputSpec } from '../../src/program/program.js'
import { integers, type Values } from './numbers.js'

/** A forest as its segments: each goes on where its parent ends; -1 is no parent. */
export interface Segment {
  readonly parent: number
  readonly length: number
}

/** Every key row in one group, in several, or groups that are computed one after the other. */
export type LayoutKind = 'distinct' | 'overlapping' | 'in turn'

/** A position that no other row reaches. */
const BEYOND = 2 ** 30 - 1

/**
 * The kernel's layout of a forest, as arrays: the segments that all others descend from are shared, and every other segment is a group
 * with its own rows and its ancestors' as keys. Where nothing is shared, a placeholder stands as row 0.
 *
 * @param read rows of the forest whose queries are wanted, in their order; by default all
 * @returns the layout's inputs; for each row of keys, and each of queries, the row of the forest that it holds (-1: the placeholder);
 *   which inputs these are
 * @param inTurn groups are to be computed one after the other
 */
export function attentionArrays(
  segments: readonly Segment[],
  read?: readonly number[],
  inTurn = false,
): { inputs: Record<string, Values>; rows: number[]; queries: number[]; kind: LayoutKind } {
  const forest = rowsOf(segments)
  const path = (segment: number): number[] => (segment < 0 ? [] : [...path(segments[segment]!.parent), segment])
  const all = segments.map((_, i) => i)
  // A segment without children keeps rows of its own.
  const isShared = (i: number) =>
    segments.some(({ parent }) => parent === i) && all.every(j => path(j).includes(i) || path(i).includes(j))
  const inSegment = (i: number) => forest.flatMap(({ segment }, row) => (segment === i ? [row] : []))
  const own = all.filter(i => !isShared(i))
  const sharedRows = all.filter(isShared).flatMap(inSegment)
  const placeholder = sharedRows.length === 0
  if (placeholder) sharedRows.push(-1)
  const rows = [...sharedRows, ...own.flatMap(inSegment)]
  const queries = [...(read ?? rows)]

  const groups = own.map(i => ({
    queries: inSegment(i),
    keys: path(i)
      .filter(j => !isShared(j))
      .flatMap(inSegment),
  }))
  const longest = Math.max(...groups.map(group => group.queries.length))
  for (let i = 0; i < sharedRows.length; i += longest) groups.push({ queries: sharedRows.slice(i, i + longest), keys: [] })
  const used = groups
    .map(group => ({ ...group, queries: group.queries.filter(row => queries.includes(row)) }))
    .filter(group => group.queries.length + group.keys.length > 0)

  const length = Math.max(1, ...used.map(group => group.queries.length))
  const width = Math.max(1, ...used.map(({ keys }) => keys.length))
  const padded = (lists: readonly (readonly number[])[], size: number, padding = 0) =>
    lists.flatMap(list => [...list, ...Array<number>(size - list.length).fill(padding)])
  const masking = (row: number) => (row < 0 ? BEYOND : forest[row]!.position)
  const keyRow = (row: number) => rows.indexOf(row)
  const slot = (row: number, of: 'queries' | 'keys', size: number) => {
    const group = used.findIndex(one => one[of].includes(row))
    return group * size + used[group]![of].indexOf(row)
  }
  const shape = [used.length, length]
  const overlapping = new Set(used.flatMap(({ keys }) => keys)).size < used.flatMap(({ keys }) => keys).length
  const kind: LayoutKind = inTurn ? 'in turn' : overlapping ? 'overlapping' : 'distinct'
  const inputs: Record<string, Values> = {
    keyPositions: integers(rows.map(row => (row < 0 ? 0 : masking(row)))),
    sharedPositions: integers(sharedRows.map(masking)),
    queryIndex: integers(padded(used.map(group => group.queries.map(row => queries.indexOf(row))), length, queries.length - 1), shape),
    queryPositions: integers(padded(used.map(group => group.queries.map(masking)), length), shape),
    queryMask: { data: Float32Array.from(padded(used.map(group => group.queries.map(() => 1)), length)), shape },
    querySlot: integers(queries.map(row => slot(row, 'queries', length))),
    keyIndex: integers(padded(used.map(({ keys }) => keys.map(keyRow)), width), [used.length, width]),
    ...(kind === 'distinct' && { keySlot: integers(rows.slice(sharedRows.length).map(row => slot(row, 'keys', width))) }),
    ...(kind === 'in turn' && { keyCount: integers(used.map(({ keys }) => keys.length)) }),
  } // biome-ignore format: one line for each
  return { inputs, rows, queries, kind }
}

/** Rows of a forest, segment after segment. */
export function rowsOf(segments: readonly Segment[]): { segment: number; position: number }[] {
  const ends: number[] = []
  return segments.flatMap(({ parent, length }, segment) => {
    const start = parent < 0 ? 0 : ends[parent]!
    ends.push(start + length)
    return Array.from({ length }, (_, i) => ({ segment, position: start + i }))
  })
}

const int = (...shape: string[]): InputSpec => ({ shape, dtype: 'int32' })

/** The inputs of a program that takes a layout: Q queries, P + S keys. */
export const layoutInputs = (kind: LayoutKind): Record<string, InputSpec> => ({
  keyPositions: int('P+S'),
  sharedPositions: int('P'),
  queryIndex: int('G', 'T'),
  queryPositions: int('G', 'T'),
  queryMask: { shape: ['G', 'T'], dtype: 'float32' },
  querySlot: int('Q'),
  keyIndex: int('G', 'K'),
  ...(kind === 'distinct' && { keySlot: int('S') }),
  ...(kind === 'in turn' && { keyCount: int('G') }),
})

export const LAYOUT_DIMENSIONS = Object.fromEntries(['P', 'S', 'Q', 'G', 'T', 'K'].map(name => [name, [1, 128] as const]))

/** The layout from a program's inputs. */
export const layoutOf = (inputs: Readonly<Record<string, tf.Tensor>>): AttentionLayout => inputs as unknown as AttentionLayout
