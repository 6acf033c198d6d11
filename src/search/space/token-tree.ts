import { BEYOND } from '../../model/forest/forest.js'
import { type Group, groupInputs, vector } from '../../model/forest/groups.js'
import type { ProgramInput } from '../../program/program.js'

/** A token of a sequence that is read: what predicts it stands one place before. */
export interface ReadToken {
  /** Place among the ids; at least 1. */
  readonly position: number
  readonly id: number
}

/** Token ids, of which some are read. Nothing behind the place that predicts the last of them is computed. */
export interface ReadSequence {
  readonly ids: readonly number[]
  readonly reads: readonly ReadToken[]
}

/** A run of tokens that every sequence through it continues alike. */
interface Segment {
  readonly start: number
  length: number
  readonly parent: Segment | undefined
  /** Position of the first token. */
  readonly position: number
}

const PADDING_TOKEN = 0
/** Queries of one group, at most: long segments are cut, so that short ones beside them are not padded to their length. */
const GROUP_LENGTHS = [8, 16, 32, 64]

/** Tokens that are fed of a sequence. */
export const fedLength = ({ reads }: ReadSequence): number => reads.reduce((most, { position }) => Math.max(most, position), 0)

/**
 * Token sequences as one tree: whatever several of them begin with is computed once, at every depth. (A `Forest` shares one beginning
 * and one level of children; the candidates of a search branch off the current prompt at every place.) It has the inputs of a program
 * over a forest with children.
 */
export class TokenTree {
  readonly tokenIds: number[] = []
  readonly positions: number[] = []
  /** Rows that all sequences begin with. */
  readonly shared: number
  readonly #segments: Segment[] = []
  readonly #placeholder: boolean
  /** Rows that predict, and for each sequence and read its row. */
  readonly #readOf: number[][]

  readonly #sequences: readonly ReadSequence[]

  /** @param sequences in an order in which those that begin alike stand together, as `sharingOrder` gives it */
  constructor(sequences: readonly ReadSequence[]) {
    this.#sequences = sequences
    const lengths = sequences.map(fedLength)
    const alike = sequences.slice(1).map((sequence, i) => sharedLength(sequences[i]!, sequence))
    const shortest = Math.min(...lengths)
    // A program's sizes are at least 1: some row is shared, and some is not.
    const common = sequences.length === 1 ? shortest - 1 : Math.min(shortest, ...alike)
    const total = lengths.reduce((sum, length, i) => sum + length - (i === 0 ? 0 : alike[i - 1]!), 0)
    this.shared = Math.max(1, common === total ? common - 1 : common)
    this.#placeholder = this.shared > Math.min(common, total - 1)
    if (this.#placeholder) this.#push(PADDING_TOKEN, 0)
    const [rowsBefore, cuts] = [this.#placeholder ? 0 : this.shared, cutsOf(lengths, alike)]
    for (let i = 0; i < rowsBefore; i++) this.#push(sequences[0]!.ids[i]!, i)
    let path: { row: number; segment: Segment | undefined }[] = Array.from({ length: rowsBefore }, (_, row) => ({
      row,
      segment: undefined,
    }))
    this.#readOf = sequences.map(({ ids, reads }, i) => {
      const kept = i === 0 ? rowsBefore : Math.max(rowsBefore, alike[i - 1]!)
      path = path.slice(0, kept)
      let segment: Segment | undefined
      for (let position = kept; position < lengths[i]!; position++) {
        // A segment ends where a later sequence leaves this one, so that what that one sees is whole segments.
        if (segment === undefined || cuts[i]!.has(position)) {
          segment = { start: this.positions.length, length: 0, parent: path[position - 1]?.segment, position }
          this.#segments.push(segment)
        }
        path.push({ row: this.positions.length, segment })
        this.#push(ids[position]!, position)
        segment.length++
      }
      return reads.map(({ position }) => path[position - 1]!.row)
    })
  }

  get rows(): number {
    return this.positions.length
  }

  #push(id: number, position: number): void {
    this.tokenIds.push(id)
    this.positions.push(position)
  }

  /** The inputs of a program, and the place of each read, sequence by sequence, among the rows that are read. */
  inputs(): { inputs: Record<string, ProgramInput>; readRows: number } {
    const flat = this.#readOf.flat()
    const readRows = [...new Set(flat)].sort((a, b) => a - b)
    const place = new Map(readRows.map((row, i) => [row, i]))
    const readInverse = new Int32Array(this.rows).fill(readRows.length)
    for (const [row, i] of place) readInverse[row] = i
    const masking = Int32Array.from(this.positions)
    if (this.#placeholder) masking[0] = BEYOND
    const targets = this.#sequences.flatMap(({ reads }) => reads)
    const reading = this.#groups(row => place.has(row))
    const layout = 'overlapping'
    return {
      readRows: readRows.length,
      inputs: {
        tokenIds: vector(Int32Array.from(this.tokenIds)),
        textIndex: vector(new Int32Array(this.rows)),
        answerMask: vector(new Float32Array(this.rows)),
        positions: vector(Int32Array.from(this.positions)),
        sharedPositions: vector(masking.slice(0, this.shared)),
        readIndex: vector(Int32Array.from(readRows)),
        readInverse: vector(readInverse),
        targetRow: vector(Int32Array.from(flat, row => place.get(row)!)),
        targetId: vector(Int32Array.from(targets, ({ id }) => id)),
        targetWeight: vector(new Float32Array(targets.length)),
        rowWeight: vector(new Float32Array(readRows.length)),
        ...groupInputs({ name: '', layout, groups: this.#groups(), masking, place: row => row, count: this.rows }),
        ...groupInputs({ name: 'read', layout, groups: reading, masking, place: row => place.get(row)!, count: readRows.length }),
      },
    }
  }

  /** Queries with the keys that they see beside the shared rows. */
  #groups(isQuery: (row: number) => boolean = () => true): Group[] {
    const lists = [
      { rows: range(0, this.shared).filter(isQuery), keys: () => [] as number[] },
      ...this.#segments.map(segment => ({
        rows: range(segment.start, segment.length).filter(isQuery),
        keys: (last: number) => [...ancestors(segment), ...range(segment.start, last - segment.start + 1)],
      })),
    ].filter(({ rows }) => rows.length > 0)
    const slots = (step: number) => lists.reduce((sum, { rows }) => sum + Math.ceil(rows.length / step), 0)
    // A group costs its padded queries, and gathers its keys whatever the number of queries.
    const cost = (step: number) => slots(step) * (Math.min(step, Math.max(...lists.map(({ rows }) => rows.length))) + 8)
    const step = GROUP_LENGTHS.reduce((best, length) => (cost(length) < cost(best) ? length : best))
    return lists.flatMap(({ rows, keys }) =>
      Array.from({ length: Math.ceil(rows.length / step) }, (_, i) => {
        const queries = rows.slice(i * step, (i + 1) * step)
        return { queries, keys: keys(queries.at(-1)!) }
      }),
    )
  }
}

/** For each sequence the places at which a later one leaves it. */
function cutsOf(lengths: readonly number[], alike: readonly number[]): Set<number>[] {
  const cuts = lengths.map(() => new Set<number>())
  // Who made the rows of the path: sequence `owner[k].index` from place `owner[k].from` on.
  const owners: { readonly index: number; readonly from: number }[] = []
  for (const index of lengths.keys()) {
    const kept = index === 0 ? 0 : alike[index - 1]!
    while (owners.length > 0 && owners.at(-1)!.from >= kept) owners.pop()
    const owner = owners.at(-1)
    if (owner !== undefined) cuts[owner.index]!.add(kept)
    owners.push({ index, from: kept })
  }
  return cuts
}

/** Rows of the segments above one, from the root down. */
function ancestors({ parent }: Segment): number[] {
  const chain: Segment[] = []
  for (let at = parent; at !== undefined; at = at.parent) chain.push(at)
  return chain.reverse().flatMap(({ start, length }) => range(start, length))
}

/** Indices of the sequences in an order in which those that begin alike stand together: by their ids. */
export function sharingOrder(sequences: readonly ReadSequence[]): number[] {
  const lengths = sequences.map(fedLength)
  return [...sequences.keys()].sort((a, b) => {
    const shared = sharedLength(sequences[a]!, sequences[b]!)
    const [restA, restB] = [lengths[a]! - shared, lengths[b]! - shared]
    if (restA === 0 || restB === 0) return restA - restB || a - b
    return sequences[a]!.ids[shared]! - sequences[b]!.ids[shared]!
  })
}

/** How many fed tokens two sequences begin with alike. */
export function sharedLength(a: ReadSequence, b: ReadSequence): number {
  const most = Math.min(fedLength(a), fedLength(b))
  let length = 0
  while (length < most && a.ids[length] === b.ids[length]) length++
  return length
}

const range = (start: number, length: number) => Array.from({ length }, (_, i) => start + i)
