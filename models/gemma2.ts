import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readGemmaActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Gemma 2: as Gemma 1, with norms behind attention and MLP too, capped scores and logits, and every other layer a window. */
export const gemma2 = decoderFamily({
  name: 'gemma2',
  modelTypes: ['gemma2'],
  naming: () => ({ ...llamaNaming, mlpNorm: 'pre_feedforward_layernorm', layout: { normAdded: 1 } }),
  attentionModule: layer => `model.layers.${layer}.self_attn`,

  parseConfig(raw) {
    const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 8192 })
    const bias = raw.boolean('attention_bias', false)
    raw.only('use_bidirectional_attention', false, 'a row sees those before it')
    const cap = (name: string, fallback: number) => (raw.raw[name] === null ? 0 : raw.number(name, fallback, { above: 0 }))
    return decoderConfig({
      ...sizes,
      embeddingMultiplier: Math.fround(Math.sqrt(sizes.hiddenSize)),
      norm: readRmsNorm(raw),
      attention: {
        queryKeyValueBias: bias,
        outputBias: bias,
        scale: raw.number('query_pre_attn_scalar', 256, { above: 0 }) ** -0.5,
        softCap: cap('attn_logit_softcapping', 50),
      },
      rotaries: [readRotary(raw, sizes)],
      layers: windowedLayers(raw, sizes, readWindow(raw, { fallback: 4096 }), layer => layer % 2 === 0),
      mlp: { gated: true, activation: readGemmaActivation(raw), bias: false },
      residual: { after: true },
      logits: { softCap: cap('final_logit_softcapping', 30) },
    })
  },

  gguf: {
    architectures: ['gemma2'],
    config: get => ({
      model_type: 'gemma2',
      ...ggufSizes(get),
      ...ggufRotary(get),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      sliding_window: get('attention.sliding_window'),
      attn_logit_softcapping: get('attn_logit_softcapping'),
      final_logit_softcapping: get('final_logit_softcapping'),
      query_pre_attn_scalar: gemmaScale(get, 46),
    }),
  },
})

/**
 * What llama.cpp divides queries by the root of: the head size, but the width of a head's share in the largest model (27B), which its
 * number of layers tells.
 */
export function gemmaScale(get: (key: string) => unknown, largest: number): unknown {
  if (get('block_count') !== largest) return get('attention.key_length')
  return Number(get('embedding_length')) / Number(get('attention.head_count'))
}
