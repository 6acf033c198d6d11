import { gatherRows } from '../kernels/gather-rows.js'
import { gelu } from '../kernels/gelu.js'
import { layerNorm } from '../kernels/layer-norm.js'
import { linear } from '../kernels/linear.js'
import { tf } from '../kernels/tf.js'
import { declareCode } from '../src/code-identity.js'
import type { AttentionCall, ModelConfig, ModelFamily, WeightSpec } from './family.js'

/** GPT-2: learned positions, layer norm, one biased projection for queries, keys and values. */
export interface Gpt2Config extends ModelConfig {
  readonly layerNormEpsilon: number
  readonly activation: 'tanh' | 'erf'
}

const layerName = (layer: number, name: string) => `h.${layer}.${name}`

export const gpt2: ModelFamily<Gpt2Config> = declareCode(import.meta.url, {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  embedding: 'embedding',
  attentionModule: layer => `transformer.h.${layer}.attn`,
  ignored: /\.attn\.(bias|masked_bias)$/,

  parseConfig(raw) {
    const hiddenSize = raw.integer(['n_embd', 'hidden_size'])
    const heads = raw.integer(['n_head', 'num_attention_heads'])
    const activation = raw.oneOf('activation_function', ['gelu_new', 'gelu_pytorch_tanh', 'gelu'], 'gelu_new')
    return {
      vocabSize: raw.integer('vocab_size'),
      hiddenSize,
      numLayers: raw.integer(['n_layer', 'num_hidden_layers']),
      numAttentionHeads: heads,
      numKeyValueHeads: heads,
      headDim: hiddenSize / heads,
      intermediateSize: raw.integer('n_inner', 4 * hiddenSize),
      maxPositionEmbeddings: raw.integer(['n_positions', 'max_position_embeddings']),
      tieWordEmbeddings: raw.boolean('tie_word_embeddings', true),
      layerNormEpsilon: raw.number('layer_norm_epsilon', 1e-5),
      activation: activation === 'gelu' ? 'erf' : 'tanh',
    }
  },

  weights(config) {
    const { hiddenSize: d, vocabSize, numLayers, intermediateSize: f } = config
    const specs: WeightSpec[] = []
    const one = (name: string, source: string, shape: number[], transposed = false) =>
      specs.push({ name, shape, parts: [{ source, shape, ...(transposed ? { transposed } : {}) }] })
    one('embedding', 'wte.weight', [vocabSize, d])
    one('positions', 'wpe.weight', [config.maxPositionEmbeddings, d])
    for (let layer = 0; layer < numLayers; layer++) {
      const at = (name: string) => layerName(layer, name)
      one(at('attentionNorm'), at('ln_1.weight'), [d])
      one(at('attentionNormBias'), at('ln_1.bias'), [d])
      for (const suffix of ['weight', 'bias'] as const) {
        const shape = suffix === 'weight' ? [3 * d, d] : [3 * d]
        const kind = suffix === 'weight' ? '' : 'Bias'
        specs.push({
          name: at(`queryKeyValue${kind}`),
          shape,
          parts: [{ source: at(`attn.c_attn.${suffix}`), shape, ...(suffix === 'weight' ? { transposed: true } : {}) }],
          views: [
            { name: at(`query${kind}`), start: 0, rows: d },
            { name: at(`keyValue${kind}`), start: d, rows: 2 * d },
          ],
        })
      }
      one(at('attentionOutput'), at('attn.c_proj.weight'), [d, d], true)
      one(at('attentionOutputBias'), at('attn.c_proj.bias'), [d])
      one(at('mlpNorm'), at('ln_2.weight'), [d])
      one(at('mlpNormBias'), at('ln_2.bias'), [d])
      one(at('up'), at('mlp.c_fc.weight'), [f, d], true)
      one(at('upBias'), at('mlp.c_fc.bias'), [f])
      one(at('down'), at('mlp.c_proj.weight'), [d, f], true)
      one(at('downBias'), at('mlp.c_proj.bias'), [d])
    }
    one('norm', 'ln_f.weight', [d])
    one('normBias', 'ln_f.bias', [d])
    if (!config.tieWordEmbeddings) one('head', 'lm_head.weight', [vocabSize, d])
    return specs
  },

  embed: (_, weight, ids) => tf.gather(weight('embedding'), ids as tf.Tensor1D),

  hidden(config, { weight, x: embedded, from = 0, to, positions, read, attend, attendBeside, onNeurons, beforeLayer }) {
    const { numAttentionHeads: heads, headDim, numLayers, layerNormEpsilon: epsilon } = config
    /** [rows, count D] -> [count, rows, D] */
    const split = (y: tf.Tensor, count: number) => tf.transpose(tf.reshape(y, [-1, count, headDim]), [1, 0, 2])
    const apart = (y: tf.Tensor, parts: number) => tf.split(y, parts, 0) as [tf.Tensor, tf.Tensor, tf.Tensor]
    let x = from > 0 ? embedded : tf.add(embedded, tf.gather(weight('positions'), positions as tf.Tensor1D)) // [R, d]
    for (let layer = from; layer < numLayers; layer++) {
      if (layer === to) return x
      const w = (name: string) => weight(layerName(layer, name))
      x = beforeLayer?.(layer, x)?.x ?? x
      const h = layerNorm(x, w('attentionNorm'), w('attentionNormBias'), epsilon)
      const last = layer === numLayers - 1
      /** [n, d] -> two of [H, n, D] */
      const project = (rows: tf.Tensor) => {
        const [key, value] = apart(split(linear(rows, w('keyValue'), w('keyValueBias')), 2 * heads), 2)
        return { key, value }
      }
      const keysOf = (rows: tf.Tensor) => project(layerNorm(rows, w('attentionNorm'), w('attentionNormBias'), epsilon))
      const call = { layer, last, project, keysOf, scale: headDim ** -0.5, window: 0 }
      /** [H, R, D] -> [R, d]; in the last layer [H, Q, D] -> [Q, d] */
      const joined = (y: tf.Tensor) => tf.reshape(tf.transpose(y, [1, 0, 2]), [-1, heads * headDim])
      let of: AttentionCall
      if (!last) {
        const [query, key, value] = apart(split(linear(h, w('queryKeyValue'), w('queryKeyValueBias')), 3 * heads), 3)
        of = { ...call, query, key, value }
      } else {
        const query = split(linear(gatherRows(h, read.index, read.inverse), w('query'), w('queryBias')), heads)
        of = { ...call, ...project(h), query }
        x = gatherRows(x, read.index, read.inverse) // [Q, d]
      }
      x = tf.add(x, linear(joined(attend(of)), w('attentionOutput'), w('attentionOutputBias')))
      // Behind the output projection, as PEFT has it for this family.
      const beside = attendBeside?.(of)
      if (beside) x = tf.add(x, joined(beside))
      const m = layerNorm(x, w('mlpNorm'), w('mlpNormBias'), epsilon)
      const up = linear(m, w('up'), w('upBias')) // [R, f]
      onNeurons?.(layer, up)
      x = tf.add(x, linear(gelu(up, config.activation), w('down'), w('downBias')))
    }
    return layerNorm(x, weight('norm'), weight('normBias'), epsilon)
  },

  logits: (config, weight, hidden) => linear(hidden, weight(config.tieWordEmbeddings ? 'embedding' : 'head')),

  gguf: {
    architectures: ['gpt2'],
    config: get => ({
      model_type: 'gpt2',
      vocab_size: get('vocab_size'),
      n_embd: get('embedding_length'),
      n_layer: get('block_count'),
      n_inner: get('feed_forward_length'),
      n_head: get('attention.head_count'),
      layer_norm_epsilon: get('attention.layer_norm_epsilon'),
      n_positions: get('context_length'),
    }),
    part: ({ source, shape }) => ({
      // GGUF keeps these weights as [out, in].
      shape,
      source: source
        .replace(/^h\./, 'blk.')
        .replace('wte.', 'token_embd.')
        .replace('wpe.', 'position_embd.')
        .replace('ln_f.', 'output_norm.')
        .replace('lm_head.', 'output.')
        .replace('ln_1.', 'attn_norm.')
        .replace('ln_2.', 'ffn_norm.')
        .replace('attn.c_attn.', 'attn_qkv.')
        .replace('attn.c_proj.', 'attn_output.')
        .replace('mlp.c_fc.', 'ffn_up.')
        .replace('mlp.c_proj.', 'ffn_down.'),
    }),
  },
})
