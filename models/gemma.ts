import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readGemmaActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Gemma 1: embeddings times the root of the width, norms that multiply by `1 + weight`, gated GELU. */
export const gemma = decoderFamily({
  name: 'gemma',
  modelTypes: ['gemma'],
  naming: () => ({ ...llamaNaming, layout: { normAdded: 1 } }),
  attentionModule: layer => `model.layers.${layer}.self_attn`,

  parseConfig(raw) {
    const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 8192 })
    const bias = raw.boolean('attention_bias', false)
    raw.only('use_bidirectional_attention', false, 'a row sees those before it')
    return decoderConfig({
      ...sizes,
      embeddingMultiplier: Math.fround(Math.sqrt(sizes.hiddenSize)),
      norm: readRmsNorm(raw),
      attention: { queryKeyValueBias: bias, outputBias: bias },
      rotaries: [readRotary(raw, sizes)],
      mlp: { gated: true, activation: readGemmaActivation(raw), bias: false },
    })
  },

  gguf: {
    architectures: ['gemma'],
    config: get => ({
      model_type: 'gemma',
      ...ggufSizes(get),
      ...ggufRotary(get),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
    }),
  },
})
