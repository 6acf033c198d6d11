import { declareCode } from '../src/code-identity.js'
import { type DecoderConfig, decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import type { ConfigReader } from './blocks/config-reader.js'
import type { ModelConfig } from './blocks/family.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Rotations of the layers that see all, and of those that see a window. */
const [FULL, SLIDING] = [0, 1]

/**
 * OLMo 2: norms behind attention and MLP alone, queries and keys normalised over all heads at once. In OLMo 3 three layers of four see a
 * window, and scaling is for the rotation of the others.
 */
export const olmo2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'olmo2',
    modelTypes: ['olmo2', 'olmo3'],
    naming: () => llamaNaming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
      const third = raw.raw.model_type === 'olmo3'
      const bias = raw.boolean('attention_bias', false)
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw, 'rms_norm_eps', 1e-5),
        attention: { queryKeyValueBias: bias, outputBias: bias, queryKeyNorm: 'all' },
        ...(third ? windowed(raw, sizes) : { rotaries: [readRotary(raw, sizes)] }),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
        residual: { before: 'none', after: true },
      })
    },

    gguf: {
      architectures: ['olmo2'],
      windows: true,
      config: get => {
        const window = get('attention.sliding_window')
        const slides = get('attention.sliding_window_pattern')
        return {
          model_type: window === undefined ? 'olmo2' : 'olmo3',
          ...ggufSizes(get),
          ...ggufRotary(get),
          rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
          sliding_window: window,
          layer_types: Array.isArray(slides) ? slides.map(own => (own ? 'sliding_attention' : 'full_attention')) : undefined,
        }
      },
    },
  }),
)

/** By kind of layer in `rope_parameters` (transformers 5); before, `rope_scaling` was that of the layers that see all. */
function windowed(raw: ConfigReader, sizes: ModelConfig): Pick<DecoderConfig, 'rotaries' | 'layers'> {
  const nested = raw.object('rope_parameters')
  const [full, sliding] = [nested?.object('full_attention'), nested?.object('sliding_attention')]
  const options = { ...sizes, defaultBase: 500_000 }
  const isFull = (layer: number) => (layer + 1) % 4 === 0
  const window = readWindow(raw, { fallback: 4096 })
  const rotary = (slides: boolean) => (slides ? SLIDING : FULL)!
  return {
    rotaries:
      full && sliding
        ? [readRotary(raw, options, full), readRotary(raw, options, sliding)]
        : [readRotary(raw, options), readRotary(raw, options, null)],
    layers: windowedLayers(raw, sizes, window, layer => !isFull(layer), rotary),
  }
}
