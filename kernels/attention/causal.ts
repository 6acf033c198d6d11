import { type Attributes, defineKernel } from '../kernel.js'
import { tf } from '../tf.js'
import { attentionInTurn, attentionInTurnGradients } from './in-turn.js'
import { capScores, NEVER, upTo } from './scores.js'

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
  /**
   * How many key rows of its own each group has, [G] int32; they stand at the left. Where it is given, groups are computed one after the
   * other (`in-turn.ts`), and `keySlot` is not read.
   */
  readonly keyCount?: tf.Tensor
}

interface Inputs extends AttentionLayout {
  readonly q: tf.Tensor
  readonly k: tf.Tensor
  readonly v: tf.Tensor
}

/** A position that no query reaches. */
const NO_POSITION = 2 ** 30
const int = (value: number) => tf.scalar(value, 'int32')
const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) as tf.Tensor1D

/** 0 where the query sees the key, -1e9 elsewhere; positions broadcast. `window`: how far back, the query's own position included. */
function mask(queryPositions: tf.Tensor, keyPositions: tf.Tensor, window: number): tf.Tensor {
  let visible: tf.Tensor = tf.lessEqual(keyPositions, queryPositions)
  if (window > 0) visible = tf.logicalAnd(visible, tf.greater(keyPositions, tf.sub(queryPositions, int(window))))
  return tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), NEVER)
}

/**
 * The grouped form: what a forward pass computes and the backward pass needs again. What several parts need is computed once for an
 * instance, which must not outlive the scope that its tensors are made in.
 */
class Groups {
  readonly #inputs: Inputs
  readonly #scale: number
  readonly #window: number
  readonly #softCap: number
  readonly #keyHeads: number
  /** Query heads of one key head. */
  readonly #repeat: number
  readonly #queries: number
  readonly #rows: number
  readonly #shared: number
  readonly #groups: number
  readonly #length: number
  readonly #made = new Map<string, tf.Tensor>()

  constructor(inputs: Inputs, scale: number, window: number, softCap: number) {
    const { q, k, sharedPositions, queryIndex } = inputs
    this.#inputs = inputs
    this.#scale = scale
    this.#window = window
    this.#softCap = softCap
    ;[this.#keyHeads, this.#rows] = k.shape as [number, number]
    this.#repeat = q.shape[0]! / this.#keyHeads
    this.#queries = q.shape[1]!
    this.#shared = sharedPositions.shape[0]!
    ;[this.#groups, this.#length] = queryIndex.shape as [number, number]
  }

  #once(name: string, make: () => tf.Tensor): tf.Tensor {
    const known = this.#made.get(name)
    if (known) return known
    const made = make()
    this.#made.set(name, made)
    return made
  }

  /** Query row of each slot for each head of a key head, [G repeat T]. */
  #queryRows(): tf.Tensor1D {
    return this.#once('queryRows', () => {
      const heads = tf.mul(tf.reshape(upTo(this.#repeat), [1, this.#repeat, 1]), int(this.#queries))
      return flat(tf.add(tf.expandDims(this.#inputs.queryIndex, 1), heads)) // of [G, repeat, T]
    }) as tf.Tensor1D
  }

  /** Query rows in their slots: [H, Q, D] -> [Hkv, G, repeat T, D]. The query heads of one key head stand one after the other. */
  #grouped(x: tf.Tensor): tf.Tensor {
    const size = x.shape[2]!
    const rows = tf.reshape(x, [this.#keyHeads, this.#repeat * this.#queries, size])
    return tf.reshape(tf.gather(rows, this.#queryRows(), 1), [this.#keyHeads, this.#groups, this.#repeat * this.#length, size])
  }

  /** The way back: [Hkv, G, repeat T, D] -> [H, Q, D]. */
  #ungrouped(x: tf.Tensor): tf.Tensor {
    const [keyHeads, repeat, groups, length, queries] = [this.#keyHeads, this.#repeat, this.#groups, this.#length, this.#queries]
    const { querySlot } = this.#inputs
    const before = tf.mul(tf.floorDiv(querySlot, int(length)), int((repeat - 1) * length))
    const index = tf.add(tf.add(querySlot, before), tf.mul(tf.reshape(upTo(repeat), [repeat, 1]), int(length))) // [repeat, Q]
    const rows = tf.gather(tf.reshape(x, [keyHeads, groups * repeat * length, x.shape[3]!]), flat(index), 1)
    return tf.reshape(rows, [keyHeads * repeat, queries, x.shape[3]!])
  }

  /** Row of each key of each group, shared ones first, [G (P + K)]. */
  #keyRows(): tf.Tensor1D {
    return this.#once('keyRows', () => {
      const { keyIndex } = this.#inputs
      const shared = tf.add(tf.zerosLike(tf.slice(keyIndex, [0, 0], [-1, 1])), tf.expandDims(upTo(this.#shared), 0)) // [G, P]
      return flat(tf.concat([shared, keyIndex], 1))
    }) as tf.Tensor1D
  }

  /** Keys or values of each group: [Hkv, R, D] -> [Hkv, G, P + K, D]. */
  #keyed(name: 'k' | 'v'): tf.Tensor {
    return this.#once(name, () => {
      const x = this.#inputs[name]
      const own = this.#inputs.keyIndex.shape[1]!
      return tf.reshape(tf.gather(x, this.#keyRows(), 1), [this.#keyHeads, this.#groups, this.#shared + own, x.shape[2]!])
    })
  }

  /** The transpose of `keyed`: sums over the groups that see a row, [Hkv, G, P + K, D] -> [Hkv, R, D]. */
  #unkeyed(x: tf.Tensor): tf.Tensor {
    const { keyIndex, keySlot } = this.#inputs
    const own = keyIndex.shape[1]!
    const size = x.shape[3]!
    if (!keySlot) {
      const byRow = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [-1, this.#keyHeads * size]) // [G (P + K), Hkv D]
      const sums = tf.unsortedSegmentSum(byRow, this.#keyRows(), this.#rows)
      return tf.transpose(tf.reshape(sums, [this.#rows, this.#keyHeads, size]), [1, 0, 2])
    }
    const [ofShared, ofOwn] = tf.split(x, [this.#shared, own], 2) as [tf.Tensor, tf.Tensor]
    const rest = tf.gather(tf.reshape(ofOwn, [this.#keyHeads, this.#groups * own, size]), keySlot as tf.Tensor1D, 1)
    return tf.concat([tf.sum(ofShared, 1), rest], 1)
  }

  /** Additive mask, [G, repeat T, P + K]. */
  #mask(): tf.Tensor {
    const { keyIndex, keyPositions, sharedPositions, queryPositions } = this.#inputs
    const own = tf.where(
      tf.greater(keyIndex, int(0)),
      tf.gather(keyPositions, keyIndex as tf.Tensor2D),
      tf.fill(keyIndex.shape, NO_POSITION, 'int32'),
    )
    const shared = tf.add(tf.zerosLike(tf.slice(keyIndex, [0, 0], [-1, 1])), tf.expandDims(sharedPositions, 0)) // [G, P]
    const keys = tf.expandDims(tf.concat([shared, own], 1), 1) // [G, 1, P + K]
    return mask(tf.expandDims(tf.tile(queryPositions, [1, this.#repeat]), 2), keys, this.#window)
  }

  #scaledQueries(): tf.Tensor {
    return this.#once('scaledQueries', () => this.#grouped(tf.mul(this.#inputs.q, this.#scale)))
  }

  /** [Hkv, G, repeat T, P + K] */
  #scores(): tf.Tensor {
    return this.#once('scores', () => tf.matMul(this.#scaledQueries(), this.#keyed('k'), false, true))
  }

  /** [Hkv, G, repeat T, P + K] */
  #probabilities(): tf.Tensor {
    return this.#once('probabilities', () => tf.softmax(tf.add(capScores(this.#scores(), this.#softCap), this.#mask())))
  }

  /** [Hkv, G, repeat T, D] */
  #sums(): tf.Tensor {
    return this.#once('sums', () => {
      const inTurn = this.#inTurn()
      return inTurn ? attentionInTurn(inTurn, this.#options()) : tf.matMul(this.#probabilities(), this.#keyed('v'))
    })
  }

  /** What is computed group after group, where it is. */
  #inTurn() {
    const { queryIndex, queryMask, querySlot, keySlot, keyCount, q, ...rest } = this.#inputs
    return keyCount && { ...rest, keyCount, queries: this.#scaledQueries() }
  }

  #options() {
    return { window: this.#window, softCap: this.#softCap }
  }

  output(): tf.Tensor {
    return this.#ungrouped(this.#sums())
  }

  /** The gradient in its slots, and nothing in the empty ones, so that padding adds nothing to any sum: [Hkv, G, repeat T, D]. */
  #slotGradient(dy: tf.Tensor): tf.Tensor {
    const real = tf.expandDims(tf.tile(this.#inputs.queryMask, [1, this.#repeat]), 2) // [G, repeat T, 1]
    return tf.mul(this.#grouped(dy), real)
  }

  /** Gradients of queries, keys and values. What they share is computed now, in the scope of the whole backward pass. */
  gradients(dy: tf.Tensor): Record<'q' | 'k' | 'v', () => tf.Tensor> {
    const d = this.#slotGradient(dy)
    const inTurn = this.#inTurn()
    if (inTurn) {
      const { queries, k, v } = attentionInTurnGradients(inTurn, this.#sums(), d, this.#options())
      return { q: () => tf.mul(this.#ungrouped(queries), this.#scale), k: () => k, v: () => v }
    }
    const probabilities = this.#probabilities()
    const [keys, values, queries] = [this.#keyed('k'), this.#keyed('v'), this.#scaledQueries()]
    // sum(dP P) = sum(dy y), which is the shorter sum.
    const inner = tf.sum(tf.mul(d, this.#sums()), -1, true) // [Hkv, G, repeat T, 1]
    const ofCapped = tf.mul(probabilities, tf.sub(tf.matMul(d, values, false, true), inner)) // [Hkv, G, repeat T, P + K]
    const ofScores =
      this.#softCap === 0 ? ofCapped : tf.mul(ofCapped, tf.sub(1, tf.square(tf.tanh(tf.div(this.#scores(), this.#softCap)))))
    return {
      q: () => tf.mul(this.#ungrouped(tf.matMul(ofScores, keys)), this.#scale),
      k: () => this.#unkeyed(tf.matMul(ofScores, queries, true, false)),
      v: () => this.#unkeyed(tf.matMul(probabilities, d, true, false)),
    }
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

/** A kernel for each set of inputs, because a TF.js gradient names those that it saves. */
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
        const inputs = read(Object.fromEntries(names.map((name, i) => [name, saved[i]!])))
        return groupsOf(inputs, attributes as Attributes).gradients(gradient as tf.Tensor)
      },
    },
  })
}

const distinct = define('CausalAttention', NAMES)
const overlapping = define('CausalAttentionOverlapping', NAMES.slice(0, -1))
const inTurn = define('CausalAttentionInTurn', [...NAMES.slice(0, -1), 'keyCount'])

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
  const { keySlot, keyCount, ...rest } = layout
  const attributes = { scale: options.scale, window: options.window ?? 0, softCap: options.softCap ?? 0 }
  const inputs = { q, k, v, ...rest }
  if (keyCount) return inTurn({ ...inputs, keyCount }, attributes) as tf.Tensor3D
  return (keySlot ? distinct({ ...inputs, keySlot }, attributes) : overlapping(inputs, attributes)) as tf.Tensor3D
}
