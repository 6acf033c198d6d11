import { describe, expect, test } from 'vitest'
import { ConfigReader } from '../../models/blocks/config-reader.js'
import { findFamily } from '../../models/index.js'

const read = (raw: Record<string, unknown>) => {
  const reader = new ConfigReader(raw, 'config.json')
  const config = findFamily('modelType', String(raw.model_type), 'config.json').parseConfig(reader)
  reader.requireAllRead()
  return config
}

const common = {
  architectures: ['ForCausalLM'],
  attention_dropout: 0,
  bos_token_id: 1,
  eos_token_id: [2, 3],
  initializer_range: 0.02,
  torch_dtype: 'bfloat16',
  transformers_version: '4.44.0',
  use_cache: true,
}
const sizes = {
  vocab_size: 1000,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 12,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 4096,
}

/** The keys of well-known checkpoints, as they were published. */
const PUBLISHED: Record<string, Record<string, unknown>> = {
  'Llama 3.2': {
    ...sizes,
    model_type: 'llama',
    attention_bias: false,
    head_dim: 16,
    hidden_act: 'silu',
    mlp_bias: false,
    pretraining_tp: 1,
    rms_norm_eps: 1e-5,
    rope_scaling: {
      factor: 32.0,
      high_freq_factor: 4.0,
      low_freq_factor: 1.0,
      original_max_position_embeddings: 8192,
      rope_type: 'llama3',
    },
    rope_theta: 500000.0,
    tie_word_embeddings: true,
  },
  'SmolLM 2': {
    ...sizes,
    model_type: 'llama',
    hidden_act: 'silu',
    is_llama_config: true,
    pretraining_tp: 1,
    rms_norm_eps: 1e-5,
    rope_interleaved: false,
    rope_scaling: null,
    rope_theta: 100000,
    tie_word_embeddings: true,
    'transformers.js_config': { kv_cache_dtype: { fp16: 'float16' } },
  },
  'Qwen 2.5': {
    ...sizes,
    model_type: 'qwen2',
    hidden_act: 'silu',
    max_window_layers: 21,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000.0,
    sliding_window: 32768,
    tie_word_embeddings: true,
    use_mrope: false,
    use_sliding_window: false,
  },
  'Gemma 1': {
    ...sizes,
    model_type: 'gemma',
    head_dim: 16,
    hidden_act: 'gelu',
    hidden_activation: null,
    rms_norm_eps: 1e-6,
    rope_theta: 1e4,
  },
  'Gemma 2': {
    ...sizes,
    model_type: 'gemma2',
    attn_logit_softcapping: 50.0,
    cache_implementation: 'hybrid',
    final_logit_softcapping: 30.0,
    head_dim: 16,
    hidden_act: 'gelu_pytorch_tanh',
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000.0,
    sliding_window: 4096,
  },
  'Phi 4 mini': {
    ...sizes,
    model_type: 'phi3',
    attention_bias: false,
    auto_map: { AutoConfig: 'configuration_phi3.Phi3Config' },
    embd_pdrop: 0.0,
    full_attn_mod: 1,
    hidden_act: 'silu',
    interpolate_factor: 1,
    lm_head_bias: false,
    max_position_embeddings: 131072,
    mlp_bias: false,
    original_max_position_embeddings: 4096,
    partial_rotary_factor: 0.75,
    resid_pdrop: 0.0,
    rms_norm_eps: 1e-5,
    rope_scaling: { long_factor: Array(6).fill(2), short_factor: Array(6).fill(1), type: 'longrope' },
    rope_theta: 10000.0,
    sliding_window: 262144,
    tie_word_embeddings: true,
  },
  'SmolLM 3': {
    ...sizes,
    model_type: 'smollm3',
    hidden_act: 'silu',
    max_window_layers: 28,
    mlp_bias: false,
    no_rope_layer_interval: 4,
    no_rope_layers: [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0],
    pretraining_tp: 2,
    rms_norm_eps: 1e-6,
    rope_scaling: null,
    rope_theta: 5000000.0,
    sliding_window: null,
    use_sliding_window: false,
  },
  Pythia: {
    ...sizes,
    num_key_value_heads: undefined,
    model_type: 'gpt_neox',
    hidden_act: 'gelu',
    layer_norm_eps: 1e-5,
    rotary_emb_base: 10000,
    rotary_pct: 0.25,
    tie_word_embeddings: false,
    use_parallel_residual: true,
  },
  'StarCoder 2': {
    ...sizes,
    model_type: 'starcoder2',
    activation_function: 'gelu',
    attention_softmax_in_fp32: true,
    embedding_dropout: 0.1,
    hidden_act: 'gelu_pytorch_tanh',
    mlp_type: 'default',
    norm_epsilon: 1e-5,
    norm_type: 'layer_norm',
    residual_dropout: 0.1,
    rope_theta: 999999.4420358813,
    scale_attention_softmax_in_fp32: true,
    scale_attn_weights: true,
    sliding_window: 4096,
    use_bias: true,
  },
}

test.each(Object.entries(PUBLISHED))('%s is read as it was published', (_, keys) => {
  expect(read({ ...common, ...keys }).numLayers).toBe(12)
})

describe('the layout of transformers 4 reads as that of 5', () => {
  const gemma3 = { ...common, ...sizes, model_type: 'gemma3_text', head_dim: 16, sliding_window: 512, rms_norm_eps: 1e-6 }
  const phi3 = { ...common, ...sizes, model_type: 'phi3', rms_norm_eps: 1e-5, original_max_position_embeddings: 2048 }
  const factors = { long_factor: Array(6).fill(2), short_factor: Array(6).fill(1.5) }
  const stablelm = { ...common, ...sizes, model_type: 'stablelm', layer_norm_eps: 1e-5 }
  test.each([
    [
      'two bases',
      {
        ...gemma3,
        rope_theta: 1e6,
        rope_local_base_freq: 1e4,
        rope_scaling: { rope_type: 'linear', factor: 8 },
        sliding_window_pattern: 6,
      },
      {
        ...gemma3,
        layer_types: Array.from({ length: 12 }, (_, layer) => ((layer + 1) % 6 ? 'sliding_attention' : 'full_attention')),
        rope_parameters: {
          full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
          sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
        },
      },
    ],
    [
      'LongRoPE',
      { ...phi3, partial_rotary_factor: 0.75, rope_theta: 1e4, rope_scaling: { type: 'su', ...factors } },
      { ...phi3, rope_parameters: { rope_type: 'longrope', rope_theta: 1e4, partial_rotary_factor: 0.75, ...factors } },
    ],
    [
      'heads that turn in part',
      { ...stablelm, partial_rotary_factor: 0.5, rope_theta: 5e4, rope_scaling: null },
      { ...stablelm, rope_parameters: { rope_type: 'default', rope_theta: 5e4, partial_rotary_factor: 0.5 } },
    ],
  ])('%s', (_, before, now) => {
    const config = read(before)
    expect(config).toEqual(read(now))
    expect(config.maxPositionEmbeddings).toBe(before.model_type === 'phi3' ? 2048 : 4096)
  })
})
