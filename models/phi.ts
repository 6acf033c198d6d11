import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Phi 1, 1.5 and 2: attention and MLP take the same normalised rows; biases throughout, the head's too; heads turn in part. */
export const phi = decoderFamily({
  name: 'phi',
  modelTypes: ['phi'],
  naming: () => ({
    ...llamaNaming,
    attentionOutput: 'self_attn.dense',
    gateUp: ['', 'mlp.fc1'],
    down: 'mlp.fc2',
    norm: 'final_layernorm',
  }),
  attentionModule: layer => `model.layers.${layer}.self_attn`,

  parseConfig(raw) {
    const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
    raw.only('qk_layernorm', false, 'norms of single heads are not known')
    return decoderConfig({
      ...sizes,
      norm: readLayerNorm(raw, 'layer_norm_eps'),
      attention: { queryKeyValueBias: true, outputBias: true },
      rotaries: [readRotary(raw, { ...sizes, defaultPart: 0.5 })],
      mlp: { gated: false, activation: readActivation(raw, 'hidden_act', 'gelu_new'), bias: true },
      residual: { parallel: true, before: 'shared' },
      logits: { bias: true },
    })
  },

  gguf: {
    architectures: ['phi2'],
    config: get => ({
      model_type: 'phi',
      ...ggufSizes(get),
      ...ggufRotary(get),
      layer_norm_eps: get('attention.layer_norm_epsilon'),
    }),
  },
})
