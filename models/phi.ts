import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readActivation } from './blocks/mlp.js'
import { readLayerNorm, readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Phi 1, 1.5 and 2: attention and MLP take the same normalised rows; biases throughout, the head's too; heads turn in part. */
export const phi = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'phi',
    modelTypes: ['phi'],
    naming: () => ({
      ...llamaNaming,
      queryNorm: 'self_attn.q_layernorm',
      keyNorm: 'self_attn.k_layernorm',
      attentionOutput: 'self_attn.dense',
      gateUp: 'mlp.fc1',
      down: 'mlp.fc2',
      norm: 'final_layernorm',
    }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
      const queryKeyNorm = raw.boolean('qk_layernorm', false) ? 'head' : 'none'
      return decoderConfig({
        ...sizes,
        norm: readLayerNorm(raw, 'layer_norm_eps'),
        attention: { queryKeyValueBias: true, outputBias: true, queryKeyNorm },
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
  }),
)

/** Phi 3 and 4: queries, keys and values in one weight, gate and up in another; heads may turn in part, by LongRoPE. */
export const phi3 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'phi3',
    modelTypes: ['phi3'],
    naming: () => ({ ...llamaNaming, queryKeyValue: 'self_attn.qkv_proj', gateUp: 'mlp.gate_up_proj' }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 4096 })
      const bias = raw.boolean('attention_bias', false)
      raw.requireValue('mlp_bias', false, 'no bias is known there')
      raw.requireValue('lm_head_bias', false, 'no bias is known there')
      // Of the code that came with some of its checkpoints, at values that change nothing.
      raw.requireValue('full_attn_mod', 1, 'the config lists no other kinds of layers')
      raw.requireValue('interpolate_factor', 1, 'frequencies are scaled by rope_scaling alone')
      return decoderConfig({
        ...sizes,
        norm: readRmsNorm(raw, 'rms_norm_eps', 1e-5),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, sizes)],
        layers: windowedLayers(raw, sizes, readWindow(raw), () => true),
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: false },
      })
    },

    gguf: {
      architectures: ['phi3'],
      config: get => ({
        model_type: 'phi3',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
        sliding_window: get('attention.sliding_window'),
      }),
      naming: () => ({ queryKeyValue: 'attn_qkv', gateUp: 'ffn_up' }),
    },
  }),
)
