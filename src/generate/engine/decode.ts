import { BLOCK_LENGTH, EMPTY_POSITION } from '../../../kernels/attention/cached.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import type { ProgramInput } from '../../program/program.js'
import { layerInput, ownPart, sharedPart, type WeightWidth } from '../programs.js'
import type { BlockStore } from './block-store.js'
import type { Sequence } from './sequence.js'

/** One run of decoding: the next token of each sequence, and behind it what is guessed to follow. */
export interface DecodePlan {
  readonly sequences: readonly Sequence[]
  /** Of each sequence. */
  readonly guesses: readonly (readonly number[])[]
  /** Row of each sequence's next token; its guesses have the rows behind it. */
  readonly firstRows: readonly number[]
  readonly rows: number
}

/** Guesses of one sequence, at most. */
const MOST_GUESSES = 15
/** Rows of a run with guesses, at most: each has the logits of a whole vocabulary. */
const GUESSED_ROWS = 256
/**
 * What a run costs by the width of its weights, in rows of a guess: each sequence, the padding of each to the length of the longest, and
 * the run itself. Measured with 1 to 64 sequences of the bundled model and 0 to 7 guesses for each; a guess is 0.7 ms and 1.2 ms there.
 */
const COST = { stored: { sequence: 1.6, padding: 0.15, run: 15 }, fp32: { sequence: 1.3, padding: 0.1, run: 20 } }

/** @param guessing by the width of which weights; undefined where nothing is guessed */
export function planDecode(sequences: readonly Sequence[], guessing: WeightWidth | undefined): DecodePlan {
  const guesses = guessing === undefined ? sequences.map(() => []) : guessed(sequences, guessing)
  const firstRows: number[] = []
  let rows = 0
  for (const { length } of guesses) {
    firstRows.push(rows)
    rows += 1 + length
  }
  return { sequences, guesses, firstRows, rows }
}

/** Guesses as far as they spare more time than they take. */
function guessed(sequences: readonly Sequence[], width: WeightWidth): number[][] {
  const count = sequences.length
  const cost = COST[width]
  /** What a token costs otherwise. A run is spared only where all sequences get ahead: they end at different times. */
  const gain = cost.sequence + cost.run / count ** 2
  const guesses = sequences.map(sequence => sequence.guess(MOST_GUESSES, 1 / gain))
  let length = 0
  for (let rows = count; length < MOST_GUESSES; length++) {
    const next = guesses.flatMap(list => list[length] ?? [])
    const spared = next.reduce((sum, { chance }) => sum + chance * gain - 1, -cost.padding * count)
    rows += next.length
    if (spared <= 0 || rows > GUESSED_ROWS) break
  }
  return guesses.map(list => list.slice(0, length).map(({ id }) => id))
}

/** Rows of a plan whose logits are wanted. */
export function sampledRows({ sequences, guesses, firstRows }: DecodePlan): number[] {
  return sequences.flatMap((sequence, i) => {
    const rows = Array.from({ length: 1 + guesses[i]!.length }, (_, ahead) => ahead)
    return rows.filter(ahead => sequence.needsLogits(ahead)).map(ahead => firstRows[i]! + ahead)
  })
}

/**
 * The inputs of `decodeRequest` for a plan.
 * @param stores blocks of the sequences' own, and those that several see, where any are seen so
 * @param others sequences that have no row: their blocks are out of sight
 */
export function decodeInputs(
  plan: DecodePlan,
  stores: { readonly own: BlockStore; readonly shared: BlockStore | undefined },
  others: readonly Sequence[],
  config: ModelConfig,
): Record<string, ProgramInput> {
  const { sequences, guesses, firstRows, rows } = plan
  const length = 1 + Math.max(...guesses.map(list => list.length))
  const tokenIds = new Int32Array(rows)
  const positions = new Int32Array(rows)
  const textIndex = new Int32Array(rows)
  const queryIndex = new Int32Array(sequences.length * length)
  const querySlot = new Int32Array(rows)
  for (const [i, sequence] of sequences.entries()) {
    const { ids, done } = sequence
    for (let ahead = 0; ahead < length; ahead++) {
      const row = firstRows[i]! + Math.min(ahead, guesses[i]!.length)
      const slot = i * length + ahead
      queryIndex[slot] = row
      if (ahead > guesses[i]!.length) continue
      querySlot[row] = slot
      tokenIds[row] = ahead === 0 ? ids[done]! : guesses[i]![ahead - 1]!
      positions[row] = sequence.positionOf(done + ahead)
      textIndex[row] = done + ahead
    }
  }
  const users = new Int32Array(stores.own.length)
  for (const [i, { blocks }] of sequences.entries()) for (const block of blocks) users[block] = i
  return {
    tokenIds,
    positions,
    textIndex,
    answerMask: new Float32Array(rows).fill(1),
    edgeMask: new Float32Array(rows),
    firstPositions: Int32Array.from(firstRows, row => positions[row]!),
    queryIndex: { data: queryIndex, shape: [sequences.length, length] },
    querySlot,
    ...section(stores.own, ownPart, config, inSight(sequences, others)),
    [ownPart('users')]: users,
    [ownPart('sequenceBlocks')]: table(
      sequences.map(({ blocks }) => blocks),
      0,
    ),
    ...(stores.shared ? sharedInputs(sequences, stores.shared, config) : {}),
  }
}

/** Places of the sequences that decode. Blocks of one that has no row, as its prompt is done in part, no other may see. */
function inSight(sequences: readonly Sequence[], others: readonly Sequence[]): (positions: Int32Array) => Int32Array {
  if (others.every(({ blocks }) => blocks.length === 0)) return positions => positions
  return positions => {
    const seen = new Int32Array(positions.length).fill(EMPTY_POSITION)
    for (const { blocks } of sequences) {
      for (const block of blocks) {
        const from = block * BLOCK_LENGTH
        seen.set(positions.subarray(from, from + BLOCK_LENGTH), from)
      }
    }
    return seen
  }
}

function section(
  store: BlockStore,
  name: (part: string) => string,
  { numLayers, numKeyValueHeads, headDim }: ModelConfig,
  inSight: (positions: Int32Array) => Int32Array = positions => positions,
): Record<string, ProgramInput> {
  const numbers = store.length * numKeyValueHeads * headDim * BLOCK_LENGTH
  const places = store.length * BLOCK_LENGTH
  const inputs: Record<string, ProgramInput> = {
    [name('keyPositions')]: inSight(store.positions.subarray(0, places)),
    [name('blindKeyPositions')]: inSight(store.blindPositions.subarray(0, places)),
  }
  for (let layer = 0; layer < numLayers; layer++) {
    inputs[layerInput(name('keys'), layer)] = store.keys[layer]!.subarray(0, numbers)
    inputs[layerInput(name('values'), layer)] = store.values[layer]!.subarray(0, numbers)
  }
  return inputs
}

function sharedInputs(sequences: readonly Sequence[], store: BlockStore, config: ModelConfig): Record<string, ProgramInput> {
  const count = store.length
  const usersOf = new Map<number, number[]>()
  for (const [i, { shared }] of sequences.entries()) {
    for (const node of shared?.path() ?? [])
      for (const block of node.blocks) usersOf.set(block, [...(usersOf.get(block) ?? []), i])
  }
  const width = Math.max(1, ...[...usersOf.values()].map(list => list.length))
  const users = new Int32Array(count * width)
  const userPositions = new Int32Array(count * width).fill(-1)
  const places = sequences.map((): number[] => [])
  for (const [block, list] of usersOf) {
    for (const [at, i] of list.entries()) {
      users[block * width + at] = i
      userPositions[block * width + at] = sequences[i]!.positionOf(sequences[i]!.done)
      places[i]!.push(block * width + at)
    }
  }
  return {
    ...section(store, sharedPart, config),
    [sharedPart('users')]: { data: users, shape: [count, width] },
    [sharedPart('userPositions')]: { data: userPositions, shape: [count, width] },
    [sharedPart('sequenceBlocks')]: table(places, 0),
  }
}

/** Lists as the rows of one matrix: a shorter one repeats its first member, an empty one has `none`. */
function table(lists: readonly (readonly number[])[], none: number): ProgramInput {
  const width = Math.max(1, ...lists.map(list => list.length))
  const data = new Int32Array(lists.length * width)
  for (const [row, list] of lists.entries()) for (let i = 0; i < width; i++) data[row * width + i] = list[i] ?? list[0] ?? none
  return { data, shape: [lists.length, width] }
}
