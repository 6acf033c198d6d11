import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Qwen 2 and 2.5: biases of queries, keys and values alone; the later layers may see a window. */
export const qwen2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'qwen2',
    modelTypes: ['qwen2'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 32768 })
      const window = readWindow(raw, { enabled: raw.boolean('use_sliding_window', false) })
      const first = raw.integer('max_window_layers', 28, 0)
      raw.requireValue('use_mrope', false, 'positions are numbers of one axis')
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: true },
        rotaries: [readRotary(raw, sizes)],
        layers: windowedLayers(raw, sizes, window, layer => layer >= first),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
      })
    },

    gguf: {
      architectures: ['qwen2'],
      config: get => ({
        model_type: 'qwen2',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      }),
    },
  }),
)
