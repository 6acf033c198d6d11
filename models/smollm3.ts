import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

const isFlag = (value: unknown): value is 0 | 1 => value === 0 || value === 1

/** SmolLM 3: as Llama, but every fourth layer does not turn (NoPE). */
export const smollm3 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'smollm3',
    modelTypes: ['smollm3'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, maxPositionEmbeddings: 32768 })
      const interval = raw.integer('no_rope_layer_interval', 4)
      const turns = raw.list('no_rope_layers', sizes.numLayers, isFlag, '0 (no rotation) or 1')
      const hasRotary = (layer: number) => (turns ? turns[layer] === 1 : (layer + 1) % interval !== 0)
      const window = readWindow(raw, { enabled: raw.boolean('use_sliding_window', false) })
      raw.ignore('max_window_layers')
      const bias = raw.boolean('attention_bias', false)
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, { ...sizes, defaultBase: 2e6 })],
        layers: windowedLayers(
          raw,
          sizes,
          window,
          layer => !hasRotary(layer),
          (_, layer) => (hasRotary(layer) ? 0 : -1),
        ),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: raw.boolean('mlp_bias', false) },
      })
    },

    gguf: {
      architectures: ['smollm3'],
      config: get => ({
        model_type: 'smollm3',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      }),
      naming: () => ({ layout: { permuted: true } }),
    },
  }),
)
