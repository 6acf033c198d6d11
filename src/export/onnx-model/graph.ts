import { tf } from '../../../kernels/tf.js'
import type { AttentionCall } from '../../../models/blocks/family.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { Checkpoint } from '../../model/weights/checkpoint.js'
import type { InputSpec, ProgramSpec } from '../../program/program.js'
import { tensorOptions } from '../../prompts/method.js'
import { embedTokens, numSoftTokens, softParameter } from '../../prompts/soft-rows.js'
import type { OwnWeight } from './portable.js'

/**
 * A decoder with its prompt inside, with the inputs and outputs that ONNX Runtime GenAI and transformers.js feed and read: token ids, a
 * mask, and the keys and values of what came before. The prompt's own keys and values are constants, which no caller sees or counts; so
 * one graph serves the first call and all others.
 */

/** Keys and values of the prompt in a layer, [Hkv, m, D] each. */
export interface PromptKeys {
  readonly key: Float32Array
  readonly value: Float32Array
}

export interface DecoderOptions {
  readonly checkpoint: Checkpoint
  readonly active: ActivePrompt
  /** Of every layer, where the prompt has virtual tokens. */
  readonly keys: readonly PromptKeys[] | undefined
  /** Whether they stand before the first token of a text, or behind it. */
  readonly position: 'before-bos' | 'after-bos'
  /** Id of the template's first soft token; the others follow. */
  readonly firstSoftId: number
}

/** More than any text has; the function is traced at these sizes, and nothing is made of them. */
const MOST = { B: 1024, S: 2 ** 17, P: 2 ** 17 }

const int = (value: number) => tf.scalar(value, 'int32')
const upTo = (count: number) => tf.range(0, count, 1, 'int32')

/** The name of a layer's keys or values among what is fed or given. */
export const cacheName = (prefix: string, layer: number | string, part: 'key' | 'value'): string => `${prefix}.${layer}.${part}`

/** What a method computes with, as weights: its parameters, and the keys and values of its prompt. */
export function promptWeights({ active, checkpoint, keys }: DecoderOptions): Map<string, OwnWeight> {
  const { method, config, parameters } = active
  const { numKeyValueHeads: heads, headDim } = checkpoint.config
  const made = new Map<string, OwnWeight>()
  for (const { name, shape } of method.parameters(config, checkpoint.config)) {
    const data = parameters.get(name)
    if (data !== undefined) made.set(`parameter:${name}`, { data, shape })
  }
  for (const [layer, { key, value }] of (keys ?? []).entries()) {
    const shape = [heads, key.length / (heads * headDim), headDim]
    made.set(cacheName('prompt', layer, 'key'), { data: key, shape })
    made.set(cacheName('prompt', layer, 'value'), { data: value, shape })
  }
  return made
}

/**
 * The graph over B texts of S new tokens behind P earlier ones, which a mask pads at either side: inputs `input_ids` [B, S],
 * `attention_mask` [B, P+S], `past_key_values.N.key` and `.value` [B, Hkv, P, D]; outputs `logits` [B, S, V], `present.N.key` and
 * `.value` [B, Hkv, P+S, D].
 */
export function decoderSpec(options: DecoderOptions): Pick<ProgramSpec, 'inputs' | 'dims' | 'fn'> {
  const { checkpoint, active, keys, position, firstSoftId } = options
  const { family, config } = checkpoint
  const { method, config: prompt } = active
  const hooks = tensorOptions(prompt)
  const { numLayers, numKeyValueHeads: keyHeads, numAttentionHeads: heads, headDim: size, vocabSize } = config
  const layers = Array.from({ length: numLayers }, (_, layer) => layer)
  const past = (part: 'key' | 'value') =>
    layers.map((layer): [string, InputSpec] => [
      cacheName('past_key_values', layer, part),
      { shape: ['B', keyHeads, 'P', size], dtype: 'float32' },
    ])
  const parameters = method.parameters(prompt, config).map(({ name }) => name)
  const virtual = keys === undefined ? 0 : keys[0]!.key.length / (keyHeads * size)
  return {
    inputs: {
      input_ids: { shape: ['B', 'S'], dtype: 'int32' },
      attention_mask: { shape: ['B', 'P+S'], dtype: 'int32' },
      ...Object.fromEntries([...past('key'), ...past('value')]),
    },
    dims: Object.fromEntries(Object.entries(MOST).map(([name, most]) => [name, [1, most] as const])),
    fn(given, weight) {
      const [texts, length] = given.input_ids!.shape as [number, number]
      const earlier = given.attention_mask!.shape[1]! - length
      const rows = texts * length
      const learned = () => Object.fromEntries(parameters.map(name => [name, weight(`parameter:${name}`)]))
      const places = placesOf(given.attention_mask!, { length, earlier, virtual, position })
      const flat = tf.reshape(given.input_ids!, [rows]) // [R]
      const hasSoft = numSoftTokens(prompt) > 0
      // Soft tokens have the ids that the tokenizer has free; here they are numbered from the vocabulary on.
      const ids = hasSoft ? tf.where(isSoft(flat), tf.add(flat, int(vocabSize - firstSoftId)), flat) : flat
      let x = embedTokens({ family, config, weight }, ids, hasSoft ? learned()[softParameter] : undefined) // [R, d]
      if (method.offset) {
        const text = { embedded: x, textIndex: tf.reshape(places.ranks, [rows]), answerMask: tf.zeros([rows]) }
        x = tf.add(x, method.offset(hooks, learned(), text))
      }
      const present: Record<string, tf.Tensor> = {}
      const index = upTo(rows)
      const hidden = family.hidden(config, {
        weight,
        x,
        positions: tf.reshape(places.queries, [rows]),
        read: { index, inverse: index },
        attend,
        ...(method.attention ? { attendBeside: call => method.attention!(hooks, learned(), call, config) } : {}),
      })
      const logits = tf.reshape(family.logits(config, weight, hidden), [texts, length, vocabSize])
      return { logits, ...present }

      function isSoft(tokens: tf.Tensor): tf.Tensor {
        const last = int(firstSoftId + numSoftTokens(prompt))
        return tf.logicalAnd(tf.greaterEqual(tokens, int(firstSoftId)), tf.less(tokens, last))
      }

      function attend(call: AttentionCall): tf.Tensor {
        /** [n, R, D] -> [B, n, S, D] */
        const byText = (y: tf.Tensor) => tf.transpose(tf.reshape(y, [y.shape[0]!, texts, length, size]), [1, 0, 2, 3])
        /** What is kept for later calls, and what the queries see. */
        const along = (part: 'key' | 'value') => {
          const before = given[cacheName('past_key_values', call.layer, part)] as tf.Tensor3D
          const kept = tf.concat([before, byText(call[part]) as tf.Tensor3D], 2) // [B, Hkv, T, D]
          present[cacheName('present', call.layer, part)] = kept
          if (virtual === 0) return kept
          const own = tf.expandDims(weight(cacheName('prompt', call.layer, part)), 0) // [1, Hkv, m, D]
          return tf.concat([tf.tile(own, [texts, 1, 1, 1]) as tf.Tensor3D, kept], 2) // [B, Hkv, m + T, D]
        }
        const [key, value] = [along('key'), along('value')]
        const repeat = heads / keyHeads
        const query = tf.reshape(tf.mul(byText(call.query), call.scale), [texts, keyHeads, repeat * length, size])
        const products = tf.reshape(tf.matMul(query, key, false, true), [texts, heads, length, virtual + earlier + length])
        const capped = call.softCap === 0 ? products : tf.mul(tf.tanh(tf.div(products, call.softCap)), call.softCap)
        const scores = tf.add(capped, places.barred(call.window)) // [B, H, S, m + T]
        const weights = tf.reshape(tf.softmax(scores), [texts, keyHeads, repeat * length, virtual + earlier + length])
        const attended = tf.reshape(tf.matMul(weights, value), [texts, heads, length, size])
        return tf.reshape(tf.transpose(attended, [1, 0, 2, 3]), [heads, rows, size])
      }
    },
  }
}

/** Where tokens stand, by the mask: padding has no place, and the prompt's tokens have theirs. */
function placesOf(
  mask: tf.Tensor,
  options: {
    readonly length: number
    readonly earlier: number
    readonly virtual: number
    readonly position: DecoderOptions['position']
  },
) {
  const { length, earlier, virtual, position } = options
  const [texts, all] = mask.shape as [number, number]
  const seen = tf.minimum(tf.maximum(mask, int(0)), int(1)) // [B, T]
  const rank = tf.maximum(tf.sub(tf.cumsum(seen, 1), int(1)), int(0)) // [B, T], of a token in its text
  const isBehind = position === 'before-bos' ? tf.onesLike(rank) : tf.minimum(rank, int(1))
  const keys = tf.add(rank, tf.mul(isBehind, int(virtual))) // [B, T]
  const newest = (x: tf.Tensor) => tf.slice(x as tf.Tensor2D, [0, earlier], [texts, length]) // [B, S]
  const queries = newest(keys)
  const made = new Map<number, tf.Tensor>()
  return { ranks: newest(rank), queries, barred }

  /** 0 where a query sees a key, -1e9 elsewhere, [B, 1, S, m + T]. */
  function barred(window: number): tf.Tensor {
    const known = made.get(window)
    if (known !== undefined) return known
    const own = tf.reshape(queries, [texts, 1, length, 1])
    const order = tf.lessEqual(
      tf.reshape(upTo(all), [1, 1, 1, all]),
      tf.reshape(tf.add(upTo(length), tf.fill([length], earlier, 'int32')), [1, 1, length, 1]),
    )
    const isToken = tf.greater(tf.reshape(seen, [texts, 1, 1, all]), int(0))
    const text = near(tf.logicalAnd(order, isToken), tf.reshape(keys, [texts, 1, 1, all]))
    if (virtual === 0) return remembered(barredWhere(text))
    const first = position === 'before-bos' ? 0 : 1
    const places = tf.reshape(tf.add(upTo(virtual), int(first)), [1, 1, 1, virtual])
    const prompt = near(tf.lessEqual(places, own), places) // [B, 1, S, m]
    return remembered(tf.concat([barredWhere(prompt) as tf.Tensor3D, barredWhere(text) as tf.Tensor3D], 3))

    function remembered(mask: tf.Tensor): tf.Tensor {
      made.set(window, mask)
      return mask
    }

    function near(visible: tf.Tensor, at: tf.Tensor): tf.Tensor {
      return window === 0 ? visible : tf.logicalAnd(visible, tf.greater(at, tf.sub(own, int(window))))
    }
  }
}

const barredWhere = (visible: tf.Tensor) => tf.mul(tf.sub(tf.cast(visible, 'float32'), 1), 1e9)
