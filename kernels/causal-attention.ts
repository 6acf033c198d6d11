import { type Attributes, defineKernel } from './kernel.js'
import { tf } from './tf.js'

/**
 * Causal attention over token sequences that share their beginnings.
 *
 * All tokens of all sequences stand once, as the R rows of one matrix. Query rows are laid out in padded groups of up to T; the rows
 * of a group see the same keys: the P *shared* rows, which come first in the matrix, and the group's own key rows. Within what a
 * group sees, a key's position must not exceed the query's. (A group of queries from the shared rows has no keys of its own.)
 *
 * Shared keys are laid beside each group's own before the products. One product of all queries with the shared keys would avoid these
 * copies, but then scores have to be regrouped before the softmax and again after it: measured, a tenth slower over a whole step.
 */
export interface AttentionLayout {
  /** Position of each row as a key, and as what its embedding knows, [R] int32 */
  readonly keyPositions: tf.Tensor
  /** Positions of the shared rows for the mask, [P] int32, P >= 1 */
  readonly sharedPositions: tf.Tensor
  /** Query row in each slot, any row where there is none, [G, T] int32 */
  readonly queryIndex: tf.Tensor
  /** Position of the query in each slot, for the mask, [G, T] int32 */
  readonly queryPositions: tf.Tensor
  /** 1 where a slot holds a query, 0 where it is empty, [G, T] */
  readonly queryMask: tf.Tensor
  /** For each query row its slot among G T, [Q] int32 */
  readonly querySlot: tf.Tensor
  /** A group's own key rows, 0 where there is none (row 0 is shared), [G, K] int32 */
  readonly keyIndex: tf.Tensor
  /** For each row that is not shared its slot among G K, [R - P] int32. Absent when a row is a key of several groups. */
  readonly keySlot?: tf.Tensor
}

interface Inputs extends AttentionLayout {
  readonly q: tf.Tensor
  readonly k: tf.Tensor
  readonly v: tf.Tensor
}

const NEVER = 1e9
/** A position that no query reaches. */
const NO_POSITION = 2 ** 30
const int = (value: number) => tf.scalar(value, 'int32')
const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) as tf.Tensor1D
const upTo = (count: number) => tf.range(0, count, 1, 'int32')

/** 0 where the query sees the key, -1e9 elsewhere; positions broadcast. `window`: how far back, the query's own position included. */
function mask(queryPositions: tf.Tensor, keyPositions: tf.Tensor, window: number): tf.Tensor {
  let visible: tf.Tensor = tf.lessEqual(keyPositions, queryPositions)
  if (window > 0) visible = tf.logicalAnd(visible, tf.greater(keyPositions, tf.sub(queryPositions, int(window))))
  return tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), NEVER)
}

/** Scores kept between -softCap and softCap: `softCap * tanh(s / softCap)` (Gemma 2); as they are where it is 0. */
export const capScores = (scores: tf.Tensor, softCap: number): tf.Tensor =>
  softCap === 0 ? scores : tf.mul(tf.tanh(tf.div(scores, softCap)), softCap)

/** The grouped form: what a forward pass computes and the backward pass needs again. */
class Groups {
  private readonly keyHeads: number
  /** Query heads of one key head. */
  private readonly repeat: number
  private readonly queries: number
  private readonly rows: number
  private readonly shared: number
  private readonly groups: number
  private readonly length: number

  constructor(
    private readonly inputs: Inputs,
    private readonly scale: number,
    private readonly window: number,
    private readonly softCap: number,
  ) {
    const { q, k, sharedPositions, queryIndex } = inputs
    ;[this.keyHeads, this.rows] = k.shape as [number, number]
    this.repeat = q.shape[0]! / this.keyHeads
    this.queries = q.shape[1]!
    this.shared = sharedPositions.shape[0]!
    ;[this.groups, this.length] = queryIndex.shape as [number, number]
  }

  /** Query rows in their slots: [H, Q, D] -> [Hkv, G, repeat T, D]. The query heads of one key head stand one after the other. */
  private grouped(x: tf.Tensor): tf.Tensor {
    const { keyHeads, repeat, queries, groups, length } = this
    const size = x.shape[2]!
    const heads = tf.mul(tf.reshape(upTo(repeat), [1, repeat, 1]), int(queries))
    const index = tf.add(tf.expandDims(this.inputs.queryIndex, 1), heads) // [G, repeat, T]
    return tf.reshape(tf.gather(tf.reshape(x, [keyHeads, repeat * queries, size]), flat(index), 1), [
      keyHeads,
      groups,
      repeat * length,
      size,
    ])
  }

  /** The way back: [Hkv, G, repeat T, D] -> [H, Q, D]. */
  private ungrouped(x: tf.Tensor): tf.Tensor {
    const { keyHeads, repeat, groups, length, queries } = this
    const { querySlot } = this.inputs
    const before = tf.mul(tf.floorDiv(querySlot, int(length)), int((repeat - 1) * length))
    const index = tf.add(tf.add(querySlot, before), tf.mul(tf.reshape(upTo(repeat), [repeat, 1]), int(length))) // [repeat, Q]
    const rows = tf.gather(tf.reshape(x, [keyHeads, groups * repeat * length, x.shape[3]!]), flat(index), 1)
    return tf.reshape(rows, [keyHeads * repeat, queries, x.shape[3]!])
  }

  /** Row of each key of each group, shared ones first, [G, P + K]. */
  private keyRows(): tf.Tensor {
    const shared = tf.add(tf.zerosLike(tf.slice(this.inputs.keyIndex, [0, 0], [-1, 1])), tf.expandDims(upTo(this.shared), 0)) // [G, P]
    return tf.concat([shared, this.inputs.keyIndex], 1)
  }

  /** Keys or values of each group: [Hkv, R, D] -> [Hkv, G, P + K, D]. */
  private keyed(x: tf.Tensor): tf.Tensor {
    const rows = this.keyRows()
    return tf.reshape(tf.gather(x, flat(rows), 1), [this.keyHeads, ...(rows.shape as [number, number]), x.shape[2]!])
  }

  /** The transpose of `keyed`: sums over the groups that see a row, [Hkv, G, P + K, D] -> [Hkv, R, D]. */
  private unkeyed(x: tf.Tensor): tf.Tensor {
    const { keyIndex, keySlot } = this.inputs
    const own = keyIndex.shape[1]!
    const size = x.shape[3]!
    if (!keySlot) {
      const byRow = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [-1, this.keyHeads * size]) // [G (P + K), Hkv D]
      const sums = tf.unsortedSegmentSum(byRow, flat(this.keyRows()), this.rows)
      return tf.transpose(tf.reshape(sums, [this.rows, this.keyHeads, size]), [1, 0, 2])
    }
    const [ofShared, ofOwn] = tf.split(x, [this.shared, own], 2) as [tf.Tensor, tf.Tensor]
    const rest = tf.gather(tf.reshape(ofOwn, [this.keyHeads, this.groups * own, size]), keySlot as tf.Tensor1D, 1)
    return tf.concat([tf.sum(ofShared, 1), rest], 1)
  }

  /** Additive mask, [G, repeat T, P + K]. */
  private mask(): tf.Tensor {
    const { keyIndex, keyPositions, sharedPositions, queryPositions } = this.inputs
    const own = tf.where(
      tf.greater(keyIndex, int(0)),
      tf.gather(keyPositions, keyIndex as tf.Tensor2D),
      tf.fill(keyIndex.shape, NO_POSITION, 'int32'),
    )
    const shared = tf.add(tf.zerosLike(tf.slice(keyIndex, [0, 0], [-1, 1])), tf.expandDims(sharedPositions, 0)) // [G, P]
    const keys = tf.expandDims(tf.concat([shared, own], 1), 1) // [G, 1, P + K]
    return mask(tf.expandDims(tf.tile(queryPositions, [1, this.repeat]), 2), keys, this.window)
  }

  private scaledQueries(): tf.Tensor {
    return this.grouped(tf.mul(this.inputs.q, this.scale))
  }

  /** [Hkv, G, repeat T, P + K] */
  private scores(): tf.Tensor {
    return tf.matMul(this.scaledQueries(), this.keyed(this.inputs.k), false, true)
  }

  /** [Hkv, G, repeat T, P + K] */
  private probabilities(): tf.Tensor {
    return tf.softmax(tf.add(capScores(this.scores(), this.softCap), this.mask()))
  }

  private sums(): tf.Tensor {
    return tf.matMul(this.probabilities(), this.keyed(this.inputs.v)) // [Hkv, G, repeat T, D]
  }

  output(): tf.Tensor {
    return this.ungrouped(this.sums())
  }

  /** The gradient in its slots, and nothing in the empty ones, so that padding adds nothing to any sum: [Hkv, G, repeat T, D]. */
  private slotGradient(dy: tf.Tensor): tf.Tensor {
    const real = tf.expandDims(tf.tile(this.inputs.queryMask, [1, this.repeat]), 2) // [G, repeat T, 1]
    return tf.mul(this.grouped(dy), real)
  }

  /** Gradient of the scores, [Hkv, G, repeat T, P + K]. */
  private scoreGradient(dy: tf.Tensor): tf.Tensor {
    const d = this.slotGradient(dy)
    // sum(dP P) = sum(dy y), which is the shorter sum.
    const inner = tf.sum(tf.mul(d, this.sums()), -1, true) // [Hkv, G, repeat T, 1]
    const capped = tf.mul(this.probabilities(), tf.sub(tf.matMul(d, this.keyed(this.inputs.v), false, true), inner))
    if (this.softCap === 0) return capped
    return tf.mul(capped, tf.sub(1, tf.square(tf.tanh(tf.div(this.scores(), this.softCap)))))
  }

  queryGradient(dy: tf.Tensor): tf.Tensor {
    return tf.mul(this.ungrouped(tf.matMul(this.scoreGradient(dy), this.keyed(this.inputs.k))), this.scale)
  }

  keyGradient(dy: tf.Tensor): tf.Tensor {
    return this.unkeyed(tf.matMul(this.scoreGradient(dy), this.scaledQueries(), true, false))
  }

  valueGradient(dy: tf.Tensor): tf.Tensor {
    return this.unkeyed(tf.matMul(this.probabilities(), this.slotGradient(dy), true, false))
  }
}

/** Every query row against every row, with one mask: what the grouped form must equal. */
function dense(inputs: Inputs, scale: number, window: number, softCap: number): tf.Tensor {
  const { q, k, v, keyPositions, sharedPositions, queryPositions, querySlot, keyIndex } = inputs
  const rows = k.shape[1]!
  const group = tf.floorDiv(querySlot, int(queryPositions.shape[1]!)) as tf.Tensor1D // [Q]
  const ownKeys = tf.sum(tf.oneHot(keyIndex as tf.Tensor2D, rows), 1) // [G, R]; row 0 marks padding
  const isShared = tf.less(upTo(rows), int(sharedPositions.shape[0]!)) // [R]
  const related = tf.logicalOr(tf.greater(tf.gather(ownKeys, group), 0), isShared) // [Q, R]
  const positions = tf.concat([sharedPositions, tf.slice(keyPositions, [sharedPositions.shape[0]!], [-1])]) // [R]
  const sight = mask(
    tf.expandDims(tf.gather(flat(queryPositions), querySlot as tf.Tensor1D), 1),
    tf.expandDims(positions, 0),
    window,
  )
  const barred = tf.add(sight, tf.mul(tf.sub(tf.cast(related, 'float32'), 1), NEVER)) // [Q, R]
  const repeated = (x: tf.Tensor) => {
    const repeat = q.shape[0]! / x.shape[0]!
    return tf.reshape(tf.tile(tf.expandDims(x, 1), [1, repeat, 1, 1]), [q.shape[0]!, rows, x.shape[2]!]) // [H, R, D]
  }
  const scores = tf.add(capScores(tf.mul(tf.matMul(q, repeated(k), false, true), scale), softCap), barred) // [H, Q, R]
  return tf.matMul(tf.softmax(scores), repeated(v))
}

const NAMES = [
  'q',
  'k',
  'v',
  'keyPositions',
  'sharedPositions',
  'queryIndex',
  'queryPositions',
  'queryMask',
  'querySlot',
  'keyIndex',
  'keySlot',
]

/** Two kernels, with and without `keySlot`, because a TF.js gradient names the inputs that it saves. */
function define(name: string, names: readonly string[]) {
  const read = (inputs: Record<string, tf.Tensor>) => inputs as unknown as Inputs
  const numbers = ({ scale, window, softCap }: Attributes) =>
    [scale as number, window as number, (softCap ?? 0) as number] as const
  const groupsOf = (inputs: Inputs, attributes: Attributes) => new Groups(inputs, ...numbers(attributes))
  return defineKernel({
    name,
    inputs: names,
    reference: (inputs, attributes) => dense(read(inputs), ...numbers(attributes)),
    expand: (inputs, attributes) => groupsOf(read(inputs), attributes).output(),
    gradient: {
      inputsToSave: [...names],
      gradFunc: (gradient, saved, attributes) => {
        const dy = gradient as tf.Tensor
        const inputs = read(Object.fromEntries(names.map((name, i) => [name, saved[i]!])))
        const groups = () => groupsOf(inputs, attributes as Attributes)
        return {
          q: () => groups().queryGradient(dy),
          k: () => groups().keyGradient(dy),
          v: () => groups().valueGradient(dy),
        }
      },
    },
  })
}

const distinct = define('CausalAttention', NAMES)
const overlapping = define('CausalAttentionOverlapping', NAMES.slice(0, -1))

/**
 * Grouped-query causal attention over sequences that share their beginnings (see `AttentionLayout`).
 *
 * @param q queries with positions applied, [H, Q, D]
 * @param k keys with positions applied, [Hkv, R, D]; H is a multiple of Hkv
 * @param v values, [Hkv, R, D]
 * @param options scale of the scores, usually D^-0.5; window: how many positions back a row sees, itself included (0: all); softCap:
 *   see `capScores`
 * @returns [H, Q, D]
 */
export function causalAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  layout: AttentionLayout,
  options: { readonly scale: number; readonly window?: number; readonly softCap?: number },
): tf.Tensor3D {
  const { keySlot, ...rest } = layout
  const attributes = { scale: options.scale, window: options.window ?? 0, softCap: options.softCap ?? 0 }
  return (
    keySlot ? distinct({ q, k, v, ...rest, keySlot }, attributes) : overlapping({ q, k, v, ...rest }, attributes)
  ) as tf.Tensor3D
}
