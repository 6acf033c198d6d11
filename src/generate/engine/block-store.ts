import { BLOCK_LENGTH, EMPTY_POSITION } from '../../../kernels/attention/cached.js'
import type { ModelConfig } from '../../../models/blocks/family.js'

/** What decides how large a position's keys and values are. */
export type CacheShape = Pick<ModelConfig, 'numLayers' | 'numKeyValueHeads' | 'headDim'>

/** Who holds blocks, in the order of what they hold. A block may move, and then its number here changes. */
export interface BlockOwner {
  readonly blocks: number[]
}

/** Keys and values as a program returns them: [2 layers Hkv, rows, D], each layer's keys before its values. */
export interface NewKeyValues {
  readonly data: Float32Array
  readonly rows: number
}

/** What one position of the cache stands for. */
export interface CachedPosition {
  readonly position: number
  /** Whether it is a virtual token of a soft prompt, which the first layers of some methods do not see. */
  readonly virtual: boolean
}

/**
 * Cached keys and values in blocks of positions, in one array a layer, which a run takes as it lies. Blocks in use stand together at the
 * beginning: the gaps that finished sequences leave are filled by new ones, and closed when there are many of them.
 */
export class BlockStore {
  /** For each layer [blocks, Hkv, D, W]. */
  readonly keys: Float32Array[]
  /** For each layer [blocks, Hkv, W, D]. */
  readonly values: Float32Array[]
  /** Position of each place, [blocks, W]. */
  positions = new Int32Array(0)
  /** The same, but virtual tokens are out of sight. */
  blindPositions = new Int32Array(0)
  readonly #owners: (BlockOwner | undefined)[] = []
  #gaps = 0
  readonly #heads: number
  readonly #size: number
  /** Numbers that a block has in one layer's keys. */
  readonly #stride: number

  constructor(config: CacheShape) {
    this.#heads = config.numKeyValueHeads
    this.#size = config.headDim
    this.#stride = this.#heads * this.#size * BLOCK_LENGTH
    this.keys = Array.from({ length: config.numLayers }, () => new Float32Array(0))
    this.values = this.keys.map(() => new Float32Array(0))
  }

  /** Bytes of one block in all layers. */
  static bytes({ numLayers, numKeyValueHeads, headDim }: CacheShape): number {
    return 2 * numLayers * numKeyValueHeads * headDim * BLOCK_LENGTH * 4
  }

  /** Blocks from the first to the last one in use: what a run has to take. */
  get length(): number {
    return this.#owners.length
  }

  get used(): number {
    return this.#owners.length - this.#gaps
  }

  owner(block: number): BlockOwner | undefined {
    return this.#owners[block]
  }

  /** Gives an owner one more block, empty. */
  acquire(owner: BlockOwner): number {
    let block = this.#gaps > 0 ? this.#owners.indexOf(undefined) : -1
    if (block < 0) {
      block = this.#owners.length
      this.reserve(block + 1)
      this.#owners.push(owner)
    } else {
      this.#owners[block] = owner
      this.#gaps--
    }
    owner.blocks.push(block)
    return block
  }

  /** Takes all blocks back. */
  release(owner: BlockOwner): void {
    for (const block of owner.blocks.splice(0)) {
      this.#owners[block] = undefined
      this.#gaps++
      this.#clear(block)
    }
    this.#trim()
    // A gap costs a run little, and moving a block costs more than a few of them.
    if (this.#gaps > Math.max(4, this.#owners.length / 8)) this.#close()
  }

  /**
   * Writes keys and values of consecutive places.
   *
   * @param place the first of them within the block
   * @param at what each of them stands for
   * @param rows where each of them stands in `source`
   */
  write(block: number, place: number, at: readonly CachedPosition[], source: NewKeyValues, rows: readonly number[]): void {
    const heads = this.#heads
    const size = this.#size
    const stride = this.#stride
    const { data } = source
    for (let layer = 0; layer < this.keys.length; layer++) {
      const keys = this.keys[layer]!
      const values = this.values[layer]!
      for (let head = 0; head < heads; head++) {
        const keyList = (2 * layer * heads + head) * source.rows
        const valueList = keyList + heads * source.rows
        const base = block * stride + head * size * BLOCK_LENGTH
        for (let j = 0; j < rows.length; j++) {
          let from = (keyList + rows[j]!) * size
          let to = base + place + j
          for (let i = 0; i < size; i++, to += BLOCK_LENGTH) keys[to] = data[from + i]!
          from = (valueList + rows[j]!) * size
          to = base + (place + j) * size
          for (let i = 0; i < size; i++) values[to + i] = data[from + i]!
        }
      }
    }
    for (const [j, { position, virtual }] of at.entries()) {
      const to = block * BLOCK_LENGTH + place + j
      this.positions[to] = position
      this.blindPositions[to] = virtual ? EMPTY_POSITION : position
    }
  }

  /** Copies positions of a block, from the first one, into `[Hkv, rows, D]` arrays of each layer, from row `to` on. */
  read(
    block: number,
    count: number,
    keys: readonly Float32Array[],
    values: readonly Float32Array[],
    rows: number,
    to: number,
  ): void {
    const heads = this.#heads
    const size = this.#size
    const stride = this.#stride
    for (let layer = 0; layer < this.keys.length; layer++) {
      for (let head = 0; head < heads; head++) {
        const target = (head * rows + to) * size
        const from = block * stride + head * size * BLOCK_LENGTH
        const own = this.keys[layer]!
        const out = keys[layer]!
        for (let place = 0; place < count; place++)
          for (let i = 0; i < size; i++) out[target + place * size + i] = own[from + i * BLOCK_LENGTH + place]!
        values[layer]!.set(this.values[layer]!.subarray(from, from + count * size), target)
      }
    }
  }

  /** Makes room for so many blocks, so that they need not be moved when they come. */
  reserve(blocks: number): void {
    const capacity = this.positions.length / BLOCK_LENGTH
    if (blocks <= capacity) return
    const wanted = Math.max(blocks, Math.ceil(capacity * 1.5), 8)
    const used = this.#owners.length
    for (const list of [this.keys, this.values]) {
      for (const [layer, array] of list.entries()) {
        // Pages that nothing has been written to take no memory yet, so only what is used is copied.
        list[layer] = new Float32Array(wanted * this.#stride)
        list[layer].set(array.subarray(0, used * this.#stride))
      }
    }
    for (const name of ['positions', 'blindPositions'] as const) {
      const larger = new Int32Array(wanted * BLOCK_LENGTH).fill(EMPTY_POSITION)
      larger.set(this[name])
      this[name] = larger
    }
  }

  /** Moves the last blocks into the gaps. */
  #close(): void {
    const stride = this.#stride
    for (let gap = this.#owners.indexOf(undefined); gap >= 0; gap = this.#owners.indexOf(undefined, gap + 1)) {
      this.#trim()
      const last = this.#owners.length - 1
      if (gap > last) break
      for (const list of [this.keys, this.values])
        for (const array of list) array.copyWithin(gap * stride, last * stride, (last + 1) * stride)
      for (const array of [this.positions, this.blindPositions])
        array.copyWithin(gap * BLOCK_LENGTH, last * BLOCK_LENGTH, (last + 1) * BLOCK_LENGTH)
      const owner = this.#owners[last]!
      owner.blocks[owner.blocks.indexOf(last)] = gap
      this.#owners[gap] = owner
      this.#owners[last] = undefined
      this.#clear(last)
    }
    this.#trim()
  }

  /** Drops gaps at the end. */
  #trim(): void {
    while (this.#owners.length > 0 && this.#owners.at(-1) === undefined) {
      this.#owners.pop()
      this.#gaps--
    }
  }

  #clear(block: number): void {
    const [from, to] = [block * BLOCK_LENGTH, (block + 1) * BLOCK_LENGTH]
    this.positions.fill(EMPTY_POSITION, from, to)
    this.blindPositions.fill(EMPTY_POSITION, from, to)
  }
}
