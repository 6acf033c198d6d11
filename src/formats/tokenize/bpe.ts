/**
 * Byte-pair encoding (Sennrich, Haddow and Birch 2016) of one piece of text, with the options and the order of the Rust `tokenizers`:
 * of all pairs that have a rule the lowest rank is merged first, from the left.
 */
import { byteToken } from './bytes.js'
import { affix, describe, invalid, type TokenizerDefinition, unsupported } from './definition.js'

/** What a model makes of one piece, and the vocabulary behind it. */
export interface TokenModel {
  readonly vocab: ReadonlyMap<string, number>
  encode(piece: string): readonly number[]
}

/** @throws {GradpromptError} `invalid-tokenizer`, `unsupported-tokenizer` */
export function bpeOf(
  { vocab, merges }: NonNullable<TokenizerDefinition['bpe']>,
  options: Readonly<Record<string, unknown>>,
): TokenModel {
  const flag = (name: string) => {
    const value = options[name] ?? false
    if (typeof value === 'boolean') return value
    throw invalid(`The tokenizer's model cannot be read: ${name}`, describe(value), 'true or false')
  }
  const ignoreMerges = flag('ignore_merges')
  const fuseUnknown = flag('fuse_unk')
  const fallsBack = flag('byte_fallback')
  const prefix = affix('continuing_subword_prefix', options.continuing_subword_prefix ?? '')
  const suffix = affix('end_of_word_suffix', options.end_of_word_suffix ?? '')
  if (options.dropout != null && options.dropout !== 0) {
    throw unsupported('The tokenizer leaves out merges by chance', `dropout ${describe(options.dropout)}`, 'no dropout')
  }
  const unknown = unknownId(options.unk_token, vocab)
  const ranks = new PairRanks(merges.length)
  const results = new Uint32Array(merges.length)
  for (let rank = 0; rank < merges.length; rank++) {
    const merge = merges[rank]!
    const space = typeof merge === 'string' ? merge.indexOf(' ') : 0
    const left = typeof merge === 'string' ? merge.slice(0, space) : merge[0]
    const right = typeof merge === 'string' ? merge.slice(space + 1) : merge[1]
    const leftId = vocab.get(left)
    const rightId = vocab.get(right)
    const result = vocab.get(left + right.slice(prefix.length))
    if (leftId === undefined || rightId === undefined || result === undefined) {
      throw invalid(`Merge ${rank} is of or makes an unknown piece`, describe(merge), 'pieces of the vocabulary')
    }
    ranks.set(leftId, rightId, rank)
    results[rank] = result
  }
  const bytes = fallsBack ? Array.from({ length: 256 }, (_, byte) => vocab.get(byteToken(byte))) : []
  const encoder = new TextEncoder()

  return {
    vocab,
    encode: piece => {
      if (piece === '') return []
      const whole = ignoreMerges ? vocab.get(piece) : undefined
      return whole === undefined ? mergeAll(symbols(piece), ranks, results) : [whole]
    },
  }

  /** One symbol a character; its bytes, the unknown token or nothing where the vocabulary lacks it. */
  function symbols(piece: string): number[] {
    const out: number[] = []
    // The unknown token is written when the next known character comes, behind the bytes of those between.
    let pending = false
    let at = 0
    for (const character of piece) {
      const first = at === 0
      at += character.length
      const spelled = `${first ? '' : prefix}${character}${at === piece.length ? suffix : ''}`
      const id = vocab.get(spelled)
      if (id !== undefined) {
        if (pending) out.push(unknown!)
        pending = false
        out.push(id)
        continue
      }
      const fallback = fallsBack ? Array.from(encoder.encode(spelled), byte => bytes[byte]) : undefined
      if (fallback?.every(byte => byte !== undefined) === true) {
        for (const byte of fallback) out.push(byte!)
      } else if (unknown !== undefined) {
        if (pending && !fuseUnknown) out.push(unknown)
        pending = true
      }
    }
    if (pending) out.push(unknown!)
    return out
  }
}

/** The id of `unk_token`: a token that is named but not in the vocabulary would be an id of nothing. */
export function unknownId(token: unknown, vocab: ReadonlyMap<string, number>): number | undefined {
  if (token === null || token === undefined) return undefined
  const id = typeof token === 'string' ? vocab.get(token) : undefined
  if (id !== undefined) return id
  throw invalid("The tokenizer's unk_token is not in its vocabulary", describe(token), 'a token of the vocabulary, or none', {
    hint: 'set "unk_token" of the model in tokenizer.json to null, or to the token that stands for unknown text',
  })
}

/** Above this, looking at every pair for every merge costs more than a queue of pairs. */
const fewSymbols = 24

function mergeAll(ids: number[], ranks: PairRanks, results: Uint32Array): number[] {
  return ids.length > fewSymbols ? mergeMany(ids, ranks, results) : mergeFew(ids, ranks, results)
}

function mergeFew(ids: number[], ranks: PairRanks, results: Uint32Array): number[] {
  while (ids.length > 1) {
    let best = Number.POSITIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < ids.length; i++) {
      const rank = ranks.get(ids[i]!, ids[i + 1]!)
      if (rank >= 0 && rank < best) {
        best = rank
        at = i
      }
    }
    if (at < 0) break
    ids[at] = results[best]!
    ids.splice(at + 1, 1)
  }
  return ids
}

/**
 * The same by a queue of pairs, in n log n. Symbols are a linked list by position; a merge leaves its result at the left position. An
 * entry of the queue holds the rank and position as one number, and is stale when the pair that stands there now has another rank.
 */
function mergeMany(ids: number[], ranks: PairRanks, results: Uint32Array): number[] {
  const count = ids.length
  const next = Int32Array.from(ids, (_, i) => (i + 1 < count ? i + 1 : -1))
  const previous = Int32Array.from(ids, (_, i) => i - 1)
  const gone = new Uint8Array(count)
  const queue = new NumberQueue()
  const offer = (at: number) => {
    const right = at < 0 ? -1 : next[at]!
    const rank = right < 0 ? -1 : ranks.get(ids[at]!, ids[right]!)
    if (rank >= 0) queue.push(rank * count + at)
  }
  for (let i = 0; i + 1 < count; i++) offer(i)
  for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
    const at = entry % count
    const rank = (entry - at) / count
    const right = next[at]!
    if (gone[at] === 1 || right < 0 || ranks.get(ids[at]!, ids[right]!) !== rank) continue
    ids[at] = results[rank]!
    gone[right] = 1
    const after = next[right]!
    next[at] = after
    if (after >= 0) previous[after] = at
    offer(previous[at]!)
    offer(at)
  }
  return ids.filter((_, i) => gone[i] === 0)
}

/** Another one in every process, so that no file can be made whose pairs all fall into one place. */
const multiplier = Math.floor(Math.random() * 2 ** 31) * 2 + 1

/** The rank of each pair of ids that has a rule: a table with open addressing, several times as fast as a Map of numbers. */
class PairRanks {
  readonly #mask: number
  readonly #left: Int32Array
  readonly #right: Int32Array
  readonly #rank: Int32Array

  constructor(count: number) {
    const size = 2 ** Math.ceil(Math.log2(2 * count + 2))
    this.#mask = size - 1
    this.#left = new Int32Array(size)
    this.#right = new Int32Array(size)
    this.#rank = new Int32Array(size).fill(-1)
  }

  /** -1 where the pair has no rule. */
  get(left: number, right: number): number {
    return this.#rank[this.#slot(left, right)]!
  }

  /** Of two rules for one pair the later counts. */
  set(left: number, right: number, rank: number): void {
    const slot = this.#slot(left, right)
    this.#left[slot] = left
    this.#right[slot] = right
    this.#rank[slot] = rank
  }

  #slot(left: number, right: number): number {
    let hash = Math.imul(left, multiplier) ^ Math.imul(right, 0x85ebca6b)
    hash ^= hash >>> 15
    let slot = hash & this.#mask
    while (this.#rank[slot]! >= 0 && (this.#left[slot] !== left || this.#right[slot] !== right)) slot = (slot + 1) & this.#mask
    return slot
  }
}

/** A binary heap, smallest first. */
class NumberQueue {
  readonly #heap: number[] = []

  push(value: number): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(value)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent]! <= value) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = value
  }

  pop(): number | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return top
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++
      if (heap[child]! >= last) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
    return top
  }
}
