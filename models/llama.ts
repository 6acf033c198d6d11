import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Llama 1-3, SmolLM, Mistral (all layers see a window) and Ministral (some do). */
export const llama = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'llama',
    modelTypes: ['llama', 'mistral', 'ministral'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
      const bias = raw.boolean('attention_bias', false)
      const window = readWindow(raw, { fallback: raw.raw.model_type === 'llama' ? 0 : 4096 })
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, sizes)],
        layers: windowedLayers(raw, sizes, window, () => true),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: raw.boolean('mlp_bias', false) },
      })
    },

    gguf: {
      architectures: ['llama'],
      config: get => ({
        model_type: 'llama',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
        sliding_window: get('attention.sliding_window'),
      }),
      // llama.cpp turns neighbouring pairs here, so its converter permutes the rows of queries and keys.
      naming: () => ({ layout: { permuted: true } }),
    },
  }),
)
