import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Qwen 3, dense: heads of a size of their own, queries and keys normalised head by head. */
export const qwen3 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'qwen3',
    modelTypes: ['qwen3'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, headDim: 128, maxPositionEmbeddings: 32768 })
      const window = readWindow(raw, { enabled: raw.boolean('use_sliding_window', false) })
      const first = raw.integer('max_window_layers', 28, 0)
      const bias = raw.boolean('attention_bias', false)
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: bias, outputBias: bias, queryKeyNorm: 'head' },
        rotaries: [readRotary(raw, sizes)],
        layers: windowedLayers(raw, sizes, window, layer => layer >= first),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
      })
    },

    gguf: {
      architectures: ['qwen3'],
      config: get => ({
        model_type: 'qwen3',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      }),
    },
  }),
)
