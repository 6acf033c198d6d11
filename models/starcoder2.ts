import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** StarCoder 2: layer norms, biases throughout, an MLP without a gate, a window. */
export const starcoder2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'starcoder2',
    modelTypes: ['starcoder2'],
    naming: () => ({ ...llamaNaming, gateUp: 'mlp.c_fc', down: 'mlp.c_proj' }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, maxPositionEmbeddings: 4096 })
      raw.requireValue('norm_type', 'layer_norm', 'no other norm is known')
      raw.requireValue('mlp_type', 'default', 'no other MLP is known')
      raw.requireValue('scale_attn_weights', true, 'scores are divided by the root of the head size')
      raw.ignore('activation_function', 'attention_softmax_in_fp32', 'scale_attention_softmax_in_fp32')
      const bias = raw.boolean('use_bias', true)
      return decoderConfig({
        ...sizes,
        norm: readLayerNorm(raw, 'norm_epsilon'),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, sizes)],
        layers: windowedLayers(raw, sizes, readWindow(raw), () => true),
        mlp: { gated: false, activation: readActivation(raw, 'hidden_act', 'gelu_pytorch_tanh'), bias },
      })
    },

    gguf: {
      architectures: ['starcoder2'],
      config: (get, _, has) => ({
        model_type: 'starcoder2',
        ...ggufSizes(get),
        ...ggufRotary(get),
        norm_epsilon: get('attention.layer_norm_epsilon'),
        use_bias: has('blk.0.attn_q.bias'),
      }),
    },
  }),
)
