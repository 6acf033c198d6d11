import type { ProgramInput } from '../../program/program.js'

/** Query rows that see the same keys, beside those that all rows see. */
export interface Group {
  readonly queries: readonly number[]
  readonly keys: readonly number[]
}

/** Pairs of a query and a key that attention compares at once. */
const PAIRS_AT_ONCE = 1 << 20
/** Groups of fewer pairs each are computed at once however many they are: a turn of the loop would cost as much as their products. */
const PAIRS_OF_A_TURN = 1 << 15

/**
 * Whether groups are computed one after the other, and long ones in parts: what stands in memory then grows with a text's length, not with
 * its square.
 */
export const isInTurn = (pairs: number, groups: number): boolean => pairs > PAIRS_AT_ONCE && pairs > PAIRS_OF_A_TURN * groups

/** Queries of a part. */
export const PART = 256

/** Every key row in one group, in several (children see their parents' keys), or groups that are computed one after the other. */
export type ForestLayout = 'distinct' | 'overlapping' | 'in turn'

/** Pairs that attention compares: groups are as long as the longest, and all see the shared rows beside their own keys. */
export const pairsOf = (groups: readonly Group[], shared: number): number =>
  groups.length * lengthOf(groups) * (shared + widthOf(groups))

/** Groups of at most `PART` queries, each with the keys that its queries see. */
export const inParts = (groups: readonly Group[], positions: readonly number[]): Group[] =>
  groups.flatMap(({ queries, keys }) =>
    Array.from({ length: Math.ceil(queries.length / PART) }, (_, i) => {
      const part = queries.slice(i * PART, (i + 1) * PART)
      const last = part.reduce((most, row) => Math.max(most, positions[row]!), 0)
      return { queries: part, keys: keys.filter(row => positions[row]! <= last) }
    }),
  )

/** How groups become the tensors of an `AttentionLayout` (kernels/attention/causal.ts). */
export interface GroupLayout {
  /** What stands before the tensors' names: '' or `read`. */
  readonly name: string
  readonly groups: readonly Group[]
  /** By which keys are seen: a position for each row. */
  readonly masking: Int32Array
  /** Numbers the query rows, of which there are `count`. */
  readonly place: (row: number) => number
  readonly count: number
  readonly layout: ForestLayout
}

/** The tensors of an `AttentionLayout` without gradient: shorter groups are filled with what the mask leaves out. */
export function groupInputs({ name, groups, masking, place, count, layout }: GroupLayout): Record<string, ProgramInput> {
  const length = lengthOf(groups)
  const width = widthOf(groups)
  const queryIndex = new Int32Array(groups.length * length)
  const queryPositions = new Int32Array(groups.length * length)
  const queryMask = new Float32Array(groups.length * length)
  const querySlot = new Int32Array(count)
  const keyIndex = new Int32Array(groups.length * width)
  for (const [group, { queries, keys }] of groups.entries()) {
    for (const [i, row] of queries.entries()) {
      const slot = group * length + i
      queryIndex[slot] = place(row)
      queryPositions[slot] = masking[row]!
      queryMask[slot] = 1
      querySlot[place(row)] = slot
    }
    keyIndex.set(keys, group * width)
  }
  const queries: [number, number] = [groups.length, length]
  return {
    [named(name, 'queryIndex')]: { data: queryIndex, shape: queries },
    [named(name, 'queryPositions')]: { data: queryPositions, shape: queries },
    [named(name, 'queryMask')]: { data: queryMask, shape: queries },
    [named(name, 'querySlot')]: vector(querySlot),
    [named(name, 'keyIndex')]: { data: keyIndex, shape: [groups.length, width] },
    ...(layout === 'in turn' && { [named(name, 'keyCount')]: vector(Int32Array.from(groups, ({ keys }) => keys.length)) }),
  }
}

/** For the gradient, where every key row stands in one group: its place there. The first `first` rows are keys of all. */
export function keySlots({ name, groups }: Pick<GroupLayout, 'name' | 'groups'>, first: number, rows: number) {
  const width = widthOf(groups)
  const keySlot = new Int32Array(rows - first)
  for (const [group, { keys }] of groups.entries())
    for (const [i, row] of keys.entries()) keySlot[row - first] = group * width + i
  return { [named(name, 'keySlot')]: vector(keySlot) }
}

const lengthOf = (groups: readonly Group[]) => Math.max(1, ...groups.map(({ queries }) => queries.length))
const widthOf = (groups: readonly Group[]) => Math.max(1, ...groups.map(({ keys }) => keys.length))

const named = (name: string, key: string) => (name ? name + key[0]!.toUpperCase() + key.slice(1) : key)

export const vector = (data: Int32Array | Float32Array): ProgramInput => ({ data, shape: [data.length] })
