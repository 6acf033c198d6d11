import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigReader } from '../../models/blocks/config-reader.js'
import { findFamily } from '../../models/index.js'
import { unknownName } from '../../src/errors.js'
import { encodeBfloat16 } from '../../src/formats/blocks/half.js'
import { type TensorStream, writeShards } from '../../src/formats/safetensors-writer.js'
import { elementCount } from '../../src/numbers.js'
import { cacheFolder } from '../../src/program/cache.js'

/** Models of random weights in the shapes of published ones, so that speed is measured without a download. What they say means nothing. */

const llama = { model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_act: 'silu', rms_norm_eps: 1e-5 }
const ends = { bos_token_id: 0, eos_token_id: 0, torch_dtype: 'bfloat16' }

export const shapes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  tiny: {
    ...{ ...llama, ...ends, vocab_size: 512, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 1024, tie_word_embeddings: true },
  },
  'smollm2-135m': {
    ...{ ...llama, ...ends, vocab_size: 49_152, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30 },
    ...{ num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 8192, tie_word_embeddings: true },
    rope_theta: 100_000,
  },
  'llama-3.2-1b': {
    ...{ ...llama, ...ends, vocab_size: 128_256, hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 16 },
    ...{ num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 8192, tie_word_embeddings: true },
    ...{ head_dim: 64, rope_theta: 500_000 },
  },
  'llama-3.2-3b': {
    ...{ ...llama, ...ends, vocab_size: 128_256, hidden_size: 3072, intermediate_size: 8192, num_hidden_layers: 28 },
    ...{ num_attention_heads: 24, num_key_value_heads: 8, max_position_embeddings: 8192, tie_word_embeddings: true },
    ...{ head_dim: 128, rope_theta: 500_000 },
  },
  'qwen2.5-7b': {
    ...{ ...ends, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'], hidden_act: 'silu', rms_norm_eps: 1e-6 },
    ...{ vocab_size: 152_064, hidden_size: 3584, intermediate_size: 18_944, num_hidden_layers: 28, num_attention_heads: 28 },
    ...{ num_key_value_heads: 4, max_position_embeddings: 8192, tie_word_embeddings: false, rope_theta: 1_000_000 },
  },
}

/** Bytes of random numbers, repeated: what products take does not depend on them. */
const BLOCK = 2 ** 21

/**
 * The folder of a shape's model, written once into the cache: `config.json`, bfloat16 weights and a tokenizer of as many words.
 * @throws GradpromptError `invalid-option`, `unwritable-file`
 */
export async function shapeFolder(name: string): Promise<string> {
  const config = shapes[name]
  if (config === undefined) throw unknownName('invalid-option', '--shapes is not valid', name, Object.keys(shapes))
  const folder = join(cacheFolder(), 'bench', `shape-${name}`)
  if (await stat(folder).catch(() => undefined)) return folder
  const part = `${folder}.part`
  await rm(part, { recursive: true, force: true })
  await mkdir(part, { recursive: true })
  const family = findFamily('modelType', config.model_type as string, name)
  const parts = family.weights(family.parseConfig(new ConfigReader(config, name))).flatMap(weight => weight.parts)
  const random = blockOf(0, 0.02)
  const near1 = blockOf(1, 0.02)
  const tensors = parts.map(({ source, shape }): TensorStream => {
    const byteLength = 2 * elementCount(shape)
    return {
      name: source.startsWith('lm_head') ? source : `model.${source}`,
      dtype: 'BF16',
      shape,
      byteLength,
      pieces: () => repeated(shape.length === 1 && source.endsWith('weight') ? near1 : random, byteLength),
    }
  })
  await writeShards(part, tensors)
  await writeFile(join(part, 'config.json'), JSON.stringify(config))
  const byteLevel = { type: 'ByteLevel' }
  const vocab = Object.fromEntries(Array.from({ length: config.vocab_size as number }, (_, id) => [`t${id}`, id]))
  await writeFile(
    join(part, 'tokenizer.json'),
    JSON.stringify({ model: { type: 'BPE', vocab, merges: [] }, pre_tokenizer: byteLevel, decoder: byteLevel, added_tokens: [] }),
  )
  await rename(part, folder)
  return folder
}

function blockOf(middle: number, spread: number): Uint8Array {
  const values = Float32Array.from(
    { length: BLOCK / 2 },
    (_, i) => middle + spread * 2 * (((i + 1) * 0.618_033_988_749_895) % 1) - spread,
  )
  const halves = new Uint16Array(values.length)
  encodeBfloat16(values, halves)
  return new Uint8Array(halves.buffer)
}

async function* repeated(block: Uint8Array, byteLength: number): AsyncGenerator<Uint8Array> {
  for (let left = byteLength; left > 0; left -= block.length) yield block.subarray(0, Math.min(block.length, left))
}
