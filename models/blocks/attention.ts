import { gatherRows } from '../../kernels/gather-rows.js'
import { linear } from '../../kernels/linear.js'
import { tf } from '../../kernels/tf.js'
import type { DecoderConfig } from './config.js'
import type { AttentionCall, HiddenInputs } from './family.js'
import { normalise } from './norm.js'
import { type RotaryTables, rotate } from './rotary.js'

/** One layer's attention: what is projected, normalised and turned before the caller attends. */
export interface AttentionInputs {
  readonly config: DecoderConfig
  readonly layer: number
  /** Of this layer, by the name within it. */
  readonly weight: (name: string) => tf.Tensor
  /** The rows that queries, keys and values are made of, [R, d]. */
  readonly x: tf.Tensor
  /** In the last layer: the rows of `x` that are read, and these rows themselves, [Q, d]. */
  readonly read?: HiddenInputs['read']
  /** Tables of this layer's rotation for the rows of `x`; undefined where the layer has none. */
  readonly tables?: RotaryTables | undefined
  /** Tables for rows at other positions. */
  readonly tablesAt: (positions: tf.Tensor) => RotaryTables | undefined
  /** What the layer makes of rows before they are projected. */
  readonly normalised: (rows: tf.Tensor) => tf.Tensor
}

/** Queries, keys and values of one layer, positions applied. */
export function attentionCall({ config, layer, weight, x, read, tables, tablesAt, normalised }: AttentionInputs): AttentionCall {
  const { numAttentionHeads: heads, numKeyValueHeads: keyHeads, headDim, norm } = config
  const { queryKeyValueBias, queryKeyNorm, scale, softCap } = config.attention
  const { window, rotary } = config.layers[layer]!
  /** [rows, count D] -> [count, rows, D] */
  const split = (y: tf.Tensor, count: number) => tf.transpose(tf.reshape(y, [-1, count, headDim]), [1, 0, 2])
  /** Heads taken apart: [a + b, rows, D] -> [a, rows, D] and [b, rows, D] */
  const apart = (y: tf.Tensor, ...counts: number[]) => tf.split(y, counts, 0) as tf.Tensor[]
  const project = (rows: tf.Tensor, name: string, count: number) =>
    split(linear(rows, weight(name), queryKeyValueBias ? weight(`${name}Bias`) : undefined), count)
  const turned = (y: tf.Tensor, by: RotaryTables | undefined) => (by ? rotate(config.rotaries[rotary]!, y, by) : y)
  /** Queries or keys by their norm, [count, rows, D]. */
  const scaled = (y: tf.Tensor, name: string) => {
    if (queryKeyNorm === 'none') return y
    if (queryKeyNorm === 'head') return normalise(norm, weight, name, y)
    const count = y.shape[0]!
    if (queryKeyNorm === 'each') {
      const own = (name: string) => tf.reshape(weight(name), [count, 1, headDim])
      return normalise({ ...norm, bias: false }, own, name, y)
    }
    const rows = tf.reshape(tf.transpose(y, [1, 0, 2]), [-1, count * headDim]) // [rows, count D]
    return split(normalise(norm, weight, name, rows), count)
  }
  /** [n, d] -> two of [Hkv, n, D] */
  const keyValue = (rows: tf.Tensor) => {
    const [key, value] = apart(project(rows, 'keyValue', 2 * keyHeads), keyHeads, keyHeads) as [tf.Tensor, tf.Tensor]
    return { key: scaled(key, 'keyNorm'), value }
  }
  const keysOf = (rows: tf.Tensor, at: tf.Tensor) => {
    const { key, value } = keyValue(normalised(rows))
    return { key: turned(key, tablesAt(at)), value }
  }
  const call = { layer, last: read !== undefined, project: keyValue, keysOf, scale, softCap, window }
  if (read) {
    const { key, value } = keyValue(x)
    const query = scaled(project(gatherRows(x, read.index, read.inverse), 'query', heads), 'queryNorm')
    const at = (table: tf.Tensor) => tf.gather(table, read.index as tf.Tensor1D) // [Q, dims/2]
    const readTables = tables && { cos: at(tables.cos), sin: at(tables.sin) }
    return { ...call, query: turned(query, readTables), key: turned(key, tables), value }
  }
  const projected = project(x, 'queryKeyValue', heads + 2 * keyHeads)
  if (!tables || queryKeyNorm !== 'none') {
    const [query, key, value] = apart(projected, heads, keyHeads, keyHeads) as [tf.Tensor, tf.Tensor, tf.Tensor]
    return { ...call, query: turned(scaled(query, 'queryNorm'), tables), key: turned(scaled(key, 'keyNorm'), tables), value }
  }
  // Queries and keys turn alike.
  const [queryKey, value] = apart(projected, heads + keyHeads, keyHeads) as [tf.Tensor, tf.Tensor]
  const [query, key] = apart(turned(queryKey, tables), heads, keyHeads) as [tf.Tensor, tf.Tensor]
  return { ...call, query, key, value }
}
