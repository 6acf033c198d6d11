/**
 * Decodes raw LZMA streams (LZMA SDK, the specification of LZMA1), as zip archives of method 14 have them. The result has the length that
 * the caller states, so that a stream cannot grow beyond it; the window is that result.
 */

/** A stream that is not LZMA, or ends too early. */
export class LzmaError extends Error {}

const STATES = 12
const MOST_POSITION_STATES = 16
const MATCH_LEAST = 2
const HALF = 1024

const probabilities = (count: number) => new Uint16Array(count).fill(HALF)

/** Reads bits by the probability that they are 0. */
class RangeDecoder {
  readonly #bytes: Uint8Array
  #at = 5
  #range = 0xffffffff
  #code = 0

  constructor(bytes: Uint8Array) {
    if (bytes.length < 5 || bytes[0] !== 0) throw new LzmaError('the stream does not begin as LZMA does')
    this.#bytes = bytes
    for (let i = 1; i < 5; i++) this.#code = ((this.#code << 8) | bytes[i]!) >>> 0
  }

  bit(table: Uint16Array, index: number): number {
    const probability = table[index]!
    const bound = (this.#range >>> 11) * probability
    let found = 0
    if (this.#code < bound) {
      this.#range = bound
      table[index] = probability + ((2048 - probability) >>> 5)
    } else {
      this.#range = (this.#range - bound) >>> 0
      this.#code = (this.#code - bound) >>> 0
      table[index] = probability - (probability >>> 5)
      found = 1
    }
    this.#normalise()
    return found
  }

  direct(count: number): number {
    let result = 0
    for (let i = 0; i < count; i++) {
      this.#range >>>= 1
      const found = this.#code >= this.#range ? 1 : 0
      if (found) this.#code = (this.#code - this.#range) >>> 0
      result = result * 2 + found
      this.#normalise()
    }
    return result
  }

  /** A number of so many bits, the highest first. */
  tree(table: Uint16Array, offset: number, bits: number): number {
    let node = 1
    for (let i = 0; i < bits; i++) node = node * 2 + this.bit(table, offset + node)
    return node - 2 ** bits
  }

  /** The same, the lowest first. */
  reverseTree(table: Uint16Array, offset: number, bits: number): number {
    let [node, result] = [1, 0]
    for (let i = 0; i < bits; i++) {
      const found = this.bit(table, offset + node)
      node = node * 2 + found
      result += found * 2 ** i
    }
    return result
  }

  #normalise(): void {
    if (this.#range >= 2 ** 24) return
    if (this.#at >= this.#bytes.length) throw new LzmaError('the stream ends too early')
    this.#range = (this.#range << 8) >>> 0
    this.#code = ((this.#code << 8) | this.#bytes[this.#at++]!) >>> 0
  }
}

class LengthDecoder {
  readonly #choice = probabilities(2)
  readonly #low = probabilities(MOST_POSITION_STATES * 8)
  readonly #middle = probabilities(MOST_POSITION_STATES * 8)
  readonly #high = probabilities(256)

  read(decoder: RangeDecoder, positionState: number): number {
    if (decoder.bit(this.#choice, 0) === 0) return decoder.tree(this.#low, positionState * 8, 3)
    if (decoder.bit(this.#choice, 1) === 0) return 8 + decoder.tree(this.#middle, positionState * 8, 3)
    return 16 + decoder.tree(this.#high, 0, 8)
  }
}

/**
 * @param properties the five bytes that stand before a stream; the size of the dictionary among them is not needed
 * @param length of what is decoded
 * @throws LzmaError
 */
export function decodeLzma(properties: Uint8Array, stream: Uint8Array, length: number): Uint8Array {
  const first = properties[0]!
  if (properties.length < 5 || first >= 225) throw new LzmaError('the properties are not those of LZMA')
  const [lc, lp, pb] = [first % 9, Math.floor(first / 9) % 5, Math.floor(first / 45)]
  const out = new Uint8Array(length)
  const decoder = new RangeDecoder(stream)
  const literals = probabilities(0x300 << (lc + lp))
  const isMatch = probabilities(STATES * MOST_POSITION_STATES)
  const isRepeat = probabilities(STATES)
  const isRepeat0Long = probabilities(STATES * MOST_POSITION_STATES)
  const isOther = [probabilities(STATES), probabilities(STATES), probabilities(STATES)] as const
  const slots = probabilities(4 * 64)
  const distances = probabilities(1 + 128)
  const aligned = probabilities(16)
  const [matchLength, repeatLength] = [new LengthDecoder(), new LengthDecoder()]
  const repeats = [0, 0, 0, 0]
  let [at, state] = [0, 0]

  while (at < length) {
    const positionState = at & ((1 << pb) - 1)
    if (decoder.bit(isMatch, state * MOST_POSITION_STATES + positionState) === 0) {
      const byte = literal()
      out[at++] = byte
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6
      continue
    }
    let count: number
    if (decoder.bit(isRepeat, state) === 0) {
      repeats.unshift(0)
      repeats.pop()
      count = MATCH_LEAST + matchLength.read(decoder, positionState)
      state = state < 7 ? 7 : 10
      repeats[0] = distance(count)
      // The mark of an end: the length is known, so that it comes too early.
      if (repeats[0] === 0xffffffff) throw new LzmaError('the stream ends before the length that was stated')
    } else {
      if (decoder.bit(isOther[0], state) === 0) {
        if (decoder.bit(isRepeat0Long, state * MOST_POSITION_STATES + positionState) === 0) {
          copy(1)
          state = state < 7 ? 9 : 11
          continue
        }
      } else {
        const which = decoder.bit(isOther[1], state) === 0 ? 1 : 2 + decoder.bit(isOther[2], state)
        repeats.unshift(...repeats.splice(which, 1))
      }
      count = MATCH_LEAST + repeatLength.read(decoder, positionState)
      state = state < 7 ? 8 : 11
    }
    copy(count)
  }
  return out

  function literal(): number {
    const before = at > 0 ? out[at - 1]! : 0
    const context = ((at & ((1 << lp) - 1)) << lc) + (before >> (8 - lc))
    const base = 0x300 * context
    let symbol = 1
    if (state >= 7) {
      let match = byteBack(repeats[0]!)
      while (symbol < 0x100) {
        const matchBit = (match >> 7) & 1
        match <<= 1
        const found = decoder.bit(literals, base + ((1 + matchBit) << 8) + symbol)
        symbol = symbol * 2 + found
        if (matchBit !== found) break
      }
    }
    while (symbol < 0x100) symbol = symbol * 2 + decoder.bit(literals, base + symbol)
    return symbol & 0xff
  }

  function distance(count: number): number {
    const slot = decoder.tree(slots, Math.min(count - MATCH_LEAST, 3) * 64, 6)
    if (slot < 4) return slot
    const bits = (slot >> 1) - 1
    const base = (2 | (slot & 1)) * 2 ** bits
    if (slot < 14) return base + decoder.reverseTree(distances, base - slot, bits)
    return base + decoder.direct(bits - 4) * 16 + decoder.reverseTree(aligned, 0, 4)
  }

  function byteBack(back: number): number {
    if (back >= at) throw new LzmaError('the stream refers to what stands before its beginning')
    return out[at - 1 - back]!
  }

  function copy(count: number): void {
    const back = repeats[0]!
    if (at + count > length) throw new LzmaError('the stream is longer than it was stated to be')
    for (let i = 0; i < count; i++) {
      const byte = byteBack(back)
      out[at++] = byte
    }
  }
}
