import type { ProgramInput } from '../program/program.js'

/** Query rows that see the same keys, beside those that all rows see. */
export interface Group {
  readonly queries: readonly number[]
  readonly keys: readonly number[]
}

/** How groups become the tensors of an `AttentionLayout` (kernels/causal-attention.ts). */
export interface GroupLayout {
  /** What stands before the tensors' names: '' or `read`. */
  readonly name: string
  readonly groups: readonly Group[]
  /** By which keys are seen: a position for each row. */
  readonly masking: Int32Array
  /** Numbers the query rows, of which there are `count`. */
  readonly place: (row: number) => number
  readonly count: number
}

/** The tensors of an `AttentionLayout` without gradient: shorter groups are filled with what the mask leaves out. */
export function groupInputs({ name, groups, masking, place, count }: GroupLayout): Record<string, ProgramInput> {
  const length = Math.max(1, ...groups.map(({ queries }) => queries.length))
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

const widthOf = (groups: readonly Group[]) => Math.max(1, ...groups.map(({ keys }) => keys.length))

const named = (name: string, key: string) => (name ? name + key[0]!.toUpperCase() + key.slice(1) : key)

export const vector = (data: Int32Array | Float32Array): ProgramInput => ({ data, shape: [data.length] })
