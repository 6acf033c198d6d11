import { type Attributes, defineKernel } from '../kernel.js'
import { tf } from '../tf.js'
import { capScores, NEVER, upTo } from './scores.js'

/** Positions in one block of cached keys. */
export const BLOCK_LENGTH = 32
/** A position that no query reaches: what an empty place of a block has. */
export const EMPTY_POSITION = 2 ** 30

/**
 * Attention of the newest tokens of many sequences over keys and values that were computed before, and over one another: one token a
 * sequence, or a few, where some are guesses at what follows.
 *
 * The cache is cut into blocks of W positions, and every block stands once in memory, whoever made it; a run takes the blocks as they
 * lie, without gathering or padding. Blocks that one sequence sees (its own) and blocks that several see (beginnings that they share)
 * are two sections: the queries of all sequences that see a shared block are one product with it.
 *
 * Each block is multiplied by itself, and a row's softmax is put together from the maxima and sums of its blocks, so that sequences of
 * very different lengths cost no more than what they see. A sequence's T queries stand below one another in one product: they read the
 * keys once.
 */
export interface CacheSection {
  /** [N, Hkv, D, W]: a block's keys are columns, which makes the product with few queries the plain one. */
  readonly keys: tf.Tensor
  /** [N, Hkv, W, D] */
  readonly values: tf.Tensor
  /** Position of each key, `EMPTY_POSITION` where there is none, [N, W] int32. All of them lie before the new tokens. */
  readonly keyPositions: tf.Tensor
  /** The sequence that sees each block, [N] int32, or the sequences, [N, U], any where there are fewer. */
  readonly users: tf.Tensor
  /** With several a block: the position of the first new token of each, -1 where there is none, [N, U] int32. */
  readonly userPositions?: tf.Tensor
  /**
   * For each sequence the blocks that it sees (its places among N U), one of them repeated where it has fewer, [G, J] int32. One that
   * sees none names a place without a user.
   */
  readonly sequenceBlocks: tf.Tensor
}

/** The new tokens of G sequences, R rows in all, in consecutive positions of each. */
export interface NewTokens {
  /** Position of the first one of each sequence, [G] int32. */
  readonly firstPositions: tf.Tensor
  /** Their rows in order, [G, T] int32; any rows behind the last. */
  readonly queryIndex: tf.Tensor
  /** For each row its place among G T, [R] int32. */
  readonly querySlot: tf.Tensor
}

interface Inputs extends NewTokens {
  /** [H, R, D] */
  readonly q: tf.Tensor
  /** [Hkv, R, D] */
  readonly k: tf.Tensor
  /** [Hkv, R, D] */
  readonly v: tf.Tensor
  readonly sections: readonly CacheSection[]
}

const int = (value: number) => tf.scalar(value, 'int32')
const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) as tf.Tensor1D
/** 0 where something is visible, -1e9 elsewhere. */
const barred = (visible: tf.Tensor) => tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), NEVER)

/**
 * Which cached keys a query sees; shapes broadcast.
 * @param first position of the first new token of its sequence: a key at or behind it is none
 * @param place its own place among its sequence's new tokens
 */
function sight(first: tf.Tensor, place: tf.Tensor, keyPositions: tf.Tensor, window: number): tf.Tensor {
  const visible = tf.lessEqual(keyPositions, first)
  if (window === 0) return barred(visible)
  return barred(tf.logicalAnd(visible, tf.greater(keyPositions, tf.sub(tf.add(first, place), int(window)))))
}

/** Which new tokens of its sequence a query sees, by places among them; shapes broadcast. */
function sightAmongNew(place: tf.Tensor, keyPlace: tf.Tensor, window: number): tf.Tensor {
  const visible = tf.lessEqual(keyPlace, place)
  return window === 0 ? visible : tf.logicalAnd(visible, tf.greater(keyPlace, tf.sub(place, int(window))))
}

/** One section's part in a softmax that spans several. Below a key head stand the queries of its heads, Q = repeat T. */
class Part {
  readonly #blocks: number
  readonly #keyHeads: number
  readonly #size: number
  readonly #width: number
  readonly #users: number
  readonly #several: boolean
  readonly #scores: tf.Tensor // [N, Hkv, Q, W], or [N, Hkv, Q, U, W]

  readonly #section: CacheSection
  /** [G, Hkv, Q, D] */
  readonly #query: tf.Tensor

  constructor(
    section: CacheSection,
    query: tf.Tensor,
    firstPositions: tf.Tensor,
    /** Of each query among its sequence's new tokens, [Q]. */
    place: tf.Tensor,
    window: number,
    softCap: number,
  ) {
    this.#section = section
    this.#query = query
    const { keys, users, userPositions, keyPositions } = section
    ;[this.#blocks, this.#keyHeads, this.#size, this.#width] = keys.shape as [number, number, number, number]
    this.#several = userPositions !== undefined
    this.#users = users.shape[1] ?? 1
    const blocks = this.#blocks
    const width = this.#width
    const queries = this.#queries
    const products = this.#byBlock(tf.matMul(this.#toBlocks(query), keys), width)
    const first = userPositions
      ? tf.reshape(userPositions, [blocks, 1, 1, this.#users, 1])
      : tf.reshape(tf.gather(firstPositions, users as tf.Tensor1D), [blocks, 1, 1, 1])
    const places = tf.reshape(place, this.#several ? [1, 1, queries, 1, 1] : [1, 1, queries, 1])
    const at = tf.reshape(keyPositions, this.#several ? [blocks, 1, 1, 1, width] : [blocks, 1, 1, width])
    this.#scores = tf.add(capScores(products, softCap), sight(first, places, at, window))
  }

  get #queries(): number {
    return this.#query.shape[2]!
  }

  /** Each block's rows: [G, Hkv, Q, n] -> [N, Hkv, Q U, n]. */
  #toBlocks(x: tf.Tensor): tf.Tensor {
    const taken = tf.gather(x, flat(this.#section.users)) // [N U, Hkv, Q, n]
    if (!this.#several) return taken
    const blocks = this.#blocks
    const users = this.#users
    const keyHeads = this.#keyHeads
    const queries = this.#queries
    const apart = tf.reshape(taken, [blocks, users, keyHeads, queries, x.shape[3]!])
    return tf.reshape(tf.transpose(apart, [0, 2, 3, 1, 4]), [blocks, keyHeads, queries * users, x.shape[3]!])
  }

  /** [N, Hkv, Q U, n] -> [N, Hkv, Q, U, n], where there are several users. */
  #byBlock(x: tf.Tensor, count: number): tf.Tensor {
    return this.#several ? tf.reshape(x, [this.#blocks, this.#keyHeads, this.#queries, this.#users, count]) : x
  }

  /** [N, Hkv, Q, n] or [N, Hkv, Q, U, n] -> [N U, Hkv, Q, n]. */
  #byUser(x: tf.Tensor, count: number): tf.Tensor {
    if (!this.#several) return x
    return tf.reshape(tf.transpose(x, [0, 3, 1, 2, 4]), [this.#blocks * this.#users, this.#keyHeads, this.#queries, count])
  }

  /** The highest score of each query in this section, [G, Hkv, Q, 1]. */
  maximum(): tf.Tensor {
    return tf.max(tf.gather(this.#byUser(tf.max(this.#scores, -1, true), 1), this.#section.sequenceBlocks as tf.Tensor2D), 1)
  }

  /** Sums of exp(score - maximum), and of the values under these weights: [G, Hkv Q 1] and [G, Hkv Q D]. */
  sums(maximum: tf.Tensor): { weight: tf.Tensor; value: tf.Tensor } {
    const blocks = this.#blocks
    const keyHeads = this.#keyHeads
    const queries = this.#queries
    const users = this.#users
    const size = this.#size
    const width = this.#width
    const weights = tf.exp(tf.sub(this.#scores, this.#byBlock(this.#toBlocks(maximum), 1)))
    const below = this.#several ? tf.reshape(weights, [blocks, keyHeads, queries * users, width]) : weights
    const values = this.#byBlock(tf.matMul(below, this.#section.values), size)
    const sequences = upTo(this.#query.shape[0]!)
    const uses = tf.equal(tf.expandDims(sequences, 1), tf.expandDims(flat(this.#section.users), 0)) // [G, N U]
    const sum = (x: tf.Tensor, count: number) =>
      tf.matMul(
        tf.cast(uses, 'float32') as tf.Tensor2D,
        tf.reshape(this.#byUser(x, count), [blocks * users, keyHeads * queries * count]) as tf.Tensor2D,
      )
    return { weight: sum(tf.sum(weights, -1, true), 1), value: sum(values, size) }
  }
}

function blockwise(
  { q, k, v, firstPositions, queryIndex, querySlot, sections }: Inputs,
  scale: number,
  window: number,
  softCap: number,
): tf.Tensor {
  const [heads, , size] = q.shape as [number, number, number]
  const [sequences, length] = queryIndex.shape as [number, number]
  const keyHeads = k.shape[0]!
  const repeat = heads / keyHeads
  /** [count, R, D] -> [G, Hkv, (count / Hkv) T, D] */
  const bySequence = (x: tf.Tensor) => {
    const own = x.shape[0]! / keyHeads
    const taken = tf.reshape(tf.gather(x, flat(queryIndex), 1), [keyHeads, own, sequences, length, size])
    return tf.reshape(tf.transpose(taken, [2, 0, 1, 3, 4]), [sequences, keyHeads, own * length, size])
  }
  const query = bySequence(tf.mul(q, scale)) // [G, Hkv, Q, D]
  const place = tf.tile(upTo(length), [repeat]) // [Q]
  const among = sightAmongNew(tf.expandDims(place, 1), tf.expandDims(upTo(length), 0), window) // [Q, T]
  const scores = tf.add(capScores(tf.matMul(query, bySequence(k), false, true), softCap), barred(among)) // [G, Hkv, Q, T]
  const parts = sections.map(section => new Part(section, query, firstPositions, place, window, softCap))
  const maximum = parts.reduce((highest, part) => tf.maximum(highest, part.maximum()), tf.max(scores, -1, true))
  const weights = tf.exp(tf.sub(scores, maximum)) // [G, Hkv, Q, T]
  const sums = parts.map(part => part.sums(maximum))
  const total = (first: tf.Tensor, of: 'weight' | 'value', count: number) =>
    tf.add(
      first,
      tf.reshape(
        sums.map(sum => sum[of]).reduce((a, b) => tf.add(a, b)),
        [sequences, keyHeads, repeat * length, count],
      ),
    )
  const value = total(tf.matMul(weights, bySequence(v)), 'value', size)
  const attended = tf.div(value, total(tf.sum(weights, -1, true), 'weight', 1)) // [G, Hkv, Q, D]
  const byHead = tf.transpose(tf.reshape(attended, [sequences, keyHeads, repeat, length, size]), [1, 2, 0, 3, 4])
  return tf.gather(tf.reshape(byHead, [heads, sequences * length, size]), querySlot as tf.Tensor1D, 1) // [H, R, D]
}

/** Every row against every key of the cache and every new one, with one mask: what the blockwise form must equal. */
function dense(
  { q, k, v, firstPositions, queryIndex, querySlot, sections }: Inputs,
  scale: number,
  window: number,
  softCap: number,
): tf.Tensor {
  const [heads, rows, size] = q.shape as [number, number, number]
  const keyHeads = k.shape[0]!
  const repeated = (x: tf.Tensor) => {
    const tiled = tf.tile(tf.expandDims(x, 1), [1, heads / keyHeads, 1, 1]) // [Hkv, repeat, n, D]
    return tf.reshape(tiled, [heads, x.shape[1]!, size])
  }
  const length = int(queryIndex.shape[1]!)
  const sequence = tf.floorDiv(querySlot, length) // [R]
  const place = tf.sub(querySlot, tf.mul(sequence, length)) // [R]
  const first = tf.expandDims(tf.gather(firstPositions, sequence as tf.Tensor1D), 1) // [R, 1]
  const [column, line] = [(x: tf.Tensor) => tf.expandDims(x, 1), (x: tf.Tensor) => tf.expandDims(x, 0)]
  const alike = tf.equal(column(sequence), line(sequence))
  const keys: tf.Tensor[] = [repeated(k)]
  const values: tf.Tensor[] = [repeated(v)]
  const masks: tf.Tensor[] = [barred(tf.logicalAnd(alike, sightAmongNew(column(place), line(place), window)))] // [R, R]
  for (const { keys: blocks, values: blockValues, keyPositions, users, userPositions } of sections) {
    const [count, , , width] = blocks.shape as [number, number, number, number]
    const perBlock = users.shape[1] ?? 1
    keys.push(repeated(tf.reshape(tf.transpose(blocks, [1, 0, 3, 2]), [keyHeads, count * width, size])))
    values.push(repeated(tf.reshape(tf.transpose(blockValues, [1, 0, 2, 3]), [keyHeads, count * width, size])))
    const real = userPositions ? tf.cast(tf.greaterEqual(userPositions, int(0)), 'float32') : tf.ones([count, perBlock])
    const user = tf.equal(tf.reshape(users, [count, perBlock, 1]), tf.reshape(sequence, [1, 1, rows]))
    const uses = tf.mul(tf.cast(user, 'float32'), tf.expandDims(real, 2)) // [N, U, R]
    const seen = tf.tile(tf.expandDims(tf.transpose(tf.sum(uses, 1)), 2), [1, 1, width]) // [R, N, W]
    const unseen = tf.mul(tf.sub(tf.reshape(seen, [rows, count * width]), 1), NEVER)
    masks.push(tf.add(unseen, sight(first, column(place), tf.reshape(keyPositions, [1, count * width]), window)))
  }
  const scores = capScores(tf.mul(tf.matMul(q, tf.concat(keys, 1), false, true), scale), softCap) // [H, R, R + keys]
  return tf.matMul(tf.softmax(tf.add(scores, tf.concat(masks, 1))), tf.concat(values, 1))
}

const NEW = ['firstPositions', 'queryIndex', 'querySlot'] as const
const OWN = ['keys', 'values', 'keyPositions', 'users', 'sequenceBlocks'] as const
const SHARED = [...OWN, 'userPositions'] as const
const capital = (name: string) => `shared${name[0]!.toUpperCase()}${name.slice(1)}`

function inputsOf(given: Record<string, tf.Tensor>): Inputs {
  const section = (names: readonly string[], of: (name: string) => string) =>
    Object.fromEntries(names.map(name => [name, given[of(name)]])) as unknown as CacheSection
  const sections = [section(OWN, name => name)]
  if (given.sharedKeys) sections.push(section(SHARED, capital))
  return { ...(given as unknown as Omit<Inputs, 'sections'>), sections }
}

function define(name: string, names: readonly string[]) {
  const numbers = ({ scale, window, softCap }: Attributes) =>
    [scale as number, window as number, (softCap ?? 0) as number] as const
  return defineKernel({
    name,
    inputs: ['q', 'k', 'v', ...NEW, ...names],
    reference: (inputs, attributes) => dense(inputsOf(inputs), ...numbers(attributes)),
    expand: (inputs, attributes) => blockwise(inputsOf(inputs), ...numbers(attributes)),
  })
}

const own = define('CachedAttention', OWN)
const shared = define('CachedAttentionShared', [...OWN, ...SHARED.map(capital)])

/**
 * Attention of the new tokens of G sequences over cached keys and over one another (see `CacheSection`). It has no gradient.
 *
 * @param q queries with positions applied, [H, R, D]
 * @param k the new tokens' keys with positions applied, [Hkv, R, D]; H is a multiple of Hkv
 * @param v their values, [Hkv, R, D]
 * @param tokens which rows are whose
 * @param cache the blocks that one sequence sees, and those that several see
 * @param options scale of the scores, usually D^-0.5; window: how many positions back a row sees, itself included (0: all); softCap:
 *   see `capScores`
 * @returns [H, R, D]
 */
export function cachedAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  tokens: NewTokens,
  cache: { readonly own: CacheSection; readonly shared?: CacheSection },
  options: { readonly scale: number; readonly window?: number; readonly softCap?: number },
): tf.Tensor3D {
  const attributes = { scale: options.scale, window: options.window ?? 0, softCap: options.softCap ?? 0 }
  const inputs = { q, k, v, ...tokens, ...cache.own }
  if (!cache.shared) return own(inputs, attributes) as tf.Tensor3D
  const others = Object.fromEntries(Object.entries(cache.shared).map(([name, tensor]) => [capital(name), tensor as tf.Tensor]))
  return shared({ ...inputs, ...others }, attributes) as tf.Tensor3D
}
