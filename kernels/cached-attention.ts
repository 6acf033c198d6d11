import { type Attributes, defineKernel } from './kernel.js'
import { tf } from './tf.js'

/** Positions in one block of cached keys. */
export const BLOCK_LENGTH = 32
/** A position that no query reaches: what an empty place of a block has. */
export const EMPTY_POSITION = 2 ** 30

/**
 * Attention of one new token a sequence over keys and values that were computed before.
 *
 * The cache is cut into blocks of W positions, and every block stands once in memory, whoever made it; a run takes the blocks as they
 * lie, without gathering or padding. Blocks that one row sees (its own) and blocks that several rows see (beginnings that they share)
 * are two sections: the queries of all rows that see a shared block are one product with it.
 *
 * Each block is multiplied by itself, and a row's softmax is put together from the maxima and sums of its blocks, so that rows of very
 * different lengths cost no more than what they see.
 */
export interface CacheSection {
  /** [N, Hkv, D, W]: a block's keys are columns, which makes the product with few queries the plain one. */
  readonly keys: tf.Tensor
  /** [N, Hkv, W, D] */
  readonly values: tf.Tensor
  /** Position of each key, `EMPTY_POSITION` where there is none, [N, W] int32 */
  readonly keyPositions: tf.Tensor
  /** The row that sees each block, [N] int32, or the rows, [N, U], any row where there are fewer. */
  readonly users: tf.Tensor
  /** With several rows a block: the position of each, -1 where there is none, [N, U] int32. */
  readonly userPositions?: tf.Tensor
  /**
   * For each row the blocks that it sees (its places among N U), one of them repeated where it has fewer, [B, J] int32. A row that
   * sees none names a place without a user.
   */
  readonly rowBlocks: tf.Tensor
}

interface Inputs {
  /** [H, B, D] */
  readonly q: tf.Tensor
  /** [Hkv, B, D] */
  readonly k: tf.Tensor
  /** [Hkv, B, D] */
  readonly v: tf.Tensor
  /** [B] int32 */
  readonly positions: tf.Tensor
  readonly sections: readonly CacheSection[]
}

const NEVER = 1e9
const int = (value: number) => tf.scalar(value, 'int32')
const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) as tf.Tensor1D
const upTo = (count: number) => tf.range(0, count, 1, 'int32')

/** 0 where the query sees the key, -1e9 elsewhere; positions broadcast. */
function mask(queryPositions: tf.Tensor, keyPositions: tf.Tensor, window: number): tf.Tensor {
  let visible: tf.Tensor = tf.lessEqual(keyPositions, queryPositions)
  if (window > 0) visible = tf.logicalAnd(visible, tf.greater(keyPositions, tf.sub(queryPositions, int(window))))
  return tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), NEVER)
}

/** One section's part in a softmax that spans several. Query heads stand below their key head, [Hkv, repeat]: no reshaping between steps. */
class Part {
  private readonly blocks: number
  private readonly keyHeads: number
  private readonly size: number
  private readonly width: number
  private readonly users: number
  private readonly several: boolean
  private readonly scores: tf.Tensor // [N, Hkv, repeat, W], or [N, Hkv, repeat, U, W]

  constructor(
    private readonly section: CacheSection,
    /** [B, Hkv, repeat, D] */
    private readonly query: tf.Tensor,
    positions: tf.Tensor,
    window: number,
  ) {
    const { keys, users, userPositions, keyPositions } = section
    ;[this.blocks, this.keyHeads, this.size, this.width] = keys.shape as [number, number, number, number]
    this.several = userPositions !== undefined
    this.users = users.shape[1] ?? 1
    const { blocks, width } = this
    const products = this.byBlock(tf.matMul(this.toBlocks(query), keys), width)
    const sight = userPositions
      ? mask(tf.reshape(userPositions, [blocks, 1, 1, this.users, 1]), tf.reshape(keyPositions, [blocks, 1, 1, 1, width]), window)
      : mask(
          tf.reshape(tf.gather(positions, users as tf.Tensor1D), [blocks, 1, 1, 1]),
          tf.reshape(keyPositions, [blocks, 1, 1, width]),
          window,
        )
    this.scores = tf.add(products, sight)
  }

  private get repeat(): number {
    return this.query.shape[2]!
  }

  /** Each block's rows: [B, Hkv, repeat, n] -> [N, Hkv, repeat U, n]. */
  private toBlocks(x: tf.Tensor): tf.Tensor {
    const taken = tf.gather(x, flat(this.section.users)) // [N U, Hkv, repeat, n]
    if (!this.several) return taken
    const { blocks, users, keyHeads, repeat } = this
    const apart = tf.reshape(taken, [blocks, users, keyHeads, repeat, x.shape[3]!])
    return tf.reshape(tf.transpose(apart, [0, 2, 3, 1, 4]), [blocks, keyHeads, repeat * users, x.shape[3]!])
  }

  /** [N, Hkv, repeat U, n] -> [N, Hkv, repeat, U, n], where there are several users. */
  private byBlock(x: tf.Tensor, count: number): tf.Tensor {
    return this.several ? tf.reshape(x, [this.blocks, this.keyHeads, this.repeat, this.users, count]) : x
  }

  /** [N, Hkv, repeat, n] or [N, Hkv, repeat, U, n] -> [N U, Hkv, repeat, n]. */
  private byUser(x: tf.Tensor, count: number): tf.Tensor {
    if (!this.several) return x
    return tf.reshape(tf.transpose(x, [0, 3, 1, 2, 4]), [this.blocks * this.users, this.keyHeads, this.repeat, count])
  }

  /** The highest score of each row in this section, [B, Hkv, repeat, 1]. */
  maximum(): tf.Tensor {
    return tf.max(tf.gather(this.byUser(tf.max(this.scores, -1, true), 1), this.section.rowBlocks as tf.Tensor2D), 1)
  }

  /** Sums of exp(score - maximum), and of the values under these weights: [B, Hkv repeat 1] and [B, Hkv repeat D]. */
  sums(maximum: tf.Tensor): { weight: tf.Tensor; value: tf.Tensor } {
    const { blocks, keyHeads, repeat, users, size, width } = this
    const weights = tf.exp(tf.sub(this.scores, this.byBlock(this.toBlocks(maximum), 1)))
    const below = this.several ? tf.reshape(weights, [blocks, keyHeads, repeat * users, width]) : weights
    const values = this.byBlock(tf.matMul(below, this.section.values), size)
    const rows = upTo(this.query.shape[0]!)
    const ofRow = tf.cast(tf.equal(tf.expandDims(rows, 1), tf.expandDims(flat(this.section.users), 0)), 'float32') // [B, N U]
    const sum = (x: tf.Tensor, count: number) =>
      tf.matMul(
        ofRow as tf.Tensor2D,
        tf.reshape(this.byUser(x, count), [blocks * users, keyHeads * repeat * count]) as tf.Tensor2D,
      )
    return { weight: sum(tf.sum(weights, -1, true), 1), value: sum(values, size) }
  }
}

function blockwise({ q, k, v, positions, sections }: Inputs, scale: number, window: number): tf.Tensor {
  const [heads, rows, size] = q.shape as [number, number, number]
  const keyHeads = k.shape[0]!
  const repeat = heads / keyHeads
  /** [count, B, D] -> [B, Hkv, count / Hkv, D] */
  const byRow = (x: tf.Tensor) => tf.reshape(tf.transpose(x, [1, 0, 2]), [rows, keyHeads, x.shape[0]! / keyHeads, size])
  const query = byRow(tf.mul(q, scale)) // [B, Hkv, repeat, D]
  const self = tf.sum(tf.mul(query, byRow(k)), -1, true) // [B, Hkv, repeat, 1]
  const parts = sections.map(section => new Part(section, query, positions, window))
  const maximum = parts.reduce((highest, part) => tf.maximum(highest, part.maximum()), self)
  const weight = tf.exp(tf.sub(self, maximum)) // [B, Hkv, repeat, 1]
  const sums = parts.map(part => part.sums(maximum))
  const total = (first: tf.Tensor, of: 'weight' | 'value', count: number) =>
    tf.add(
      first,
      tf.reshape(
        sums.map(sum => sum[of]).reduce((a, b) => tf.add(a, b)),
        [rows, keyHeads, repeat, count],
      ),
    )
  const attended = tf.div(total(tf.mul(weight, byRow(v)), 'value', size), total(weight, 'weight', 1))
  return tf.transpose(tf.reshape(attended, [rows, heads, size]), [1, 0, 2]) // [H, B, D]
}

/** Every row against every key of the cache, with one mask: what the blockwise form must equal. */
function dense({ q, k, v, positions, sections }: Inputs, scale: number, window: number): tf.Tensor {
  const [heads, rows, size] = q.shape as [number, number, number]
  const keyHeads = k.shape[0]!
  const repeated = (x: tf.Tensor) => {
    const tiled = tf.tile(tf.expandDims(x, 1), [1, heads / keyHeads, 1, 1]) // [Hkv, repeat, n, D]
    return tf.reshape(tiled, [heads, x.shape[1]!, size])
  }
  const keys: tf.Tensor[] = [repeated(k)]
  const values: tf.Tensor[] = [repeated(v)]
  const masks: tf.Tensor[] = [tf.mul(tf.sub(tf.eye(rows), 1), NEVER)] // [B, B]
  for (const { keys: blocks, values: blockValues, keyPositions, users, userPositions } of sections) {
    const [count, , , width] = blocks.shape as [number, number, number, number]
    const perBlock = users.shape[1] ?? 1
    keys.push(repeated(tf.reshape(tf.transpose(blocks, [1, 0, 3, 2]), [keyHeads, count * width, size])))
    values.push(repeated(tf.reshape(tf.transpose(blockValues, [1, 0, 2, 3]), [keyHeads, count * width, size])))
    const real = userPositions ? tf.cast(tf.greaterEqual(userPositions, int(0)), 'float32') : tf.ones([count, perBlock])
    const user = tf.equal(tf.reshape(users, [count, perBlock, 1]), tf.reshape(upTo(rows), [1, 1, rows]))
    const uses = tf.mul(tf.cast(user, 'float32'), tf.expandDims(real, 2)) // [N, U, B]
    const seen = tf.tile(tf.expandDims(tf.transpose(tf.sum(uses, 1)), 2), [1, 1, width]) // [B, N, W]
    const barred = tf.mul(tf.sub(tf.reshape(seen, [rows, count * width]), 1), NEVER)
    masks.push(tf.add(barred, mask(tf.expandDims(positions, 1), tf.reshape(keyPositions, [1, count * width]), window)))
  }
  const scores = tf.mul(tf.matMul(q, tf.concat(keys, 1), false, true), scale) // [H, B, B + keys]
  return tf.matMul(tf.softmax(tf.add(scores, tf.concat(masks, 1))), tf.concat(values, 1))
}

const OWN = ['keys', 'values', 'keyPositions', 'users', 'rowBlocks'] as const
const SHARED = [...OWN, 'userPositions'] as const
const capital = (name: string) => `shared${name[0]!.toUpperCase()}${name.slice(1)}`

function inputsOf({ q, k, v, positions, ...rest }: Record<string, tf.Tensor>): Inputs {
  const section = (names: readonly string[], of: (name: string) => string) =>
    Object.fromEntries(names.map(name => [name, rest[of(name)]])) as unknown as CacheSection
  const sections = [section(OWN, name => name)]
  if (rest.sharedKeys) sections.push(section(SHARED, capital))
  return { q: q!, k: k!, v: v!, positions: positions!, sections }
}

function define(name: string, names: readonly string[]) {
  const numbers = ({ scale, window }: Attributes) => [scale as number, window as number] as const
  return defineKernel({
    name,
    inputs: ['q', 'k', 'v', 'positions', ...names],
    reference: (inputs, attributes) => dense(inputsOf(inputs), ...numbers(attributes)),
    expand: (inputs, attributes) => blockwise(inputsOf(inputs), ...numbers(attributes)),
  })
}

const own = define('CachedAttention', OWN)
const shared = define('CachedAttentionShared', [...OWN, ...SHARED.map(capital)])

/**
 * Attention of B new tokens, one a sequence, over cached keys and over themselves (see `CacheSection`). It has no gradient.
 *
 * @param q queries with positions applied, [H, B, D]
 * @param k the new tokens' keys with positions applied, [Hkv, B, D]; H is a multiple of Hkv
 * @param v their values, [Hkv, B, D]
 * @param cache positions of the new tokens, [B] int32; the blocks that one row sees, and those that several see
 * @param options scale of the scores, usually D^-0.5; window: how many positions back a row sees, itself included (0: all)
 * @returns [H, B, D]
 */
export function cachedAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  cache: { readonly positions: tf.Tensor; readonly own: CacheSection; readonly shared?: CacheSection },
  options: { scale: number; window?: number },
): tf.Tensor3D {
  const attributes = { scale: options.scale, window: options.window ?? 0 }
  const inputs = { q, k, v, positions: cache.positions, ...cache.own }
  if (!cache.shared) return own(inputs, attributes) as tf.Tensor3D
  const others = Object.fromEntries(Object.entries(cache.shared).map(([name, tensor]) => [capital(name), tensor as tf.Tensor]))
  return shared({ ...inputs, ...others }, attributes) as tf.Tensor3D
}
