import { BLOCK_LENGTH } from '../../../kernels/attention/cached.js'
import type { BlockOwner, CachedPosition, NewKeyValues } from './block-store.js'

/** What a beginning's tokens came to: keys and values of its last part, and the part before. */
export class PrefixNode implements BlockOwner {
  readonly children = new Map<string, PrefixNode>()
  /** Keys and values of this part; absent while it has been seen but once. */
  keyValues: NewKeyValues | undefined
  /** What each of its rows stands for. */
  positions: readonly CachedPosition[] = []
  /** Sequences under way that begin with it. It is not forgotten while there are any. */
  users = 0
  /** Blocks of the shared section that hold it while several sequences decode from it. */
  readonly blocks: number[] = []

  constructor(
    readonly parent: PrefixNode | undefined,
    readonly key: string,
    /** Tokens of the text up to its end; virtual tokens do not count. */
    readonly tokens: number,
  ) {}

  /** Rows of keys and values up to its end. */
  get length(): number {
    return (this.parent?.length ?? 0) + this.positions.length
  }

  /** The parts from the beginning to this one. */
  path(): PrefixNode[] {
    const path: PrefixNode[] = []
    for (let node: PrefixNode | undefined = this; node; node = node.parent) path.unshift(node)
    return path
  }
}

/** Parts that were seen but not kept: so many are remembered, each by its ids alone. */
const REMEMBERED = 8192

/**
 * Beginnings that several requests share, in parts of one block each, as a tree: the keys and values of what begins alike are computed
 * once. A part is kept when a second sequence has it, and forgotten in order of last use when the cache grows past its limit.
 */
export class PrefixCache {
  readonly #roots = new Map<string, PrefixNode>()
  /** Parts in order of last use, a part always before those that it follows. */
  readonly #recent = new Set<PrefixNode>()
  #bytes = 0
  #empty = 0

  /** Bytes of keys and values, at most, beside what sequences under way need. */
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get size(): { readonly parts: number; readonly bytes: number } {
    return { parts: this.#recent.size, bytes: this.#bytes }
  }

  /** Where every text under a prompt begins. */
  root(prompt: string): PrefixNode {
    const known = this.#roots.get(prompt)
    if (known) return known
    const made = new PrefixNode(undefined, prompt, 0)
    this.#roots.set(prompt, made)
    return made
  }

  /** The longest kept beginning of a text, of which at least one token is left over. */
  find(root: PrefixNode, ids: readonly number[]): PrefixNode {
    let node = root
    for (;;) {
      const next = this.part(node, ids)
      if (!next?.keyValues || next.tokens >= ids.length) break
      node = next
    }
    this.#touch(node)
    return node
  }

  /** The next whole part of a text behind `node`, if it has been seen. */
  part(node: PrefixNode, ids: readonly number[]): PrefixNode | undefined {
    return node.children.get(keyOf(ids, node.tokens, BLOCK_LENGTH))
  }

  /** Remembers the next whole part of a text behind `node`. @returns undefined where less than a whole part is left */
  see(node: PrefixNode, ids: readonly number[], tokens = BLOCK_LENGTH): PrefixNode | undefined {
    if (node.tokens + tokens > ids.length) return undefined
    const key = keyOf(ids, node.tokens, tokens)
    const known = node.children.get(key)
    if (known) return known
    const made = new PrefixNode(node, key, node.tokens + tokens)
    node.children.set(key, made)
    this.#empty++
    this.#touch(made)
    this.#trim()
    return made
  }

  /** Keeps what a part came to. */
  keep(node: PrefixNode, positions: readonly CachedPosition[], keyValues: NewKeyValues): void {
    if (node.keyValues) return
    node.keyValues = keyValues
    node.positions = positions
    this.#bytes += keyValues.data.byteLength
    if (node.parent) this.#empty--
    this.#touch(node)
    this.#trim()
  }

  /** Counts a sequence that begins with a part, and so with all before it. */
  hold(node: PrefixNode): void {
    for (const part of node.path()) part.users++
  }

  release(node: PrefixNode): void {
    for (const part of node.path()) part.users--
    this.#trim()
  }

  /** Forgets every part that no sequence holds. */
  clear(): void {
    for (const node of this.#recent) if (node.users === 0 && node.children.size === 0) this.#drop(node)
  }

  #drop(node: PrefixNode): void {
    node.parent!.children.delete(node.key)
    this.#recent.delete(node)
    if (node.keyValues) this.#bytes -= node.keyValues.data.byteLength
    else this.#empty--
  }

  /** Marks a beginning as used now: its end first, so that what follows is always forgotten before what it follows. */
  #touch(node: PrefixNode): void {
    for (let part: PrefixNode = node; part.parent; part = part.parent) {
      this.#recent.delete(part)
      this.#recent.add(part)
    }
  }

  #trim(): void {
    if (this.#bytes <= this.#limit && this.#empty <= REMEMBERED) return
    for (const node of this.#recent) {
      if (node.users > 0 || node.children.size > 0) continue
      if (node.keyValues ? this.#bytes <= this.#limit : this.#empty <= REMEMBERED) continue
      this.#drop(node)
      if (this.#bytes <= this.#limit && this.#empty <= REMEMBERED) return
    }
  }
}

const keyOf = (ids: readonly number[], start: number, length: number) => ids.slice(start, start + length).join()

/** Consecutive rows of keys and values as their own. */
export function rowsOf({ data, rows }: NewKeyValues, size: number, indices: readonly number[]): NewKeyValues {
  const lists = data.length / (rows * size)
  const own = new Float32Array(lists * indices.length * size)
  for (let list = 0; list < lists; list++) {
    for (const [i, row] of indices.entries()) {
      const from = (list * rows + row) * size
      own.set(data.subarray(from, from + size), (list * indices.length + i) * size)
    }
  }
  return { data: own, rows: indices.length }
}
