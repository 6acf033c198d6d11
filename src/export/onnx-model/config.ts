import type { ModelConfig } from '../../../models/blocks/family.js'
import type { TokenizerParts } from '../../formats/gguf-tokenizer.js'
import { cacheName } from './graph.js'

/** What ONNX Runtime GenAI reads beside a model: `genai_config.json`. Which graph it goes with is known by the names of its inputs. */

/** Tokens that begin and end texts, as the configs of both tools spell them. */
export const specialTokens = ({ specialIds, endTokenIds }: TokenizerParts) => ({
  bos_token_id: specialIds.bos,
  eos_token_id: [...endTokenIds],
  pad_token_id: specialIds.pad ?? endTokenIds[0],
})

/**
 * @param fileName of the model, from the folder of the config
 * @param virtual tokens that the graph puts in front of a text: the text has so many fewer
 */
export function genaiConfig(config: ModelConfig, parts: TokenizerParts, fileName: string, virtual: number): object {
  const context = Math.max(1, config.maxPositionEmbeddings - virtual)
  return {
    model: {
      ...specialTokens(parts),
      bos_token_id: parts.specialIds.bos ?? parts.endTokenIds[0] ?? 0,
      pad_token_id: parts.specialIds.pad ?? parts.endTokenIds[0] ?? 0,
      context_length: context,
      decoder: {
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        filename: fileName,
        head_size: config.headDim,
        hidden_size: config.hiddenSize,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: cacheName('past_key_values', '%d', 'key'),
          past_value_names: cacheName('past_key_values', '%d', 'value'),
        },
        outputs: {
          logits: 'logits',
          present_key_names: cacheName('present', '%d', 'key'),
          present_value_names: cacheName('present', '%d', 'value'),
        },
        num_attention_heads: config.numAttentionHeads,
        num_hidden_layers: config.numLayers,
        num_key_value_heads: config.numKeyValueHeads,
      },
      type: 'decoder',
      vocab_size: config.vocabSize,
    },
    search: {
      do_sample: false,
      early_stopping: true,
      max_length: Math.min(context, 4096),
      min_length: 0,
      num_beams: 1,
      num_return_sequences: 1,
      past_present_share_buffer: false,
      repetition_penalty: 1,
      temperature: 1,
      top_k: 1,
      top_p: 1,
    },
  }
}
