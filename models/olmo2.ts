import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** OLMo 2: norms behind attention and MLP alone, queries and keys normalised over all heads at once. */
export const olmo2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'olmo2',
    modelTypes: ['olmo2'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
      const bias = raw.boolean('attention_bias', false)
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw, 'rms_norm_eps', 1e-5),
        attention: { queryKeyValueBias: bias, outputBias: bias, queryKeyNorm: 'all' },
        rotaries: [readRotary(raw, sizes)],
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
        residual: { before: 'none', after: true },
      })
    },

    gguf: {
      architectures: ['olmo2'],
      config: get => ({
        model_type: 'olmo2',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      }),
    },
  }),
)
