import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** StableLM: layer norms, heads that turn in part; attention and MLP may take the same rows. */
export const stablelm = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'stablelm',
    modelTypes: ['stablelm'],
    naming: () => ({
      ...llamaNaming,
      queryNorm: 'self_attn.q_layernorm.norms',
      keyNorm: 'self_attn.k_layernorm.norms',
      layout: { headNormsApart: true },
    }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 4096 })
      const parallel = raw.boolean('use_parallel_residual', false)
      const queryKeyNorm = raw.boolean('qk_layernorm', false) ? 'each' : 'none'
      return decoderConfig({
        ...sizes,
        norm: readLayerNorm(raw, 'layer_norm_eps'),
        attention: { queryKeyValueBias: raw.boolean('use_qkv_bias', false), queryKeyNorm },
        rotaries: [readRotary(raw, { ...sizes, defaultPart: 0.25 })],
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
        residual: parallel ? { parallel, before: 'shared' } : {},
      })
    },

    gguf: {
      architectures: ['stablelm'],
      config: (get, _, has) => ({
        model_type: 'stablelm',
        ...ggufSizes(get),
        ...ggufRotary(get),
        layer_norm_eps: get('attention.layer_norm_epsilon'),
        qk_layernorm: has('blk.0.attn_q_norm.weight'),
        use_qkv_bias: has('blk.0.attn_q.bias'),
        // The converter writes the key without having been told.
        use_parallel_residual: get('use_parallel_residual') === true && !has('blk.0.ffn_norm.weight'),
      }),
    },
  }),
)
