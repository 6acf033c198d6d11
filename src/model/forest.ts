import type { InputSpec, ProgramInput } from '../program/program.js'

/**
 * A batch of token sequences as a forest: what all of them begin with stands once (the shared rows), then each sequence's own rows,
 * then the rows of its children (answers that continue one text). Every row is computed once, and no row is padding.
 */
export interface Sequence {
  /** Token ids; the soft prompt is not among them. */
  readonly ids: readonly number[]
  /** Continuations that branch off at the end. */
  readonly children?: readonly (readonly number[])[]
}

export interface PromptPlacement {
  readonly numVirtualTokens: number
  /** `after-bos`: behind the first token, which all sequences must share. */
  readonly position: 'before-bos' | 'after-bos'
}

/** A token that some row predicts. */
export interface Target {
  /** The row whose logits predict it. */
  readonly row: number
  readonly id: number
  readonly weight: number
}

/** A position that no other position reaches: the placeholder row that stands where nothing is shared sees itself alone. */
const BEYOND = 2 ** 30
const PADDING_TOKEN = 0

interface Segment {
  readonly start: number
  readonly length: number
}

export class Forest {
  readonly tokenIds: number[] = []
  /** Position of each row. */
  readonly positions: number[] = []
  /** Number of shared rows. */
  readonly shared: number
  private readonly prefix: number
  /** Own rows of each sequence. */
  private readonly own: Segment[] = []
  private readonly children: Segment[][] = []
  private readonly placeholder: boolean

  constructor(
    sequences: readonly Sequence[],
    private readonly placement: PromptPlacement,
  ) {
    const { numVirtualTokens, position } = placement
    const afterFirst = numVirtualTokens > 0 && position === 'after-bos'
    const lists = sequences.map(({ ids }) => ids)
    // Each sequence keeps a row of its own.
    this.prefix = Math.min(commonPrefix(lists), Math.max(afterFirst ? 1 : 0, Math.min(...lists.map(ids => ids.length)) - 1))
    this.placeholder = numVirtualTokens + this.prefix === 0
    if (this.placeholder) this.push(PADDING_TOKEN, 0)
    for (let i = 0; i < numVirtualTokens; i++) this.positions.push(afterFirst ? i + 1 : i)
    for (let i = 0; i < this.prefix; i++) this.push(lists[0]![i]!, this.positionOf(i))
    this.shared = this.positions.length
    for (const ids of lists) {
      const start = this.positions.length
      for (let i = this.prefix; i < ids.length; i++) this.push(ids[i]!, this.positionOf(i))
      if (this.positions.length === start) this.push(PADDING_TOKEN, this.positionOf(this.prefix))
      this.own.push({ start, length: this.positions.length - start })
    }
    for (const { ids, children } of sequences) {
      this.children.push(
        (children ?? []).map(tokens => {
          const start = this.positions.length
          for (const [i, id] of tokens.entries()) this.push(id, this.positionOf(ids.length + i))
          return { start, length: tokens.length }
        }),
      )
    }
  }

  get rows(): number {
    return this.positions.length
  }

  get hasChildren(): boolean {
    return this.children.some(segments => segments.some(({ length }) => length > 0))
  }

  private push(id: number, position: number): void {
    this.tokenIds.push(id)
    this.positions.push(position)
  }

  /** Position of a sequence's token by its place among the ids. */
  private positionOf(index: number): number {
    const { numVirtualTokens, position } = this.placement
    return position === 'after-bos' && index === 0 ? 0 : index + numVirtualTokens
  }

  /**
   * Row of a sequence's token. Index -1 is what stands before the first token: the soft prompt's last row.
   *
   * @returns undefined for -1 when nothing stands there
   */
  rowOf(sequence: number, index: number): number | undefined {
    const { numVirtualTokens, position } = this.placement
    if (index < 0) return numVirtualTokens > 0 && position === 'before-bos' ? numVirtualTokens - 1 : undefined
    if (index === 0 && position === 'after-bos' && numVirtualTokens > 0) return numVirtualTokens - 1
    if (index < this.prefix) return numVirtualTokens + index
    return this.own[sequence]!.start + index - this.prefix
  }

  /** Row of a child's token. */
  childRow(sequence: number, child: number, index: number): number {
    return this.children[sequence]![child]!.start + index
  }

  /** The inputs of a program over this forest that reads the targets' rows. */
  inputs(targets: readonly Target[]): { inputs: Record<string, ProgramInput>; readRows: number[] } {
    const readRows = [...new Set([0, ...targets.map(({ row }) => row)])].sort((a, b) => a - b)
    const place = new Map(readRows.map((row, i) => [row, i]))
    const rowWeight = new Float32Array(readRows.length)
    for (const { row, weight } of targets) rowWeight[place.get(row)!]! += weight
    const readInverse = new Int32Array(this.rows).fill(readRows.length)
    for (const [row, i] of place) readInverse[row] = i
    const sharedPositions = Int32Array.from(this.positions.slice(0, this.shared))
    if (this.placeholder) sharedPositions[0] = BEYOND
    const vector = (data: Int32Array | Float32Array) => ({ data, shape: [data.length] })
    const inputs: Record<string, ProgramInput> = {
      tokenIds: vector(Int32Array.from(this.tokenIds)),
      positions: vector(Int32Array.from(this.positions)),
      sharedPositions: vector(sharedPositions),
      readIndex: vector(Int32Array.from(readRows)),
      readInverse: vector(readInverse),
      targetRow: vector(Int32Array.from(targets, ({ row }) => place.get(row)!)),
      targetId: vector(Int32Array.from(targets, ({ id }) => id)),
      targetWeight: vector(Float32Array.from(targets, ({ weight }) => weight)),
      rowWeight: vector(rowWeight),
    }
    for (const [i, grouping] of this.groupings(place).entries()) {
      for (const [name, value] of Object.entries(grouping)) inputs[`${name}${i}`] = value
    }
    return { inputs, readRows }
  }

  /** Own segment first; then, where there are children, the segment that they continue. */
  private groupings(place: ReadonlyMap<number, number>): Record<string, ProgramInput>[] {
    const own = [...this.own, ...this.children.flat().filter(({ length }) => length > 0)].map(segment => ({
      keys: segment,
      queries: [segment],
    }))
    const groupings = [this.grouping(own, place)]
    if (this.hasChildren) {
      const parents = this.own
        .map((keys, i) => ({ keys, queries: this.children[i]! }))
        .filter(({ queries }) => queries.some(({ length }) => length > 0))
      groupings.push(this.grouping(parents, place))
    }
    return groupings
  }

  private grouping(
    groups: readonly { keys: Segment; queries: readonly Segment[] }[],
    place: ReadonlyMap<number, number>,
  ): Record<string, ProgramInput> {
    const keyRows = groups.map(({ keys }) => range(keys))
    const queryRows = groups.map(({ queries }) => queries.flatMap(range))
    const keys = new Slots(keyRows)
    const queries = new Slots(queryRows)
    // Of the rows that are read, by their place among these.
    const read = new Slots(queryRows.map(rows => rows.flatMap(row => place.get(row) ?? [])))
    const readGroup = new Int32Array(place.size).fill(-1)
    const queryGroup = new Int32Array(this.rows).fill(-1)
    for (const [group, rows] of queryRows.entries()) {
      for (const row of rows) {
        queryGroup[row] = group
        const at = place.get(row)
        if (at !== undefined) readGroup[at] = group
      }
    }
    return {
      keyIndex: keys.index,
      keySlot: { data: keys.slots(this.rows).subarray(this.shared), shape: [this.rows - this.shared] },
      queryIndex: queries.index,
      querySlot: { data: queries.slots(this.rows), shape: [this.rows] },
      queryGroup: { data: queryGroup, shape: [this.rows] },
      readIndexOf: read.index,
      readSlot: { data: read.slots(place.size), shape: [place.size] },
      readGroup: { data: readGroup, shape: [place.size] },
    }
  }
}

/** Rows laid out in padded groups. At least one slot stays empty: rows outside every group point at it. */
class Slots {
  readonly index: { data: Int32Array; shape: [number, number] }
  private readonly empty: number

  constructor(private readonly groups: readonly (readonly number[])[]) {
    const longest = Math.max(...groups.map(rows => rows.length))
    const length = groups.every(rows => rows.length === longest) ? longest + 1 : longest
    const data = new Int32Array(groups.length * length)
    for (const [group, rows] of groups.entries()) data.set(rows, group * length)
    this.index = { data, shape: [groups.length, length] }
    const short = groups.findIndex(rows => rows.length < length)
    this.empty = short * length + length - 1
  }

  /** For each of `count` rows its slot. */
  slots(count: number): Int32Array {
    const slots = new Int32Array(count).fill(this.empty)
    const length = this.index.shape[1]
    for (const [group, rows] of this.groups.entries()) for (const [i, row] of rows.entries()) slots[row] = group * length + i
    return slots
  }
}

const range = ({ start, length }: Segment) => Array.from({ length }, (_, i) => start + i)

function commonPrefix(lists: readonly (readonly number[])[]): number {
  const [first] = lists
  if (!first) return 0
  let length = first.length
  for (const ids of lists) {
    let i = 0
    while (i < length && i < ids.length && ids[i] === first[i]) i++
    length = i
  }
  return length
}

/** Ranges of the sizes of a forest, and the declared inputs of a program over one. */
export function forestSpec(options: { numVirtualTokens: number; groupings: 1 | 2; maxRows: number }): {
  inputs: Record<string, InputSpec>
  dims: Record<string, readonly [number, number]>
} {
  const { numVirtualTokens: m, maxRows } = options
  const size: readonly [number, number] = [1, maxRows]
  const int32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'int32' })
  const inputs: Record<string, InputSpec> = {
    tokenIds: int32(m > 0 ? `P+S-${m}` : 'P+S'),
    positions: int32('P+S'),
    sharedPositions: int32('P'),
    readIndex: int32('Q'),
    readInverse: int32('P+S'),
    targetRow: int32('N'),
    targetId: int32('N'),
    targetWeight: { shape: ['N'], dtype: 'float32' },
    rowWeight: { shape: ['Q'], dtype: 'float32' },
  }
  const dims: Record<string, readonly [number, number]> = { P: [Math.max(1, m), maxRows], S: size, Q: size, N: size }
  for (let i = 0; i < options.groupings; i++) {
    inputs[`keyIndex${i}`] = int32(`G${i}`, `K${i}`)
    inputs[`keySlot${i}`] = int32('S')
    inputs[`queryIndex${i}`] = int32(`G${i}`, `T${i}`)
    inputs[`querySlot${i}`] = int32('P+S')
    inputs[`queryGroup${i}`] = int32('P+S')
    inputs[`readIndexOf${i}`] = int32(`G${i}`, `U${i}`)
    inputs[`readSlot${i}`] = int32('Q')
    inputs[`readGroup${i}`] = int32('Q')
    for (const name of ['G', 'K', 'T', 'U']) dims[`${name}${i}`] = size
  }
  return { inputs, dims }
}
