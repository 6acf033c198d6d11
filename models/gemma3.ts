import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readGemmaActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { type ReadRotaryOptions, type RotaryConfig, readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import type { ConfigReader } from './config-reader.js'
import { decoderFamily } from './decoder.js'
import { gemmaScale } from './gemma2.js'

/** Rotations of the layers that see all, and of those that see a window. */
const [FULL, SLIDING] = [0, 1]

/** Gemma 3, text: as Gemma 2, with normalised queries and keys, and two bases of rotation; five layers of six see a window. */
export const gemma3 = decoderFamily({
  name: 'gemma3',
  modelTypes: ['gemma3_text'],
  naming: () => ({ ...llamaNaming, mlpNorm: 'pre_feedforward_layernorm', layout: { normAdded: 1 } }),
  attentionModule: layer => `model.layers.${layer}.self_attn`,

  parseConfig(raw) {
    const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 131072 })
    const bias = raw.boolean('attention_bias', false)
    raw.only('use_bidirectional_attention', false, 'a row sees those before it')
    const cap = (name: string) => (raw.has(name) ? raw.number(name, undefined, { above: 0 }) : 0)
    const pattern = raw.integer(['sliding_window_pattern', '_sliding_window_pattern'], 6)
    return decoderConfig({
      ...sizes,
      embeddingMultiplier: Math.fround(Math.sqrt(sizes.hiddenSize)),
      norm: readRmsNorm(raw),
      attention: {
        queryKeyValueBias: bias,
        outputBias: bias,
        queryKeyNorm: 'head',
        scale: raw.number('query_pre_attn_scalar', 256, { above: 0 }) ** -0.5,
        softCap: cap('attn_logit_softcapping'),
      },
      rotaries: readRotaries(raw, sizes),
      layers: windowedLayers(
        raw,
        sizes,
        readWindow(raw, { fallback: 4096 }),
        layer => (layer + 1) % pattern !== 0,
        slides => (slides ? SLIDING : FULL)!,
      ),
      mlp: { gated: true, activation: readGemmaActivation(raw), bias: false },
      residual: { after: true },
      logits: { softCap: cap('final_logit_softcapping') },
    })
  },

  gguf: {
    architectures: ['gemma3'],
    config: get => ({
      model_type: 'gemma3_text',
      ...ggufSizes(get),
      ...ggufRotary(get),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      sliding_window: get('attention.sliding_window'),
      sliding_window_pattern: get('attention.sliding_window_pattern'),
      rope_local_base_freq: get('rope.freq_base_swa'),
      final_logit_softcapping: get('final_logit_softcapping'),
      query_pre_attn_scalar: gemmaScale(get, 62),
    }),
  },
})

/** By kind of layer in `rope_parameters` (transformers 5); before, the windows' base had a key of its own and was not scaled. */
function readRotaries(raw: ConfigReader, sizes: Pick<ReadRotaryOptions, 'headDim' | 'maxPositionEmbeddings'>): RotaryConfig[] {
  const nested = raw.object('rope_parameters')
  const [full, sliding] = [nested?.object('full_attention'), nested?.object('sliding_attention')]
  const ofAll = { ...sizes, defaultBase: 1e6 }
  const ofWindows = { ...sizes, defaultBase: 1e4 }
  if (full && sliding) return [readRotary(raw, ofAll, full), readRotary(raw, ofWindows, sliding)]
  return [readRotary(raw, ofAll), readRotary(raw, { ...ofWindows, baseName: 'rope_local_base_freq' }, null)]
}
