import { type Attributes, defineKernel } from './kernel.js'
import { tf } from './tf.js'

/**
 * Causal attention over a forest of token sequences that share their beginnings.
 *
 * All tokens of all sequences stand once, as the R rows of one matrix. The first P rows are *shared*: every row may attend to
 * them. The others belong to segments, and a row may attend to the segments that it descends from, its own included; each such
 * relation (own segment, parent segment) is a `Grouping` of query rows by the segment whose keys they meet. Within what a row may
 * see, a key's position must not exceed its own.
 *
 * Queries times shared keys is one matrix product over all rows, so the gradient of a shared beginning comes out summed. Only
 * inside a grouping are rows gathered into padded blocks.
 *
 * Row 0 is always shared, and padding points at it: its probabilities within a grouping are exactly zero, so padding adds nothing
 * to any sum.
 */
export interface AttentionLayout {
  /** [Q] int32 */
  readonly queryPositions: tf.Tensor
  /** [R] int32 */
  readonly keyPositions: tf.Tensor
  /** Positions of the shared rows, [P] int32, P >= 1: the first of `keyPositions`. */
  readonly sharedPositions: tf.Tensor
  readonly groupings: readonly Grouping[]
}

/** All index tensors are int32. A group is a segment, as the keys that its query rows meet. */
export interface Grouping {
  /** Query row in each slot, 0 where there is none, [G, Tq]. At least one slot is empty. */
  readonly queryIndex: tf.Tensor
  /** For each query row its slot; an empty one for a row outside this grouping, [Q] */
  readonly querySlot: tf.Tensor
  /** For each query row its group, -1 outside, [Q] */
  readonly queryGroup: tf.Tensor
  /** Key row in each slot, 0 where there is none, [G, Tk] */
  readonly keyIndex: tf.Tensor
  /** For each row that is not shared its slot; an empty one for a row outside this grouping, [R - P] */
  readonly keySlot: tf.Tensor
}

interface Inputs {
  q: tf.Tensor
  k: tf.Tensor
  v: tf.Tensor
  layout: AttentionLayout
}

const NEVER = -1e9
const NO_POSITION = 2 ** 30
const int = (value: number) => tf.scalar(value, 'int32')
const flat = (x: tf.Tensor) => tf.reshape(x, [-1]) as tf.Tensor1D

/** Additive mask from what is visible: 0 or -1e9. */
const additive = (visible: tf.Tensor) => tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), -NEVER)

/** Whether the query at one position sees the key at the other; both broadcast. */
function inSight(queryPositions: tf.Tensor, keyPositions: tf.Tensor, window: number): tf.Tensor {
  const causal = tf.lessEqual(keyPositions, queryPositions)
  return window > 0 ? tf.logicalAnd(causal, tf.greater(keyPositions, tf.sub(queryPositions, int(window)))) : causal
}

/** The blocked form: everything of a forward pass that the backward pass needs again. */
class Blocks {
  readonly repeat: number
  readonly queries: number
  readonly shared: number
  readonly scaled: tf.Tensor // [Hkv, repeat Q, D]

  constructor(
    readonly inputs: Inputs,
    readonly scale: number,
    readonly window: number,
  ) {
    const { q, k, layout } = inputs
    const [heads, queries, size] = q.shape as [number, number, number]
    this.repeat = heads / k.shape[0]!
    this.queries = queries
    this.shared = layout.sharedPositions.shape[0]!
    this.scaled = tf.mul(tf.reshape(q, [k.shape[0]!, this.repeat * queries, size]), scale)
  }

  /** [H, Q, D] as [Hkv, repeat Q, D]: the query heads of one key head side by side. */
  merge(x: tf.Tensor): tf.Tensor {
    return tf.reshape(x, [this.inputs.k.shape[0]!, this.repeat * this.queries, x.shape[2]!])
  }

  sharedRows(x: tf.Tensor): tf.Tensor {
    return tf.slice(x, [0, 0, 0], [-1, this.shared, -1]) // [Hkv, P, D]
  }

  /** Rows [Hkv, repeat Q, X] -> padded blocks [Hkv, G, repeat Tq, X]. */
  group(x: tf.Tensor, { queryIndex }: Grouping): tf.Tensor {
    const [groups, length] = queryIndex.shape as [number, number]
    const heads = tf.mul(tf.reshape(tf.range(0, this.repeat, 1, 'int32'), [1, this.repeat, 1]), int(this.queries))
    const index = tf.add(tf.expandDims(queryIndex, 1), heads) // [G, repeat, Tq]
    return tf.reshape(tf.gather(x, flat(index), 1), [x.shape[0]!, groups, this.repeat * length, x.shape[2]!])
  }

  /** The way back: [Hkv, G, repeat Tq, X] -> [Hkv, repeat Q, X]. */
  ungroup(x: tf.Tensor, { queryIndex, querySlot }: Grouping): tf.Tensor {
    const [groups, length] = queryIndex.shape as [number, number]
    const before = tf.mul(tf.floorDiv(querySlot, int(length)), int((this.repeat - 1) * length))
    const heads = tf.mul(tf.reshape(tf.range(0, this.repeat, 1, 'int32'), [this.repeat, 1]), int(length))
    const index = tf.add(tf.add(querySlot, before), heads) // [repeat, Q]
    return tf.gather(tf.reshape(x, [x.shape[0]!, groups * this.repeat * length, x.shape[3]!]), flat(index), 1)
  }

  /** Keys or values [Hkv, R, D] -> [Hkv, G, Tk, D]. */
  keyed(x: tf.Tensor, { keyIndex }: Grouping): tf.Tensor {
    return tf.reshape(tf.gather(x, flat(keyIndex), 1), [x.shape[0]!, ...(keyIndex.shape as [number, number]), x.shape[2]!])
  }

  /** The way back for rows that are not shared: [Hkv, G, Tk, D] -> [Hkv, R - P, D]. */
  unkeyed(x: tf.Tensor, { keyIndex, keySlot }: Grouping): tf.Tensor {
    return tf.gather(
      tf.reshape(x, [x.shape[0]!, keyIndex.shape[0]! * keyIndex.shape[1]!, x.shape[3]!]),
      keySlot as tf.Tensor1D,
      1,
    )
  }

  /** [Q, P + sum Tk]: which key columns a row does not see. */
  mask(): tf.Tensor {
    const { queryPositions, keyPositions, sharedPositions, groupings } = this.inputs.layout
    const query = tf.expandDims(queryPositions, 1) // [Q, 1]
    const parts = groupings.map(({ keyIndex, queryGroup }) => {
      const positions = tf.where(
        tf.greater(keyIndex, int(0)),
        tf.gather(keyPositions, keyIndex as tf.Tensor2D),
        tf.fill(keyIndex.shape, NO_POSITION, 'int32'),
      )
      const own = tf.gather(positions, tf.maximum(queryGroup, int(0)) as tf.Tensor1D) // [Q, Tk]
      return tf.logicalAnd(inSight(query, own, this.window), tf.expandDims(tf.greaterEqual(queryGroup, int(0)), 1))
    })
    const visible = [inSight(query, tf.expandDims(sharedPositions, 0), this.window), ...parts]
    return tf.concat(visible.map(additive), 1)
  }

  /** Products with the keys of every part, side by side: [H, Q, P + sum Tk]. `x` and `keys` are queries and keys, or dy and values. */
  products(x: tf.Tensor, keys: tf.Tensor): tf.Tensor {
    const parts = [tf.matMul(x, this.sharedRows(keys), false, true)] // [Hkv, repeat Q, P]
    for (const grouping of this.inputs.layout.groupings) {
      parts.push(this.ungroup(tf.matMul(this.group(x, grouping), this.keyed(keys, grouping), false, true), grouping))
    }
    const joined = tf.concat(parts, 2)
    return tf.reshape(joined, [this.inputs.q.shape[0]!, this.queries, joined.shape[2]!])
  }

  probabilities(): tf.Tensor {
    return tf.softmax(tf.add(this.products(this.scaled, this.inputs.k), this.mask())) // [H, Q, P + sum Tk]
  }

  /** The part of each grouping in a [H, Q, P + sum Tk] tensor, as [Hkv, repeat Q, size]. */
  parts(x: tf.Tensor): { shared: tf.Tensor; grouped: tf.Tensor[] } {
    const merged = this.merge(x)
    const cut = (begin: number, size: number) => tf.slice(merged, [0, 0, begin], [-1, -1, size])
    let begin = this.shared
    const grouped = this.inputs.layout.groupings.map(({ keyIndex }) => {
      const part = cut(begin, keyIndex.shape[1]!)
      begin += keyIndex.shape[1]!
      return part
    })
    return { shared: cut(0, this.shared), grouped }
  }

  /** Weighted sums of values (or keys) for each row: [Hkv, repeat Q, D]. */
  weighted(weights: tf.Tensor, values: tf.Tensor): tf.Tensor {
    const { shared, grouped } = this.parts(weights)
    const sums = [tf.matMul(shared, this.sharedRows(values))]
    for (const [i, grouping] of this.inputs.layout.groupings.entries()) {
      sums.push(this.ungroup(tf.matMul(this.group(grouped[i]!, grouping), this.keyed(values, grouping)), grouping))
    }
    return sums.reduce((a, b) => tf.add(a, b))
  }

  /** The transpose of `weighted`: for each key row the weighted sum over the rows `x` [Hkv, repeat Q, D] that saw it, [Hkv, R, D]. */
  scattered(weights: tf.Tensor, x: tf.Tensor): tf.Tensor {
    const { shared, grouped } = this.parts(weights)
    const own = this.inputs.layout.groupings.map((grouping, i) =>
      this.unkeyed(tf.matMul(this.group(grouped[i]!, grouping), this.group(x, grouping), true, false), grouping),
    )
    return tf.concat([tf.matMul(shared, x, true, false), own.reduce((a, b) => tf.add(a, b))], 1)
  }

  output(): tf.Tensor {
    return tf.reshape(this.weighted(this.probabilities(), this.inputs.v), this.inputs.q.shape)
  }

  /** Gradient of the scores before the softmax, [H, Q, P + sum Tk]. `y` is the output, so sum(dy y) is the softmax's inner product. */
  scoreGradient(dy: tf.Tensor, y: tf.Tensor): tf.Tensor {
    const inner = tf.sum(tf.mul(dy, y), -1, true) // [H, Q, 1]
    return tf.mul(this.probabilities(), tf.sub(this.products(this.merge(dy), this.inputs.v), inner))
  }
}

/** Every row against every row, with one mask: what the blocked form must equal. */
function dense({ q, k, v, layout }: Inputs, scale: number, window: number): tf.Tensor {
  const { queryPositions, keyPositions, sharedPositions, groupings } = layout
  const rows = keyPositions.shape[0]!
  const shared = sharedPositions.shape[0]!
  let related = tf.expandDims(tf.less(tf.range(0, rows, 1, 'int32'), int(shared)), 0) // [1, R]
  for (const { keyIndex, keySlot, queryGroup } of groupings) {
    const slot = tf.concat([tf.fill([shared], 0, 'int32'), keySlot as tf.Tensor1D]) // [R]
    const member = tf.logicalAnd(
      tf.equal(tf.gather(flat(keyIndex), slot), tf.range(0, rows, 1, 'int32')),
      tf.greaterEqual(tf.range(0, rows, 1, 'int32'), int(shared)),
    )
    const group = tf.where(member, tf.floorDiv(slot, int(keyIndex.shape[1]!)), tf.fill([rows], -2, 'int32'))
    related = tf.logicalOr(related, tf.equal(tf.expandDims(queryGroup, 1), tf.expandDims(group, 0))) // [Q, R]
  }
  const visible = tf.logicalAnd(related, inSight(tf.expandDims(queryPositions, 1), tf.expandDims(keyPositions, 0), window))
  const expand = (x: tf.Tensor) => {
    const repeat = q.shape[0]! / x.shape[0]!
    return tf.reshape(tf.tile(tf.expandDims(x, 1), [1, repeat, 1, 1]), [q.shape[0]!, rows, x.shape[2]!]) // [H, R, D]
  }
  const scores = tf.add(tf.mul(tf.matMul(q, expand(k), false, true), scale), additive(visible)) // [H, Q, R]
  return tf.matMul(tf.softmax(scores), expand(v))
}

const NAMES = ['queryIndex', 'querySlot', 'queryGroup', 'keyIndex', 'keySlot'] as const
const POSITIONS = ['queryPositions', 'keyPositions', 'sharedPositions'] as const

function read(inputs: Record<string, tf.Tensor>): Inputs {
  const groupings: Grouping[] = []
  for (let i = 0; inputs[`queryIndex${i}`]; i++) {
    groupings.push(Object.fromEntries(NAMES.map(name => [name, inputs[`${name}${i}`]])) as unknown as Grouping)
  }
  const positions = Object.fromEntries(POSITIONS.map(name => [name, inputs[name]])) as unknown as AttentionLayout
  return { q: inputs.q!, k: inputs.k!, v: inputs.v!, layout: { ...positions, groupings } }
}

const blocksOf = (inputs: Inputs, { scale, window }: Attributes) => new Blocks(inputs, scale as number, window as number)

/** One kernel for each number of groupings, because a TF.js gradient names the inputs that it saves. */
function define(count: number) {
  const names = ['q', 'k', 'v', ...POSITIONS, ...Array.from({ length: count }, (_, i) => NAMES.map(name => `${name}${i}`)).flat()]
  return defineKernel({
    name: `CausalAttention${count}`,
    inputs: names,
    reference: (inputs, { scale, window }) => dense(read(inputs), scale as number, window as number),
    expand: (inputs, attributes) => blocksOf(read(inputs), attributes).output(),
    gradient: {
      inputsToSave: names,
      outputsToSave: [true],
      gradFunc: (dy, saved, attributes) => {
        const inputs = read(Object.fromEntries(names.map((name, i) => [name, saved[i]!])))
        const y = saved[names.length]!
        const blocks = () => blocksOf(inputs, attributes as Attributes)
        const scores = (b: Blocks) => b.scoreGradient(dy as tf.Tensor, y)
        return {
          q: () => {
            const b = blocks()
            return tf.reshape(tf.mul(b.weighted(scores(b), inputs.k), b.scale), inputs.q.shape)
          },
          k: () => {
            const b = blocks()
            return b.scattered(scores(b), b.scaled)
          },
          v: () => {
            const b = blocks()
            return b.scattered(b.probabilities(), b.merge(dy as tf.Tensor))
          },
        }
      },
    },
  })
}

const variants = [1, 2].map(define)

/**
 * Grouped-query causal attention over a forest (see `AttentionLayout`).
 *
 * @param q queries with positions applied, [H, Q, D]; row 0 must be a shared row
 * @param k keys with positions applied, [Hkv, R, D]; H is a multiple of Hkv
 * @param v values, [Hkv, R, D]
 * @param options scale of the scores, usually D^-0.5; window: how many positions back a row sees, itself included (0: all)
 * @returns [H, Q, D]
 */
export function causalAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  layout: AttentionLayout,
  options: { scale: number; window?: number },
): tf.Tensor3D {
  const { groupings, queryPositions, keyPositions, sharedPositions } = layout
  const indices = groupings.flatMap((grouping, i) => NAMES.map(name => [`${name}${i}`, grouping[name]] as const))
  const inputs = { q, k, v, queryPositions, keyPositions, sharedPositions, ...Object.fromEntries(indices) }
  return variants[groupings.length - 1]!(inputs, { scale: options.scale, window: options.window ?? 0 }) as tf.Tensor3D
}
