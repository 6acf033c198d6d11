import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes, readWindow, windowedLayers } from './blocks/config.js'
import type { ConfigReader } from './blocks/config-reader.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { readGemmaActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { type ReadRotaryOptions, type RotaryConfig, readRotary } from './blocks/rotary.js'
import { type DecoderNaming, llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Norms multiply by `1 + weight`; GGUF stores the sum. */
const naming: DecoderNaming = { ...llamaNaming, layout: { normAdded: 1 } }

/** Gemma 1: embeddings times the root of the width, norms that multiply by `1 + weight`, gated GELU. */
export const gemma = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'gemma',
    modelTypes: ['gemma'],
    naming: () => naming,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 8192 })
      const bias = raw.boolean('attention_bias', false)
      raw.requireValue('use_bidirectional_attention', false, 'a row sees those before it')
      return decoderConfig({
        ...sizes,
        embeddingMultiplier: Math.fround(Math.sqrt(sizes.hiddenSize)),
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: bias, outputBias: bias },
        rotaries: [readRotary(raw, sizes)],
        mlp: { gated: true, activation: readGemmaActivation(raw), bias: false },
      })
    },

    gguf: {
      architectures: ['gemma'],
      headless: true,
      config: get => ({
        model_type: 'gemma',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      }),
    },
  }),
)

/** Gemma 2: as Gemma 1, with norms behind attention and MLP too, capped scores and logits, and every other layer a window. */
export const gemma2 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'gemma2',
    modelTypes: ['gemma2'],
    naming: () => ({ ...naming, mlpNorm: 'pre_feedforward_layernorm' }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 8192 })
      const bias = raw.boolean('attention_bias', false)
      raw.requireValue('use_bidirectional_attention', false, 'a row sees those before it')
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
      headless: true,
      windows: true,
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
  }),
)

/**
 * What llama.cpp divides queries by the root of: the head size, but the width of a head's share in the largest model (27B), which its
 * number of layers tells.
 */
function gemmaScale(get: (key: string) => unknown, largest: number): unknown {
  if (get('block_count') !== largest) return get('attention.key_length')
  return Number(get('embedding_length')) / Number(get('attention.head_count'))
}

/** Rotations of the layers that see all, and of those that see a window. */
const [FULL, SLIDING] = [0, 1]

/** Gemma 3, text: as Gemma 2, with normalised queries and keys, and two bases of rotation; five layers of six see a window. */
export const gemma3 = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'gemma3',
    modelTypes: ['gemma3_text'],
    naming: () => ({ ...naming, mlpNorm: 'pre_feedforward_layernorm' }),
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: true, headDim: 256, maxPositionEmbeddings: 131072 })
      const bias = raw.boolean('attention_bias', false)
      raw.requireValue('use_bidirectional_attention', false, 'a row sees those before it')
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
      windows: true,
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
  }),
)

/** By kind of layer in `rope_parameters` (transformers 5); before, the windows' base had a key of its own and was not scaled. */
function readRotaries(raw: ConfigReader, sizes: Pick<ReadRotaryOptions, 'headDim' | 'maxPositionEmbeddings'>): RotaryConfig[] {
  const nested = raw.object('rope_parameters')
  const [full, sliding] = [nested?.object('full_attention'), nested?.object('sliding_attention')]
  const ofAll = { ...sizes, defaultBase: 1e6 }
  const ofWindows = { ...sizes, defaultBase: 1e4 }
  if (full && sliding) return [readRotary(raw, ofAll, full), readRotary(raw, ofWindows, sliding)]
  return [readRotary(raw, ofAll), readRotary(raw, { ...ofWindows, baseName: 'rope_local_base_freq' }, null)]
}
