import { type Attributes, defineKernel, type Lowering } from '../kernel.js'
import { tf } from '../tf.js'
import { capScores, NEVER, upTo } from './scores.js'

/**
 * Attention over groups of queries and keys, one group after the other: what stands in memory grows with the largest group, not with
 * all of them. The backward pass makes the probabilities again (Dao et al. 2022 do so block by block; here a block is all that a group sees).
 */
export interface Groups {
  /** Queries in their slots, scaled; those of the heads of one key head stand one after the other: [Hkv, G, n, D], n a multiple of T. */
  readonly queries: tf.Tensor
  /** [Hkv, R, D] */
  readonly k: tf.Tensor
  /** [Hkv, R, D] */
  readonly v: tf.Tensor
  /** [R] int32 */
  readonly keyPositions: tf.Tensor
  /** Positions of the rows that all groups see, the first P: [P] int32 */
  readonly sharedPositions: tf.Tensor
  /** [G, T] int32 */
  readonly queryPositions: tf.Tensor
  /** A group's own key rows, from the left: [G, K] int32 */
  readonly keyIndex: tf.Tensor
  /** How many they are, [G] int32 */
  readonly keyCount: tf.Tensor
}

const NAMES = ['queries', 'k', 'v', 'keyPositions', 'sharedPositions', 'queryPositions', 'keyIndex', 'keyCount']

interface Options {
  /** How many positions back a row sees, itself included; 0: all. */
  readonly window: number
  /** See `capScores`. */
  readonly softCap: number
}

const optionsOf = ({ window, softCap }: Attributes): Options => ({ window: window as number, softCap: softCap as number })

/** What one group computes, as the reference does. */
class OneGroup {
  /** [P + K] int32 */
  readonly index: tf.Tensor1D
  /** [Hkv, n, D] */
  readonly queries: tf.Tensor
  /** [Hkv, P + K, D] */
  readonly keys: tf.Tensor
  /** [Hkv, P + K, D] */
  readonly values: tf.Tensor
  /** [Hkv, n, P + K] */
  readonly scores: tf.Tensor
  /** [Hkv, n, P + K] */
  readonly probabilities: tf.Tensor

  constructor(groups: Groups, group: number, { window, softCap }: Options) {
    const { k, v, keyPositions, sharedPositions, keyIndex } = groups
    const row = (x: tf.Tensor) => tf.squeeze(tf.gather(x, [group]), [0])
    const [shared, own] = [sharedPositions.shape[0]!, keyIndex.shape[1]!]
    this.queries = this.of(groups.queries, group)
    this.index = tf.concat([upTo(shared), row(keyIndex)]) as tf.Tensor1D
    this.keys = tf.gather(k, this.index, 1)
    this.values = tf.gather(v, this.index, 1)
    const positions = tf.concat([sharedPositions, tf.gather(keyPositions, row(keyIndex) as tf.Tensor1D)])
    const isThere = tf.less(upTo(shared + own), tf.add(row(groups.keyCount), tf.scalar(shared, 'int32'))) // [P + K]
    const at = tf.expandDims(row(groups.queryPositions), 1) // [T, 1]
    let seen = tf.logicalAnd(tf.expandDims(isThere, 0), tf.lessEqual(tf.expandDims(positions, 0), at))
    if (window > 0) seen = tf.logicalAnd(seen, tf.greater(tf.expandDims(positions, 0), tf.sub(at, tf.scalar(window, 'int32'))))
    const barred = tf.mul(tf.sub(tf.cast(seen, 'float32'), 1), NEVER) // [T, P + K]
    this.scores = tf.matMul(this.queries, this.keys, false, true)
    const repeat = this.queries.shape[1]! / at.shape[0]!
    this.probabilities = tf.softmax(tf.add(capScores(this.scores, softCap), tf.tile(barred, [repeat, 1])))
  }

  /** A group's part of a tensor whose second axis are groups. */
  of(x: tf.Tensor, group: number): tf.Tensor {
    return tf.squeeze(tf.gather(x, [group], 1), [1])
  }
}

const attention = defineKernel({
  name: 'AttentionInTurn',
  inputs: NAMES,
  reference: (inputs, attributes) => {
    const groups = inputs as unknown as Groups
    const sums = Array.from({ length: groups.queries.shape[1]! }, (_, i) => {
      const { probabilities, values } = new OneGroup(groups, i, optionsOf(attributes))
      return tf.matMul(probabilities, values)
    })
    return tf.stack(sums, 1)
  },
  lower: { shape: ({ queries }) => queries!.shape, write: writeSums },
})

const gradient = defineKernel({
  name: 'AttentionInTurnGradient',
  inputs: [...NAMES, 'sums', 'dy'],
  reference: ({ sums, dy, ...inputs }, attributes) => {
    const groups = inputs as unknown as Groups
    const options = optionsOf(attributes)
    const [keyHeads, rows, size] = groups.k.shape as [number, number, number]
    const ofQueries: tf.Tensor[] = []
    let [ofKeys, ofValues]: tf.Tensor[] = [tf.zeros([rows, keyHeads * size]), tf.zeros([rows, keyHeads * size])]
    for (let i = 0; i < groups.queries.shape[1]!; i++) {
      const one = new OneGroup(groups, i, options)
      const d = one.of(dy!, i)
      const inner = tf.sum(tf.mul(d, one.of(sums!, i)), -1, true) // [Hkv, n, 1]
      const ofCapped = tf.mul(one.probabilities, tf.sub(tf.matMul(d, one.values, false, true), inner)) // [Hkv, n, P + K]
      const slope = (softCap: number) => tf.sub(1, tf.square(tf.tanh(tf.div(one.scores, softCap))))
      const ofScores = options.softCap === 0 ? ofCapped : tf.mul(ofCapped, slope(options.softCap))
      const added = (x: tf.Tensor) =>
        tf.unsortedSegmentSum(tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, keyHeads * size]), one.index, rows)
      ofQueries.push(tf.matMul(ofScores, one.keys))
      ofKeys = tf.add(ofKeys!, added(tf.matMul(ofScores, one.queries, true, false)))
      ofValues = tf.add(ofValues!, added(tf.matMul(one.probabilities, d, true, false)))
    }
    const back = (x: tf.Tensor) => tf.transpose(tf.reshape(x, [rows, keyHeads, size]), [1, 0, 2])
    const queries = tf.reshape(tf.stack(ofQueries, 1), [keyHeads, -1, size])
    return tf.concat([queries, back(ofKeys!), back(ofValues!)], 1)
  },
  lower: {
    shape: ({ queries, k }) => {
      const [keyHeads, groups, slots, size] = queries!.shape as [number, number, number, number]
      return [keyHeads, groups * slots + 2 * k!.shape[1]!, size]
    },
    write: writeGradients,
  },
})

/** @returns sums of values, [Hkv, G, n, D] */
export const attentionInTurn = (groups: Groups, options: Options): tf.Tensor => attention({ ...groups }, { ...options })

/**
 * @param sums what the forward pass has made, [Hkv, G, n, D]
 * @param dy their gradient, 0 in empty slots, [Hkv, G, n, D]
 * @returns gradients of queries, [Hkv, G, n, D], of keys and of values, [Hkv, R, D]
 */
export function attentionInTurnGradients(
  groups: Groups,
  sums: tf.Tensor,
  dy: tf.Tensor,
  options: Options,
): { queries: tf.Tensor; k: tf.Tensor; v: tf.Tensor } {
  const all = gradient({ ...groups, sums, dy }, { ...options })
  const [, groupCount, slots] = groups.queries.shape as [number, number, number]
  const rows = groups.k.shape[1]!
  const part = (start: number, count: number) => tf.slice(all as tf.Tensor3D, [0, start, 0], [-1, count, -1])
  const queries = groupCount * slots
  return {
    queries: tf.reshape(part(0, queries), groups.queries.shape),
    k: part(queries, rows),
    v: part(queries + rows, rows),
  }
}

type Emit = Lowering['emit']

/** One group in a step of a loop: its nodes, and names of what they make. */
function groupNodes(l: Lowering, emit: Emit, [queries, positions, keyIndex, keyCount]: readonly string[]) {
  const [, k, v, keyPositions, sharedPositions] = l.inputs.map(input => input!)
  const { window, softCap } = optionsOf(l.attributes)
  const [keyHeads] = l.inputs[0]!.shape
  const shared = l.once(`rows up to ${sharedPositions!.shape[0]}`, () =>
    l.emit('Cast', [l.emit('Range', [scalar(l, 0), l.emit('Squeeze', [l.int64([sharedPositions!.shape[0]!])]), scalar(l, 1)])], {
      to: INT32,
    }),
  )
  const product = (a: string, b: string, { transA = 0, transB = 0 } = {}) => {
    if (transA + transB === 0) return emit('MatMul', [a, b])
    if (l.has('FusedMatMul')) return emit('FusedMatMul', [a, b], { transA, transB }, 'com.microsoft')
    const swapped = (x: string) => emit('Transpose', [x], { perm: [0, 2, 1] })
    return emit('MatMul', [transA ? swapped(a) : a, transB ? swapped(b) : b])
  }
  const count = emit('Cast', [keyCount!], { to: INT64 })
  const own = emit('Slice', [keyIndex!, l.int64([0]), emit('Reshape', [count, l.int64([1])])]) // [K of this group]
  const index = emit('Concat', [shared, own], { axis: 0 }) // [P + K]
  const rows = (x: string) => emit('Gather', [x, index], { axis: 1 }) // [Hkv, P + K, D]
  const [keys, values] = [rows(k!.name), rows(v!.name)]
  const at = emit('Concat', [sharedPositions!.name, emit('Gather', [keyPositions!.name, own], { axis: 0 })], { axis: 0 })
  const query = emit('Unsqueeze', [positions!, l.int64([1])]) // [T, 1]
  let seen = emit('LessOrEqual', [at, query]) // [T, P + K]
  if (window > 0) seen = emit('And', [seen, emit('Greater', [at, emit('Sub', [query, l.int32(window)])])])
  const barred = emit('Where', [seen, l.float(0), l.float(-NEVER)])
  const scores = product(queries!, keys, { transB: 1 }) // [Hkv, n, P + K]
  const tanh = softCap === 0 ? undefined : emit('Tanh', [emit('Div', [scores, l.float(softCap)])])
  const capped = tanh === undefined ? scores : emit('Mul', [tanh, l.float(softCap)])
  // The queries of several heads share what their positions see.
  const byHead = emit('Concat', [l.int64([keyHeads!, -1]), emit('Shape', [seen])], { axis: 0 })
  const masked = emit('Add', [emit('Reshape', [capped, byHead]), barred]) // [Hkv, n / T, T, P + K]
  const softmax = emit('Softmax', [masked], { axis: -1 })
  const probabilities = emit('Reshape', [softmax, emit('Shape', [scores])]) // [Hkv, n, P + K]
  return { index, keys, values, probabilities, tanh, product }
}

const INT32 = 6
const INT64 = 7
const scalar = (l: Lowering, value: number) => l.emit('Squeeze', [l.int64([value])])

/** What every step takes of its group. */
const over = (l: Lowering) => [
  { name: l.inputs[0]!.name, dtype: 'float32' as const, axis: 1 },
  ...[5, 6, 7].map(i => ({ name: l.inputs[i]!.name, dtype: 'int32' as const, axis: 0 })),
]

function writeSums(l: Lowering): string {
  const [sums] = l.scan({
    states: [],
    over: over(l),
    outputs: [{ dtype: 'float32', axis: 1 }],
    step: (emit, _, slices) => {
      const { probabilities, values } = groupNodes(l, emit, slices)
      return [emit('MatMul', [probabilities, values])]
    },
  })
  return sums!
}

function writeGradients(l: Lowering): string {
  const { shape } = l.inputs[1]!
  const [sums, dy] = l.inputs.slice(-2).map(input => input!.name)
  const [keyHeads, rows, size] = shape
  const none = l.emit('ConstantOfShape', [l.int64([rows!, keyHeads!, size!])], { value: { dtype: 'float32', values: [0] } })
  const [ofKeys, ofValues, ofQueries] = l.scan({
    states: [none, none].map(name => ({ name, dtype: 'float32' })),
    over: [...over(l), ...[sums!, dy!].map(name => ({ name, dtype: 'float32' as const, axis: 1 }))],
    outputs: [{ dtype: 'float32', axis: 1 }],
    step: (emit, [keySums, valueSums], slices) => {
      const [query, , , , y, d] = slices as [string, string, string, string, string, string]
      const { index, keys, values, probabilities, tanh, product } = groupNodes(l, emit, slices)
      const inner = emit('ReduceSum', [emit('Mul', [d, y]), l.int64([-1])], { keepdims: 1 }) // [Hkv, n, 1]
      const ofCapped = emit('Mul', [probabilities, emit('Sub', [product(d, values, { transB: 1 }), inner])])
      const ofScores =
        tanh === undefined ? ofCapped : emit('Mul', [ofCapped, emit('Sub', [l.float(1), emit('Mul', [tanh, tanh])])])
      const at = emit('Unsqueeze', [index, l.int64([1])]) // [P + K, 1]
      const added = (to: string, x: string) => {
        const byRow = emit('Transpose', [x], { perm: [1, 0, 2] }) // [P + K, Hkv, D]
        return emit('ScatterND', [to, emit('Cast', [at], { to: INT64 }), byRow], { reduction: 'add' })
      }
      return [
        added(keySums!, product(ofScores, query, { transA: 1 })),
        added(valueSums!, product(probabilities, d, { transA: 1 })),
        product(ofScores, keys),
      ]
    },
  })
  const flat = l.emit('Reshape', [ofQueries!, l.int64([keyHeads!, -1, size!])]) // [Hkv, G n, D]
  const back = (x: string) => l.emit('Transpose', [x], { perm: [1, 0, 2] })
  return l.emit('Concat', [flat, back(ofKeys!), back(ofValues!)], { axis: 1 })
}
