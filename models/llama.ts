import { gatherRows } from '../kernels/gather-rows.js'
import { linear } from '../kernels/linear.js'
import { rmsNorm } from '../kernels/rms-norm.js'
import { rotaryEmbedding } from '../kernels/rotary-embedding.js'
import { swiGlu } from '../kernels/swiglu.js'
import { tf } from '../kernels/tf.js'
import { declareCode } from '../src/code-identity.js'
import type { AttentionCall, ModelConfig, ModelFamily, WeightPart, WeightSpec } from './family.js'
import { parseRotary, type RotaryConfig, rotaryTables } from './rotary.js'

/** Llama 1-3, SmolLM, and Mistral (a sliding window). */
export interface LlamaConfig extends ModelConfig {
  readonly rmsNormEpsilon: number
  readonly rotary: RotaryConfig
  readonly attentionBias: boolean
  readonly mlpBias: boolean
  /** How many positions back a row sees, itself included; 0: all. */
  readonly slidingWindow: number
}

const layerName = (layer: number, name: string) => `layers.${layer}.${name}`

export const llama: ModelFamily<LlamaConfig> = declareCode(import.meta.url, {
  name: 'llama',
  modelTypes: ['llama', 'mistral'],
  embedding: 'embedding',
  attentionModule: layer => `model.layers.${layer}.self_attn`,
  ignored: /rotary_emb\.inv_freq$|^rope_freqs\.weight$/,

  parseConfig(raw) {
    const hiddenSize = raw.integer('hidden_size')
    const numAttentionHeads = raw.integer('num_attention_heads')
    raw.oneOf('hidden_act', ['silu'], 'silu')
    return {
      vocabSize: raw.integer('vocab_size'),
      hiddenSize,
      numLayers: raw.integer('num_hidden_layers'),
      numAttentionHeads,
      numKeyValueHeads: raw.integer('num_key_value_heads', numAttentionHeads),
      headDim: raw.integer('head_dim', hiddenSize / numAttentionHeads),
      intermediateSize: raw.integer('intermediate_size'),
      maxPositionEmbeddings: raw.integer('max_position_embeddings', 2048),
      tieWordEmbeddings: raw.boolean('tie_word_embeddings', false),
      rmsNormEpsilon: raw.number('rms_norm_eps', 1e-6),
      rotary: parseRotary(raw),
      attentionBias: raw.boolean('attention_bias', false),
      mlpBias: raw.boolean('mlp_bias', false),
      slidingWindow: raw.raw.sliding_window ? raw.integer('sliding_window') : 0,
    }
  },

  weights(config) {
    const { hiddenSize, vocabSize, numLayers, numAttentionHeads, numKeyValueHeads, headDim, intermediateSize } = config
    const queries = numAttentionHeads * headDim
    const keys = numKeyValueHeads * headDim
    const specs: WeightSpec[] = []
    const add = (name: string, shape: number[], parts: WeightPart[], views?: WeightSpec['views']) =>
      specs.push({ name, shape, parts, ...(views ? { views } : {}) })
    const one = (name: string, source: string, shape: number[]) => add(name, shape, [{ source, shape }])
    one('embedding', 'embed_tokens.weight', [vocabSize, hiddenSize])
    for (let layer = 0; layer < numLayers; layer++) {
      const source = (name: string) => layerName(layer, name)
      // Query, key and value stand in one weight; the last layer takes them apart, by views of the same bytes.
      const attention = (suffix: 'weight' | 'bias') => {
        const shape = (rows: number) => (suffix === 'weight' ? [rows, hiddenSize] : [rows])
        const part = (name: string, rows: number) => ({ source: source(`self_attn.${name}.${suffix}`), shape: shape(rows) })
        const kind = suffix === 'weight' ? '' : 'Bias'
        add(
          source(`queryKeyValue${kind}`),
          shape(queries + 2 * keys),
          [part('q_proj', queries), part('k_proj', keys), part('v_proj', keys)],
          [
            { name: source(`query${kind}`), start: 0, rows: queries },
            { name: source(`keyValue${kind}`), start: queries, rows: 2 * keys },
          ],
        )
      }
      one(source('attentionNorm'), source('input_layernorm.weight'), [hiddenSize])
      attention('weight')
      one(source('attentionOutput'), source('self_attn.o_proj.weight'), [hiddenSize, queries])
      one(source('mlpNorm'), source('post_attention_layernorm.weight'), [hiddenSize])
      one(source('gate'), source('mlp.gate_proj.weight'), [intermediateSize, hiddenSize])
      one(source('up'), source('mlp.up_proj.weight'), [intermediateSize, hiddenSize])
      one(source('down'), source('mlp.down_proj.weight'), [hiddenSize, intermediateSize])
      if (config.attentionBias) {
        attention('bias')
        one(source('attentionOutputBias'), source('self_attn.o_proj.bias'), [hiddenSize])
      }
      if (config.mlpBias) {
        one(source('gateBias'), source('mlp.gate_proj.bias'), [intermediateSize])
        one(source('upBias'), source('mlp.up_proj.bias'), [intermediateSize])
        one(source('downBias'), source('mlp.down_proj.bias'), [hiddenSize])
      }
    }
    one('norm', 'norm.weight', [hiddenSize])
    if (!config.tieWordEmbeddings) one('head', 'lm_head.weight', [vocabSize, hiddenSize])
    return specs
  },

  embed: (_, weight, ids) => tf.gather(weight('embedding'), ids as tf.Tensor1D),

  hidden(config, { weight, x: embedded, from = 0, to, positions, read, attend, attendBeside, onNeurons, beforeLayer }) {
    const { numAttentionHeads: heads, numKeyValueHeads: keyHeads, headDim, numLayers, rmsNormEpsilon } = config
    const tables = (at: tf.Tensor) => rotaryTables(config.rotary, headDim, at)
    let { cos, sin } = tables(positions) // [R, D/2]
    /** [rows, count D] -> [count, rows, D] */
    const split = (y: tf.Tensor, count: number) => tf.transpose(tf.reshape(y, [-1, count, headDim]), [1, 0, 2])
    /** Heads taken apart: [a + b, rows, D] -> [a, rows, D] and [b, rows, D] */
    const apart = (y: tf.Tensor, ...counts: number[]) => tf.split(y, counts, 0) as [tf.Tensor, tf.Tensor]
    let x = embedded
    for (let layer = from; layer < numLayers; layer++) {
      if (layer === to) return x
      const w = (name: string) => weight(layerName(layer, name))
      const bias = (present: boolean, name: string) => (present ? w(name) : undefined)
      const changed = beforeLayer?.(layer, x)
      if (changed) {
        x = changed.x
        ;({ cos, sin } = tables(changed.positions))
      }
      const h = rmsNorm(x, w('attentionNorm'), rmsNormEpsilon) // [R, d]
      const last = layer === numLayers - 1
      /** [n, d] -> two of [Hkv, n, D] */
      const project = (rows: tf.Tensor) => {
        const both = split(linear(rows, w('keyValue'), bias(config.attentionBias, 'keyValueBias')), 2 * keyHeads)
        const [key, value] = apart(both, keyHeads, keyHeads)
        return { key, value }
      }
      const keysOf = (rows: tf.Tensor, at: tf.Tensor) => {
        const { key, value } = project(rmsNorm(rows, w('attentionNorm'), rmsNormEpsilon))
        const turn = tables(at)
        return { key: rotaryEmbedding(key, turn.cos, turn.sin), value }
      }
      const call = { layer, last, project, keysOf, scale: headDim ** -0.5, window: config.slidingWindow }
      /** [H, R, D]; in the last layer [H, Q, D] */
      const attention = (of: AttentionCall) => {
        const beside = attendBeside?.(of)
        return beside ? tf.add(attend(of), beside) : attend(of)
      }
      let attended: tf.Tensor // [H, R, D]; in the last layer [H, Q, D]
      if (!last) {
        const projected = split(
          linear(h, w('queryKeyValue'), bias(config.attentionBias, 'queryKeyValueBias')),
          heads + 2 * keyHeads,
        )
        const [queryKey, value] = apart(projected, heads + keyHeads, keyHeads)
        const [query, key] = apart(rotaryEmbedding(queryKey, cos, sin), heads, keyHeads)
        attended = attention({ ...call, query, key, value })
      } else {
        const { key, value } = project(h)
        const query = split(
          linear(gatherRows(h, read.index, read.inverse), w('query'), bias(config.attentionBias, 'queryBias')),
          heads,
        )
        const at = (table: tf.Tensor) => tf.gather(table, read.index as tf.Tensor1D) // [Q, D/2]
        attended = attention({
          ...call,
          query: rotaryEmbedding(query, at(cos), at(sin)),
          key: rotaryEmbedding(key, cos, sin),
          value,
        })
        x = gatherRows(x, read.index, read.inverse) // [Q, d]
      }
      const joined = tf.reshape(tf.transpose(attended, [1, 0, 2]), [-1, heads * headDim])
      x = tf.add(x, linear(joined, w('attentionOutput'), bias(config.attentionBias, 'attentionOutputBias')))
      const m = rmsNorm(x, w('mlpNorm'), rmsNormEpsilon)
      const gate = linear(m, w('gate'), bias(config.mlpBias, 'gateBias')) // [R, f]
      onNeurons?.(layer, gate)
      const inner = swiGlu(gate, linear(m, w('up'), bias(config.mlpBias, 'upBias'))) // [R, f]
      x = tf.add(x, linear(inner, w('down'), bias(config.mlpBias, 'downBias')))
    }
    return rmsNorm(x, weight('norm'), rmsNormEpsilon)
  },

  logits: (config, weight, hidden) => linear(hidden, weight(config.tieWordEmbeddings ? 'embedding' : 'head')),

  gguf: {
    architectures: ['llama'],
    config: get => ({
      model_type: 'llama',
      vocab_size: get('vocab_size'),
      hidden_size: get('embedding_length'),
      num_hidden_layers: get('block_count'),
      intermediate_size: get('feed_forward_length'),
      num_attention_heads: get('attention.head_count'),
      num_key_value_heads: get('attention.head_count_kv'),
      head_dim: get('attention.key_length') ?? get('rope.dimension_count'),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      rope_theta: get('rope.freq_base'),
      max_position_embeddings: get('context_length'),
      sliding_window: get('attention.sliding_window'),
      ...(get('rope.scaling.type') === 'linear'
        ? { rope_scaling: { rope_type: 'linear', factor: get('rope.scaling.factor') } }
        : {}),
    }),
    part: (part, { numAttentionHeads, numKeyValueHeads }) => {
      const source = part.source
        .replace(/^layers\./, 'blk.')
        .replace('embed_tokens.', 'token_embd.')
        .replace(/^norm\./, 'output_norm.')
        .replace('lm_head.', 'output.')
        .replace('self_attn.q_proj', 'attn_q')
        .replace('self_attn.k_proj', 'attn_k')
        .replace('self_attn.v_proj', 'attn_v')
        .replace('self_attn.o_proj', 'attn_output')
        .replace('input_layernorm', 'attn_norm')
        .replace('post_attention_layernorm', 'ffn_norm')
        .replace('mlp.gate_proj', 'ffn_gate')
        .replace('mlp.up_proj', 'ffn_up')
        .replace('mlp.down_proj', 'ffn_down')
      // llama.cpp rotates neighbouring pairs, so its converter permutes the rows of queries and keys.
      if (source.includes('.attn_q.')) return { ...part, source, permutedHeads: numAttentionHeads }
      if (source.includes('.attn_k.')) return { ...part, source, permutedHeads: numKeyValueHeads }
      return { ...part, source }
    },
  },
})
