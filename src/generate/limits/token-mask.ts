/** A set of tokens as bits, 32 to a word: half a vocabulary is looked through in less time than a list of it is made. */
export class TokenMask {
  readonly #words: Int32Array

  /** @param words bit `id % 32` of word `id / 32` says whether a token belongs to it; tokens beyond them do not */
  constructor(words: Int32Array) {
    this.#words = words
  }

  static of(size: number, ids: Iterable<number>): TokenMask {
    const words = new Int32Array(Math.ceil(size / 32))
    for (const id of ids) words[id >> 5]! |= 1 << (id & 31)
    return new TokenMask(words)
  }

  has(id: number): boolean {
    return (((this.#words[id >> 5] ?? 0) >>> (id & 31)) & 1) === 1
  }

  get isEmpty(): boolean {
    return this.#words.every(word => word === 0)
  }

  /** What is in both. */
  and(other: TokenMask): TokenMask {
    return new TokenMask(this.#words.map((word, i) => word & (other.#words[i] ?? 0)))
  }

  /** Whether nothing but these is in it. */
  isWithin(ids: Iterable<number>): boolean {
    const words = this.#words.slice()
    for (const id of ids) if (id >> 5 < words.length) words[id >> 5]! &= ~(1 << (id & 31))
    return words.every(word => word === 0)
  }

  /** @param scores [V] @returns [V] the same, with negative infinity in place of what is not in it */
  keep(scores: Float32Array): Float32Array {
    const kept = scores.slice()
    const words = Math.ceil(scores.length / 32)
    for (let at = 0; at < words; at++) {
      const word = this.#words[at] ?? 0
      if (word === -1) continue
      const end = Math.min(scores.length, 32 * at + 32)
      if (word === 0) kept.fill(Number.NEGATIVE_INFINITY, 32 * at, end)
      else for (let id = 32 * at; id < end; id++) if (((word >>> (id & 31)) & 1) === 0) kept[id] = Number.NEGATIVE_INFINITY
    }
    return kept
  }
}
