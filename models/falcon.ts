import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import type { DecoderNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Falcon: one weight of queries, keys and values by key head; attention and MLP beside one another, with one norm or two. */
export const falcon = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'falcon',
    modelTypes: ['falcon'],
    naming: ({ residual: { parallel, before } }): DecoderNaming => ({
      embedding: 'word_embeddings',
      layers: 'h',
      attentionNorm: parallel && before === 'own' ? 'ln_attn' : 'input_layernorm',
      queryKeyValue: 'self_attention.query_key_value',
      attentionOutput: 'self_attention.dense',
      mlpNorm: parallel ? 'ln_mlp' : 'post_attention_layernorm',
      gateUp: 'mlp.dense_h_to_4h',
      down: 'mlp.dense_4h_to_h',
      norm: 'ln_f',
      head: 'lm_head',
      layout: { byKeyHead: true },
    }),
    attentionModule: layer => `transformer.h.${layer}.self_attention`,

    parseConfig(raw) {
      const grouped = raw.boolean('new_decoder_architecture', false)
      const single = raw.boolean('multi_query', true) && !grouped
      const sizes = readSizes(
        raw,
        { tied: true, mlpRatio: 4, maxPositionEmbeddings: 2048 },
        { numKeyValueHeads: ['num_kv_heads'], intermediateSize: ['ffn_hidden_size'] },
      )
      const numKeyValueHeads = single ? 1 : grouped ? sizes.numKeyValueHeads : sizes.numAttentionHeads
      const parallel = raw.boolean('parallel_attn', true) || grouped
      const norms = raw.integer('num_ln_in_parallel_attn', grouped ? 2 : 1)
      const bias = raw.boolean('bias', false)
      raw.requireValue('alibi', false, 'positions are rotations')
      return decoderConfig({
        ...sizes,
        numKeyValueHeads,
        norm: readLayerNorm(raw, 'layer_norm_epsilon'),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, sizes)],
        mlp: { gated: false, activation: readActivation(raw, 'activation', 'gelu'), bias },
        residual: { parallel, before: parallel && norms === 1 ? 'shared' : 'own' },
      })
    },

    gguf: {
      architectures: ['falcon'],
      config: (get, _, has) => {
        const { num_key_value_heads, intermediate_size, ...sizes } = ggufSizes(get)
        return {
          model_type: 'falcon',
          ...sizes,
          ...ggufRotary(get),
          num_kv_heads: num_key_value_heads,
          new_decoder_architecture: num_key_value_heads !== 1,
          num_ln_in_parallel_attn: has('blk.0.attn_norm_2.weight') ? 2 : 1,
          ffn_hidden_size: intermediate_size,
          layer_norm_epsilon: get('attention.layer_norm_epsilon'),
        }
      },
      naming: (_, { residual }) => ({
        queryKeyValue: 'attn_qkv',
        ...(residual.before === 'own' ? { attentionNorm: 'attn_norm_2', mlpNorm: 'attn_norm' } : {}),
      }),
    },
  }),
)
