import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { ggufRotary, ggufSizes } from './blocks/gguf-keys.js'
import { float32 } from './blocks/gguf-values.js'
import { readActivation } from './blocks/mlp.js'
import { readRmsNorm } from './blocks/norm.js'
import { readRotary } from './blocks/rotary.js'
import { llamaNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

/** Granite: Llama with multipliers of embeddings, scores, what layers add, and logits. */
export const granite = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'granite',
    modelTypes: ['granite'],
    naming: () => llamaNaming,
    scalesInputs: true,
    attentionModule: layer => `model.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(raw, { tied: false, maxPositionEmbeddings: 2048 })
      const bias = raw.boolean('attention_bias', false)
      const multiplier = (name: string) => raw.number(name, 1, { above: 0, most: 1e6 })
      return decoderConfig({
        ...sizes,
        embeddingMultiplier: multiplier('embedding_multiplier'),
        norm: readRmsNorm(raw),
        attention: { queryKeyValueBias: bias, outputBias: bias, scale: multiplier('attention_multiplier') },
        rotaries: [readRotary(raw, sizes)],
        mlp: { gated: true, activation: readActivation(raw, 'hidden_act', 'silu'), bias: raw.boolean('mlp_bias', false) },
        residual: { multiplier: multiplier('residual_multiplier') },
        logits: { multiplier: 1 / multiplier('logits_scaling') },
      })
    },

    gguf: {
      architectures: ['granite'],
      config: get => ({
        model_type: 'granite',
        ...ggufSizes(get),
        ...ggufRotary(get),
        rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
        attention_multiplier: get('attention.scale'),
        embedding_multiplier: get('embedding_scale'),
        residual_multiplier: get('residual_scale'),
        logits_scaling: get('logit_scale'),
      }),
      naming: () => ({ layout: { permuted: true } }),
      // Logits are divided by it.
      values: ({ logits }) => ({ logit_scale: float32(1 / logits.multiplier) }),
    },
  }),
)
