import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Cohere's Command R: attention and MLP take the same normalised rows, norms without bias, rotation of neighbouring pairs. */
export const cohere = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'cohere',
    modelTypes: ['cohere'],
    naming: () => ({ ...llamaNaming, layout: { permuted: true } }),
    pairedKeys: true,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, maxPositionEmbeddings: 8192 })
      const bias = raw.boolean('attention_bias', false)
      const queryKeyNorm = raw.boolean('use_qk_norm', false) ? 'each' : 'none'
      return decoderConfig({
        ...sizes,
        norm: { ...readLayerNorm(raw, 'layer_norm_eps'), bias: false },
        attention: { queryKeyValueBias: bias, outputBias: bias, queryKeyNorm },
        rotaries: [readRotary(raw, { ...sizes, defaultBase: 500_000 })],
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
        residual: { parallel: true, before: 'shared' },
        logits: { multiplier: raw.number('logit_scale', 0.0625, { above: 0, most: 1e6 }) },
      })
    },

    gguf: {
      architectures: ['command-r'],
      headless: true,
      config: (get, _, has) => ({
        model_type: 'cohere',
        ...ggufSizes(get),
        ...ggufRotary(get),
        layer_norm_eps: get('attention.layer_norm_epsilon'),
        logit_scale: get('logit_scale'),
        use_qk_norm: has('blk.0.attn_q_norm.weight'),
      }),
      naming: () => ({ layout: { permuted: true } }),
    },
  }),
)
