import { BLOCK_LENGTH, EMPTY_POSITION } from '../../../kernels/attention/cached.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import type { ProgramInput } from '../../program/program.js'
import { isEdge } from '../../prompts/edges.js'
import { layerInput } from '../programs.js'
import type { BlockStore } from './block-store.js'
import type { PrefixNode } from './prefix-cache.js'
import type { Sequence } from './sequence.js'

/** Query rows of one group, at most: longer stretches are cut, so that short ones beside them are not padded to their length. */
const GROUP = 64
/** Bytes of scores and gathered keys in one layer, at most. */
const ATTENTION_BYTES = 192e6

/** Tokens that some sequences have alike behind all that is computed before; they are computed once. */
export interface Stretch {
  readonly sequences: readonly Sequence[]
  /** Of the sequences' ids. */
  readonly start: number
  readonly end: number
  /** Row of its first token in the run. */
  readonly row: number
  readonly before: Stretch | undefined
}

/** One run of prefill: what it computes, and for whom. */
export interface PrefillPlan {
  readonly stretches: readonly Stretch[]
  readonly rows: number
}

/** Lays out the next tokens of some sequences, first come first, in as many rows as are allowed and fit into memory. */
export function planPrefill(sequences: readonly Sequence[], maxRows: number, config: ModelConfig): PrefillPlan {
  for (let rows = maxRows; ; rows = Math.ceil(rows / 2)) {
    const plan = new Planner(rows).plan(sequences)
    if (plan.rows <= GROUP || attentionBytes(plan, config) <= ATTENTION_BYTES) return plan
  }
}

class Planner {
  readonly #stretches: Stretch[] = []
  #row = 0

  readonly #maxRows: number

  constructor(maxRows: number) {
    this.#maxRows = maxRows
  }

  plan(sequences: readonly Sequence[]): PrefillPlan {
    const alike = new Map<PrefixNode | Sequence, Sequence[]>()
    for (const sequence of sequences) {
      // Sequences that have the same behind them may have the same before them.
      const key = sequence.ownLength === 0 && sequence.prefix ? sequence.prefix : sequence
      alike.set(key, [...(alike.get(key) ?? []), sequence])
    }
    for (const group of alike.values()) this.#add(group, group[0]!.done, undefined)
    return { stretches: this.#stretches, rows: this.#row }
  }

  #add(sequences: readonly Sequence[], start: number, before: Stretch | undefined): void {
    const room = this.#maxRows - this.#row
    if (room <= 0) return
    const alike = commonEnd(sequences, start)
    const end = Math.min(alike, start + room)
    let last = before
    if (end > start) {
      last = { sequences, start, end, row: this.#row, before }
      this.#stretches.push(last)
      this.#row += end - start
    }
    if (end < alike) return
    const branches = new Map<number, Sequence[]>()
    for (const sequence of sequences) {
      const next = sequence.beginning[end]
      if (next !== undefined) branches.set(next, [...(branches.get(next) ?? []), sequence])
    }
    for (const branch of branches.values()) this.#add(branch, end, last)
  }
}

function commonEnd(sequences: readonly Sequence[], start: number): number {
  const [first, ...others] = sequences
  let end = Math.min(...sequences.map(({ ids }) => ids.length))
  for (const { beginning } of others) {
    let i = start
    while (i < end && beginning[i] === first!.beginning[i]) i++
    end = i
  }
  return end
}

/** A run of rows that see the same keys up to the last of them. */
interface Group {
  readonly stretch: Stretch
  readonly start: number
  readonly end: number
}

function groupsOf({ stretches }: PrefillPlan): { groups: Group[]; length: number } {
  const length = Math.min(GROUP, Math.max(...stretches.map(({ start, end }) => end - start)))
  const groups = stretches.flatMap(stretch =>
    Array.from({ length: Math.ceil((stretch.end - stretch.start) / length) }, (_, i) => {
      const start = stretch.start + i * length
      return { stretch, start, end: Math.min(start + length, stretch.end) }
    }),
  )
  return { groups, length }
}

const cachedLength = ({ prefix, ownLength }: Sequence) => (prefix?.length ?? 0) + ownLength
const newLength = ({ before, start, end }: Stretch): number => (before ? newLength(before) : 0) + end - start

function attentionBytes(plan: PrefillPlan, { numAttentionHeads, numKeyValueHeads, headDim }: ModelConfig): number {
  const { groups, length } = groupsOf(plan)
  const width = Math.max(...groups.map(({ stretch }) => cachedLength(stretch.sequences[0]!) + newLength(stretch)))
  return 4 * groups.length * width * (numAttentionHeads * length * 2 + numKeyValueHeads * headDim * 2)
}

/** Where the cached keys and values of a run are put together: arrays that are kept from run to run. */
export class Staging {
  readonly #arrays = new Map<string, Float32Array>()

  take(name: string, length: number): Float32Array {
    const known = this.#arrays.get(name)
    if (known && known.length >= length) return known.subarray(0, length)
    const made = new Float32Array(Math.ceil(length * 1.25))
    this.#arrays.set(name, made)
    return made.subarray(0, length)
  }
}

/**
 * The inputs of `prefillRequest` for a plan.
 *
 * @returns the inputs, and for each sequence whose last token is among the rows the place where its logits are read
 */
export function prefillInputs(
  plan: PrefillPlan,
  store: BlockStore,
  config: ModelConfig,
  staging: Staging,
): { inputs: Record<string, ProgramInput>; reads: Map<Sequence, number> } {
  const { stretches, rows } = plan
  const cache = new CachedRows(store)
  const keysBefore = new Map<Stretch, readonly number[]>()
  for (const stretch of stretches) if (!stretch.before) keysBefore.set(stretch, cache.numbers(stretch.sequences[0]!))
  const count = cache.length
  const { inputs, keyPositions, blindKeyPositions } = cache.inputs(rows, config, staging)

  const tokenIds = new Int32Array(rows)
  const positions = new Int32Array(rows)
  const textIndex = new Int32Array(rows)
  const edgeMask = new Float32Array(rows)
  for (const { sequences, start, end, row } of stretches) {
    const { edges } = sequences[0]!.placement
    for (let i = start; i < end; i++) {
      const at = row + i - start
      tokenIds[at] = sequences[0]!.ids[i]!
      positions[at] = sequences[0]!.positionOf(i)
      textIndex[at] = i
      if (edges !== undefined && isEdge(edges, i, sequences[0]!.promptLength)) edgeMask[at] = 1
    }
  }
  keyPositions.set(positions, count)
  blindKeyPositions.set(positions, count)

  /** Numbers of all keys that a row sees which stands before `end` of a stretch. */
  const seen = (stretch: Stretch, end: number): number[] => [
    ...(stretch.before ? seen(stretch.before, stretch.before.end) : keysBefore.get(stretch)!),
    ...Array.from({ length: end - stretch.start }, (_, i) => count + stretch.row + i),
  ]
  const { groups, length } = groupsOf(plan)
  const queryIndex = new Int32Array(groups.length * length)
  const queryPositions = new Int32Array(groups.length * length)
  const querySlot = new Int32Array(rows)
  for (const [group, { stretch, start, end }] of groups.entries()) {
    for (let i = start; i < end; i++) {
      const row = stretch.row + i - stretch.start
      const slot = group * length + i - start
      queryIndex[slot] = row
      queryPositions[slot] = positions[row]!
      querySlot[row] = slot
    }
  }

  const reads = new Map<Sequence, number>()
  const readIndex: number[] = []
  const readKeys: number[][] = []
  for (const stretch of stretches) {
    const ending = stretch.sequences.filter(({ ids }) => ids.length === stretch.end)
    if (ending.length === 0) continue
    for (const sequence of ending) reads.set(sequence, readIndex.length)
    readIndex.push(stretch.row + stretch.end - stretch.start - 1)
    readKeys.push(seen(stretch, stretch.end))
  }
  // A run that ends no prompt reads a row for nothing: a program has no tensor without rows.
  if (readIndex.length === 0) {
    readIndex.push(0)
    readKeys.push([count])
  }

  return {
    reads,
    inputs: {
      ...inputs,
      tokenIds,
      positions,
      textIndex,
      answerMask: new Float32Array(rows),
      edgeMask,
      keyPositions,
      blindKeyPositions,
      queryIndex: { data: queryIndex, shape: [groups.length, length] },
      queryPositions: { data: queryPositions, shape: [groups.length, length] },
      querySlot,
      keyIndex: padded(groups.map(({ stretch, end }) => seen(stretch, end))),
      readIndex: Int32Array.from(readIndex),
      readKeyIndex: padded(readKeys),
    },
  }
}

/** Lists as the rows of one matrix, filled with 0. */
function padded(lists: readonly (readonly number[])[]): ProgramInput {
  const width = Math.max(1, ...lists.map(list => list.length))
  const data = new Int32Array(lists.length * width)
  for (const [i, list] of lists.entries()) data.set(list, i * width)
  return { data, shape: [lists.length, width] }
}

/** The cached positions that a run sees, each numbered once; number 0 is nobody's. */
class CachedRows {
  length = 1
  readonly #nodes = new Map<PrefixNode, number>()
  readonly #owners = new Map<Sequence, number>()

  readonly #store: BlockStore

  constructor(store: BlockStore) {
    this.#store = store
  }

  numbers(sequence: Sequence): number[] {
    const list: number[] = []
    const add = <T>(known: Map<T, number>, key: T, count: number) => {
      const first = known.get(key) ?? this.length
      if (!known.has(key)) {
        known.set(key, first)
        this.length += count
      }
      for (let i = 0; i < count; i++) list.push(first + i)
    }
    for (const node of sequence.prefix?.path() ?? []) add(this.#nodes, node, node.positions.length)
    if (sequence.ownLength > 0) add(this.#owners, sequence, sequence.ownLength)
    return list
  }

  inputs(rows: number, { numLayers, numKeyValueHeads: heads, headDim: size }: ModelConfig, staging: Staging) {
    const { length: count } = this
    const store = this.#store
    const arrays = (name: string) =>
      Array.from({ length: numLayers }, (_, layer) => staging.take(layerInput(name, layer), heads * count * size))
    const keys = arrays('cachedKeys')
    const values = arrays('cachedValues')
    const keyPositions = new Int32Array(count + rows).fill(EMPTY_POSITION)
    const blindKeyPositions = keyPositions.slice()
    for (const list of [keys, values])
      for (const array of list)
        for (let head = 0; head < heads; head++) array.fill(0, head * count * size, (head * count + 1) * size)
    for (const [node, first] of this.#nodes) {
      for (const [i, { position, virtual }] of node.positions.entries()) {
        keyPositions[first + i] = position
        blindKeyPositions[first + i] = virtual ? EMPTY_POSITION : position
      }
      if (!node.keyValues) continue
      const { data, rows: own } = node.keyValues
      for (const [part, list] of [keys, values].entries()) {
        for (const [layer, array] of list.entries()) {
          for (let head = 0; head < heads; head++) {
            const from = ((2 * layer + part) * heads + head) * own * size
            array.set(data.subarray(from, from + own * size), (head * count + first) * size)
          }
        }
      }
    }
    for (const [{ blocks, ownLength }, first] of this.#owners) {
      for (const [i, block] of blocks.entries()) {
        const filled = Math.min(BLOCK_LENGTH, ownLength - i * BLOCK_LENGTH)
        if (filled <= 0) break
        const at = first + i * BLOCK_LENGTH
        store.read(block, filled, keys, values, count, at)
        const from = block * BLOCK_LENGTH
        keyPositions.set(store.positions.subarray(from, from + filled), at)
        blindKeyPositions.set(store.blindPositions.subarray(from, from + filled), at)
      }
    }
    const inputs: Record<string, ProgramInput> = {}
    for (let layer = 0; layer < numLayers; layer++) {
      inputs[layerInput('cachedKeys', layer)] = keys[layer]!
      inputs[layerInput('cachedValues', layer)] = values[layer]!
    }
    return { inputs, keyPositions, blindKeyPositions }
  }
}
