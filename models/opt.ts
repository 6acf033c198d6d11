import { declareCode } from '../src/code-identity.js'
import { decoderConfig, readSizes } from './blocks/config.js'
import { readActivation } from './blocks/mlp.js'
import type { DecoderNaming } from './blocks/weights.js'
import { decoderFamily } from './decoder.js'

const naming: DecoderNaming = {
  embedding: 'decoder.embed_tokens',
  positions: 'decoder.embed_positions',
  layers: 'decoder.layers',
  attentionNorm: 'self_attn_layer_norm',
  queryKeyValue: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  attentionOutput: 'self_attn.out_proj',
  mlpNorm: 'final_layer_norm',
  gateUp: 'fc1',
  down: 'fc2',
  norm: 'decoder.final_layer_norm',
  head: 'lm_head',
}

/** OPT: learned positions (the first two rows of their table are nobody's), layer norms, ReLU. The 350M model is another. */
export const opt = declareCode(
  import.meta.url,
  decoderFamily({
    name: 'opt',
    modelTypes: ['opt'],
    naming: () => naming,
    attentionModule: layer => `model.decoder.layers.${layer}.self_attn`,

    parseConfig(raw) {
      const sizes = readSizes(
        raw,
        { tied: true, maxPositionEmbeddings: 2048 },
        { numKeyValueHeads: [], intermediateSize: ['ffn_dim'] },
      )
      const bias = raw.boolean('enable_bias', true)
      raw.requireValue('do_layer_norm_before', true, 'norms stand before attention and MLP')
      raw.requireValue('_remove_final_layer_norm', false, 'the last norm is needed')
      raw.requireValue('layer_norm_elementwise_affine', true, 'norms have weights')
      raw.requireValue('word_embed_proj_dim', sizes.hiddenSize, 'embeddings are as wide as the layers')
      return decoderConfig({
        ...sizes,
        norm: { kind: 'layer', epsilon: 1e-5, bias: true },
        positions: { offset: 2 },
        attention: { queryKeyValueBias: bias, outputBias: bias },
        mlp: { gated: false, activation: readActivation(raw, 'activation_function', 'relu'), bias },
      })
    },
  }),
)
