import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import type { DecoderNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

const naming: DecoderNaming = {
  embedding: 'embed_in',
  layers: 'layers',
  attentionNorm: 'input_layernorm',
  queryKeyValue: 'attention.query_key_value',
  attentionOutput: 'attention.dense',
  mlpNorm: 'post_attention_layernorm',
  gateUp: 'mlp.dense_h_to_4h',
  down: 'mlp.dense_4h_to_h',
  norm: 'final_layer_norm',
  head: 'embed_out',
  layout: { byKeyHead: true },
}

/** GPT-NeoX and Pythia: attention and MLP beside one another, each with a layer norm of its own; heads turn in part. */
export const gptNeox = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'gpt_neox',
    modelTypes: ['gpt_neox'],
    naming: () => naming,
    ignored: /\.attention\.(bias|masked_bias)$/,
    attentionModule: layer => `gpt_neox.layers.${layer}.attention`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 }, { numKeyValueHeads: [] })
      const bias = raw.boolean('attention_bias', true)
      return decoderConfig({
        ...sizes,
        norm: readLayerNorm(raw, 'layer_norm_eps'),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, { ...sizes, defaultPart: 0.25, partName: 'rotary_pct', baseName: 'rotary_emb_base' })],
        mlp: { gated: false, activation: readActivation(raw, 'hidden_act', 'gelu'), bias: true },
        residual: { parallel: raw.boolean('use_parallel_residual', true) },
      })
    },

    gguf: {
      architectures: ['gptneox'],
      config: get => {
        const { rope_theta, partial_rotary_factor, ...scaling } = ggufRotary(get)
        return {
          model_type: 'gpt_neox',
          ...ggufSizes(get),
          ...scaling,
          rotary_emb_base: rope_theta,
          rotary_pct: partial_rotary_factor,
          layer_norm_eps: get('attention.layer_norm_epsilon'),
          use_parallel_residual: get('use_parallel_residual'),
        }
      },
      naming: () => ({ queryKeyValue: 'attn_qkv', gateUp: 'ffn_up' }),
    },
  }),
)
