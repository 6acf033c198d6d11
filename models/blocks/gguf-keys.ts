/** Metadata keys that most architectures of GGUF have, as the keys of config.json that they stand for. */
type Get = (key: string) => unknown

/** Sizes. */
export const ggufSizes = (get: Get): Record<string, unknown> => ({
  vocab_size: get('vocab_size'),
  hidden_size: get('embedding_length'),
  num_hidden_layers: get('block_count'),
  intermediate_size: get('feed_forward_length'),
  num_attention_heads: get('attention.head_count'),
  num_key_value_heads: get('attention.head_count_kv'),
  head_dim: get('attention.key_length'),
  v_head_dim: get('attention.value_length'),
  max_position_embeddings: get('context_length'),
})

/** Rotation: base, dimensions that turn, scaling. `attn_factor` is llama.cpp's, on top of YaRN's own growth. */
export function ggufRotary(get: Get): Record<string, unknown> {
  const legacy = get('rope.scale_linear')
  const type = get('rope.scaling.type') ?? (legacy === undefined || legacy === 1 ? 'none' : 'linear')
  const factor = get('rope.scaling.factor') ?? legacy
  const own = get('rope.scaling.attn_factor')
  const yarn = {
    beta_fast: get('rope.scaling.yarn_beta_fast'),
    beta_slow: get('rope.scaling.yarn_beta_slow'),
    ...(typeof own === 'number' && own !== 1 && typeof factor === 'number'
      ? { attention_factor: own * (0.1 * Math.log(factor) + 1) }
      : {}),
  }
  const scaling = {
    rope_type: type === 'none' ? undefined : type,
    factor,
    original_max_position_embeddings: get('rope.scaling.original_context_length'),
    ...(type === 'yarn' ? yarn : { attention_factor: own }),
  }
  return {
    rope_theta: get('rope.freq_base'),
    partial_rotary_factor: rotaryPart(get),
    rope_parameters: scaling,
  }
}

/** The part of a head that turns. */
function rotaryPart(get: Get): number | undefined {
  const [turned, key, width, heads] = [
    'rope.dimension_count',
    'attention.key_length',
    'embedding_length',
    'attention.head_count',
  ].map(name => Number(get(name) ?? Number.NaN)) as [number, number, number, number]
  const size = Number.isNaN(key) ? width / heads : key
  return turned > 0 && size > 0 ? turned / size : undefined
}
