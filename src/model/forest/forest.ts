import { GradpromptError } from '../../errors.js'
import type { ProgramInput } from '../../program/program.js'
import { edgesAlike, isEdge } from '../../prompts/edges.js'
import type { PromptPlacement } from '../../prompts/method.js'
import { type ForestLayout, type Group, type GroupLayout, groupInputs, inParts, keySlots, pairsOf, vector } from './groups.js'

/**
 * A batch of token sequences as a forest: what all of them begin with stands once (the shared rows), then each sequence's own rows,
 * then the rows of its children (answers that continue one text). Every row is computed once, and no row is padding.
 */
export interface Sequence {
  /** Token ids; the soft prompt is not among them. */
  readonly ids: readonly number[]
  /** Continuations that branch off at the end. */
  readonly children?: readonly (readonly number[])[]
  /** How many of the ids are the instruction; the rest is its answer. By default all of them. */
  readonly instructionLength?: number
}

/** A token that some row predicts. */
export interface Target {
  /** The row whose logits predict it. */
  readonly row: number
  readonly id: number
  readonly weight: number
}

/** A position that no other position reaches: the placeholder row that stands where nothing is shared sees itself alone. */
export const BEYOND = 2 ** 30 - 1
const PADDING_TOKEN = 0
/** Shared rows are queried in groups as long as the longest sequence, but not in shorter ones than this. */
const SHARED_GROUP = 64

/** Consecutive rows. */
interface Segment {
  readonly start: number
  readonly length: number
}

/**
 * The rows in their order: virtual tokens (of all sequences, or sequence after sequence), what all texts begin with, the rest of each
 * text, children. Where each sequence has virtual tokens of its own nothing is shared, and a placeholder stands before them. Which rows a
 * row sees is decided by positions, not by this order: virtual tokens within a text have the positions that this leaves out.
 */
export class Forest {
  /** Tokens of the text rows, which are those from `firstText` on. */
  readonly tokenIds: number[] = []
  /** Place of each token in its text, and whether it belongs to an answer. */
  readonly #textIndex: number[] = []
  readonly #answerMask: number[] = []
  /** Whether it is one of the instruction's first or last tokens that the placement names. */
  readonly #edgeMask: number[] = []
  /** Position of each row. */
  readonly positions: number[] = []
  /** Number of shared rows. */
  readonly shared: number
  /** Rows before this one are virtual tokens. */
  readonly #firstText: number
  readonly #prefix: number
  /** Text rows of each sequence beyond what is shared. */
  readonly #own: Segment[] = []
  readonly #children: Segment[][] = []
  readonly #instructions: number[] = []
  /** How many tokens of each text stand before its virtual tokens; 0 where these are the first. */
  readonly #cuts: readonly number[]
  readonly #placeholder: boolean
  readonly #placement: PromptPlacement
  readonly #groups: readonly Group[]
  /** The kind of its groups, which programs over it are made for (`forestSpec`). */
  readonly layout: ForestLayout

  /** @param options.inTurn whether groups are computed one after the other, by what attention compares (`pairsOf`) and how many they are; by default never */
  constructor(
    sequences: readonly Sequence[],
    placement: PromptPlacement,
    { inTurn = () => false }: { readonly inTurn?: (pairs: number, groups: number) => boolean } = {},
  ) {
    this.#placement = placement
    const { numVirtualTokens, position, perSequence = false } = placement
    const afterFirst = numVirtualTokens > 0 && position === 'after-bos'
    const lists = sequences.map(({ ids }) => ids)
    const other = afterFirst ? lists.findIndex(ids => ids[0] !== lists[0]![0]) : -1
    if (other >= 0) {
      throw new GradpromptError(
        'prompt-not-placeable',
        'A soft prompt after the first token needs rows that all begin with the same one',
        {
          found: `row ${other} begins with the id ${lists[other]![0]}, the first row with ${lists[0]![0]}`,
          hint: 'the tokenizer may add no BOS: use method.position: before-bos',
        },
      )
    }
    // Each sequence keeps a row of its own; one that is alone shares nothing.
    const limit = ({ ids, instructionLength }: Sequence) =>
      Math.min(ids.length - 1, (placement.answersApart ? instructionLength : undefined) ?? ids.length)
    const lengths = sequences.map(({ ids, instructionLength = ids.length }) => instructionLength)
    const within = Math.min(...sequences.map(limit))
    const most = placement.edges === undefined ? within : edgesAlike(placement.edges, lengths, within)
    const alike = lists.length === 1 || perSequence ? 0 : Math.min(commonPrefix(lists), most)
    this.#prefix = Math.max(alike, afterFirst ? 1 : 0)
    this.#placeholder = perSequence || numVirtualTokens + this.#prefix <= 0
    const { beforeLast = Number.POSITIVE_INFINITY } = placement
    this.#cuts = lengths.map((length, i) => Math.max(0, Math.min(length, lists[i]!.length) - beforeLast))
    if (perSequence) this.positions.push(0)
    for (let copy = 0; copy < (perSequence ? lists.length : 1); copy++)
      for (let i = 0; i < numVirtualTokens; i++) this.positions.push(afterFirst ? i + 1 : this.#cuts[copy]! + i)
    this.#firstText = this.positions.length
    if (this.#placeholder && !perSequence) this.#push(PADDING_TOKEN, 0)
    const edge = (i: number, length: number) => placement.edges !== undefined && isEdge(placement.edges, i, length)
    for (let i = 0; i < this.#prefix; i++)
      this.#push(lists[0]![i] ?? PADDING_TOKEN, this.#positionOf(0, i), i, { edge: edge(i, lengths[0]!) })
    this.shared = perSequence ? 1 : this.positions.length
    for (const [sequence, { ids, instructionLength = ids.length }] of sequences.entries()) {
      const start = this.positions.length
      for (let i = this.#prefix; i < ids.length; i++)
        this.#push(ids[i]!, this.#positionOf(sequence, i), i, {
          answer: i >= instructionLength,
          edge: edge(i, instructionLength),
        })
      if (this.positions.length === start) this.#push(PADDING_TOKEN, this.#positionOf(sequence, this.#prefix))
      this.#own.push({ start, length: this.positions.length - start })
      this.#instructions.push(Math.min(instructionLength, ids.length))
    }
    for (const [sequence, { ids, children }] of sequences.entries()) {
      this.#children.push(
        (children ?? []).map(tokens => {
          const start = this.positions.length
          for (const [i, id] of tokens.entries())
            this.#push(id, this.#positionOf(sequence, ids.length + i), ids.length + i, { answer: true })
          return { start, length: tokens.length }
        }),
      )
    }
    const groups = this.#grouped()
    const isLarge = inTurn(pairsOf(groups, this.shared), groups.length)
    const hasChildren = this.#children.some(segments => segments.some(({ length }) => length > 0))
    this.#groups = isLarge ? inParts(groups, this.positions) : groups
    this.layout = isLarge ? 'in turn' : hasChildren ? 'overlapping' : 'distinct'
  }

  get rows(): number {
    return this.positions.length
  }

  /** Rows before this one are keys without hidden states. */
  get #firstQuery(): number {
    return this.#placement.as === 'keys' ? this.#firstText : 0
  }

  #push(id: number, position: number, textIndex = 0, { answer = false, edge = false } = {}): void {
    this.tokenIds.push(id)
    this.positions.push(position)
    this.#textIndex.push(textIndex)
    this.#answerMask.push(answer ? 1 : 0)
    this.#edgeMask.push(edge ? 1 : 0)
  }

  /** Position of a sequence's token by its place among the ids. */
  #positionOf(sequence: number, index: number): number {
    const { numVirtualTokens, position } = this.#placement
    const isBefore = position === 'after-bos' ? index === 0 : index < this.#cuts[sequence]!
    return isBefore ? index : index + numVirtualTokens
  }

  /**
   * Row of a sequence's token, as one that predicts. Index -1 is what stands before the first token: the soft prompt's last row.
   *
   * @returns undefined for -1 when nothing stands there
   */
  rowOf(sequence: number, index: number): number | undefined {
    const { numVirtualTokens, position, as } = this.#placement
    const cut = this.#cuts[sequence]!
    // Behind virtual tokens the next token is predicted from their last one.
    if (cut > 0 && index === cut - 1 && numVirtualTokens > 0) return this.virtualRow(sequence, numVirtualTokens - 1)
    if (index < 0) {
      if (cut > 0) return undefined
      const reads = numVirtualTokens > 0 && position === 'before-bos' && as !== 'keys'
      return reads ? this.virtualRow(sequence, numVirtualTokens - 1) : undefined
    }
    // What follows the first token is predicted from behind the prompt.
    if (index === 0 && position === 'after-bos' && numVirtualTokens > 0) return numVirtualTokens - 1
    return this.tokenRow(sequence, index)
  }

  /** Row of a sequence's token itself, index 0 or more. */
  tokenRow(sequence: number, index: number): number {
    if (index < this.#prefix) return this.#firstText + index
    return this.#own[sequence]!.start + index - this.#prefix
  }

  /** Row of a sequence's token among the text rows alone. */
  textRowOf(sequence: number, index: number): number {
    if (index < this.#prefix) return index
    return this.#own[sequence]!.start - this.#firstText + index - this.#prefix
  }

  /**
   * The text rows of what is known of each sequence's tokens, [ids.length, width] each: [N, width]. A row that belongs to nobody is zero.
   */
  textRows(values: readonly Float32Array[], width: number): ProgramInput {
    const data = new Float32Array((this.rows - this.#firstText) * width)
    for (const [i, own] of values.entries()) {
      const shared = this.#prefix * width
      if (i === 0) data.set(own.subarray(0, shared))
      data.set(own.subarray(shared), this.textRowOf(i, this.#prefix) * width)
    }
    return { data, shape: [data.length / width, width] }
  }

  /** Row of a sequence's virtual token. */
  virtualRow(sequence: number, index: number): number {
    return this.#placement.perSequence ? 1 + sequence * this.#placement.numVirtualTokens + index : index
  }

  /** Row of a child's token. */
  childRow(sequence: number, child: number, index: number): number {
    return this.#children[sequence]![child]!.start + index
  }

  /** The inputs of a program over this forest that reads the targets' rows. */
  inputs(targets: readonly Target[]): { inputs: Record<string, ProgramInput>; readRows: number[] } {
    const { perSequence } = this.#placement
    const readRows = [...new Set(targets.map(({ row }) => row))].sort((a, b) => a - b)
    const place = new Map(readRows.map((row, i) => [row, i]))
    const rowWeight = new Float32Array(readRows.length)
    for (const { row, weight } of targets) rowWeight[place.get(row)!]! += weight
    const first = this.#firstQuery
    const readInverse = new Int32Array(this.rows - first).fill(readRows.length)
    for (const [row, i] of place) readInverse[row - first] = i
    const masking = Int32Array.from(this.positions)
    if (this.#placeholder) masking[0] = BEYOND
    const groups = this.#groups
    // Groups that nobody reads go, but for those with keys of their own where every key row has its slot.
    const readGroups = groups
      .map(({ queries, keys }) => ({ keys, queries: queries.filter(row => place.has(row)) }))
      .filter(({ queries, keys }) => queries.length + (this.layout === 'in turn' ? 0 : keys.length) > 0)
    const inputs = {
      tokenIds: vector(Int32Array.from(this.tokenIds)),
      textIndex: vector(Int32Array.from(this.#textIndex)),
      answerMask: vector(Float32Array.from(this.#answerMask)),
      ...(this.#placement.edges && { edgeMask: vector(Float32Array.from(this.#edgeMask)) }),
      positions: vector(Int32Array.from(this.positions)),
      sharedPositions: vector(masking.slice(0, this.shared)),
      readIndex: vector(Int32Array.from(readRows, row => row - first)),
      readInverse: vector(readInverse),
      targetRow: vector(Int32Array.from(targets, ({ row }) => place.get(row)!)),
      targetId: vector(Int32Array.from(targets, ({ id }) => id)),
      targetWeight: vector(Float32Array.from(targets, ({ weight }) => weight)),
      rowWeight: vector(rowWeight),
      ...this.#layout({ name: '', groups, masking, place: row => row - first, count: this.rows - first }),
      ...this.#layout({ name: 'read', groups: readGroups, masking, place: row => place.get(row)!, count: readRows.length }),
      ...(perSequence ? this.#instructionInputs() : {}),
    }
    return { inputs, readRows }
  }

  #layout(given: Omit<GroupLayout, 'layout'>): Record<string, ProgramInput> {
    const layout = { ...given, layout: this.layout }
    return { ...groupInputs(layout), ...(this.layout === 'distinct' && keySlots(layout, this.shared, this.rows)) }
  }

  /** Where the instruction of each sequence stands among the text rows. */
  #instructionInputs(): Record<string, ProgramInput> {
    const count = this.#own.length
    const longest = Math.max(1, ...this.#instructions)
    const instructionIndex = new Int32Array(count * longest)
    const instructionMask = new Float32Array(count * longest)
    const instructionInverse = new Int32Array(this.rows - this.#firstText).fill(count * longest)
    for (const [i, { start }] of this.#own.entries()) {
      for (let j = 0; j < this.#instructions[i]!; j++) {
        const row = start - this.#firstText + j
        instructionIndex[i * longest + j] = row
        instructionMask[i * longest + j] = 1
        instructionInverse[row] = i * longest + j
      }
    }
    return {
      instructionIndex: { data: instructionIndex, shape: [count, longest] },
      instructionMask: { data: instructionMask, shape: [count, longest] },
      instructionInverse: vector(instructionInverse),
    }
  }

  #grouped(): Group[] {
    const first = this.#firstQuery
    const groups: Group[] = []
    const { perSequence, as, numVirtualTokens } = this.#placement
    const virtual = (sequence: number) =>
      perSequence ? range({ start: this.virtualRow(sequence, 0), length: numVirtualTokens }) : []
    const longest = Math.max(...this.#own.map(({ length }) => length))
    const step = Math.max(longest, Math.min(this.shared, SHARED_GROUP))
    for (let start = first; start < this.shared; start += step) {
      groups.push({ queries: range({ start, length: Math.min(step, this.shared - start) }), keys: [] })
    }
    for (const [i, own] of this.#own.entries()) {
      const text = range(own)
      const keys = [...virtual(i), ...text]
      groups.push({ queries: as === 'keys' ? text : keys, keys })
      for (const child of this.#children[i]!) {
        const queries = range(child)
        if (queries.length > 0) groups.push({ queries, keys: [...keys, ...queries] })
      }
    }
    return this.#placeholder || this.#own.length > 1 || longest < LONG ? groups : withoutSharedGroup(groups)
  }
}

/**
 * Tokens of a sequence that stands alone from which on the padding of a group beside it is worth avoiding: half of what attention takes. Where
 * groups are several and short it is little, and the sums keep the order, and so the bits, that runs have always had.
 */
const LONG = 256

/** The shared rows' queries in the group of the only sequence: positions keep from them that one's keys, which are behind. */
function withoutSharedGroup(groups: Group[]): Group[] {
  const [shared, own] = groups
  if (groups.length !== 2 || shared!.keys.length > 0) return groups
  return [{ keys: own!.keys, queries: [...shared!.queries, ...own!.queries] }]
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
