import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { decoderFamily } from './decoder.js'

/** GPT-2: learned positions, layer norm, one biased projection for queries, keys and values, stored `[in, out]`. */
export const gpt2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'gpt2',
    modelTypes: ['gpt2'],
    naming: () => ({
      embedding: 'wte',
      positions: 'wpe',
      layers: 'h',
      attentionNorm: 'ln_1',
      queryKeyValue: 'attn.c_attn',
      attentionOutput: 'attn.c_proj',
      mlpNorm: 'ln_2',
      gateUp: 'mlp.c_fc',
      down: 'mlp.c_proj',
      norm: 'ln_f',
      head: 'lm_head',
      layout: { transposed: true },
    }),
    ignored: /\.attn\.(bias|masked_bias)$/,
    attentionModule: layer => `transformer.h.${layer}.attn`,
    besideOutput: true,

    parseConfig(raw) {
      const sizes = readSizes(
        raw,
        { tied: true, mlpRatio: 4 },
        {
          hiddenSize: ['n_embd', 'hidden_size'],
          numLayers: ['n_layer', 'num_hidden_layers'],
          numAttentionHeads: ['n_head', 'num_attention_heads'],
          numKeyValueHeads: [],
          intermediateSize: ['n_inner'],
          maxPositionEmbeddings: ['n_positions', 'max_position_embeddings'],
        },
      )
      raw.requireValue('scale_attn_weights', true, 'scores are divided by the root of the head size')
      raw.requireValue('scale_attn_by_inverse_layer_idx', false, 'no other scale is known')
      raw.requireValue('add_cross_attention', false, 'there is nothing to attend to')
      raw.ignore('reorder_and_upcast_attn')
      return decoderConfig({
        ...sizes,
        norm: readLayerNorm(raw, 'layer_norm_epsilon'),
        positions: { offset: 0 },
        attention: { queryKeyValueBias: true, outputBias: true },
        mlp: { gated: false, activation: readActivation(raw, 'activation_function', 'gelu_new'), bias: true },
      })
    },

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
      naming: () => ({ queryKeyValue: 'attn_qkv', gateUp: 'ffn_up' }),
    },
  }),
)
