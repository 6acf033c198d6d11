import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeSafetensors } from '../../../src/formats/safetensors.js'
import { randomGenerator } from '../../../src/random.js'
import { normals } from '../../../src/search/space/candidates.js'

/**
 * A model whose best prompt is known. One layer attends to all tokens alike and adds up their embeddings; the answer's logit is how far the
 * sum, at unit length, points along w. The four best tokens are orthogonal to each other and lie at 60 degrees to w, which is along their
 * sum; all others lie at 72 degrees or more. So no prompt of four tokens is better than those four, in any order, and one of them four times
 * over is worse.
 */

const WIDTH = 32
const BEST = 4
const WORDS = 4000
/** The words of the best prompt, in the order of their characters. */
export const bestWords = Array.from({ length: BEST }, (_, i) => word(17 + 900 * i))

/** Words are one character each, so that no two of them ever merge. */
function word(i: number): string {
  return String.fromCodePoint(0x4e00 + i)
}

const characters = ['<s>', '?', '!', ...'abcdefghijklmnopqrstuvwxyz']
const vocabulary = [...characters, ...Array.from({ length: WORDS }, (_, i) => word(i))]

/** The length of w. */
const STEEPNESS = 3

/** The loss of the best prompt between so many other tokens: the answer's logit against those of all other tokens, which are 0. */
export function bestLoss(around: number): number {
  const count = BEST + around
  const along = (Math.sqrt(WIDTH) * Math.sqrt(BEST)) / count
  // The last token, which stands in the residual stream as it is, lies along the same axis as the others around the prompt.
  const across = (Math.sqrt(WIDTH) * around) / count + 1
  const logit = (STEEPNESS * Math.sqrt(WIDTH) * along) / Math.hypot(along, across)
  return Math.log1p((vocabulary.length - 1) * Math.exp(-logit))
}

/** The cosine of the angle between w and the other words, at most. */
const FURTHEST = 0.3

/** A word's embedding: of unit length, without a part along the last axis. */
function embeddingOf(token: string, noise: Float32Array): number[] {
  const best = bestWords.indexOf(token)
  if (best >= 0) return Array.from({ length: WIDTH }, (_, i) => (i === best ? 1 : 0))
  // What stands around a prompt lies along an axis of its own.
  if (characters.includes(token)) return Array.from({ length: WIDTH }, (_, i) => (i === WIDTH - 1 ? 1 : 0))
  const along = Array.from({ length: WIDTH }, (_, i) => (i < BEST ? 1 / Math.sqrt(BEST) : 0))
  const drawn = Array.from(noise, (x, i) => (i === WIDTH - 1 ? 0 : x))
  const dot = drawn.reduce((sum, x, i) => sum + x * along[i]!, 0)
  const across = drawn.map((x, i) => x - dot * along[i]!)
  const length = Math.hypot(...across)
  const share = Math.max(-FURTHEST, Math.min(FURTHEST, dot / Math.hypot(...drawn)))
  return across.map((x, i) => (Math.sqrt(1 - share ** 2) * x) / length + share * along[i]!)
}

/** Writes the model into a folder of `parent`, and returns its path. */
export async function knownModel(parent: string): Promise<string> {
  const folder = join(parent, 'known')
  mkdirSync(folder)
  const random = randomGenerator(8)
  const embeddings = vocabulary.map(token => embeddingOf(token, normals(WIDTH, random)))
  const zeros = (rows: number) => new Float32Array(rows * WIDTH)
  const ones = { shape: [WIDTH], data: new Float32Array(WIDTH).fill(1) }
  const square = (data = zeros(WIDTH)) => ({ shape: [WIDTH, WIDTH], data })
  const identity = square(Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => (i % (WIDTH + 1) === 0 ? 1 : 0)))
  const head = zeros(vocabulary.length)
  head.fill(STEEPNESS / Math.sqrt(BEST), vocabulary.indexOf('!') * WIDTH, vocabulary.indexOf('!') * WIDTH + BEST)
  const layer = 'model.layers.0'
  const tensors = {
    'model.embed_tokens.weight': { shape: [vocabulary.length, WIDTH], data: Float32Array.from(embeddings.flat()) },
    [`${layer}.input_layernorm.weight`]: ones,
    [`${layer}.self_attn.q_proj.weight`]: square(),
    [`${layer}.self_attn.k_proj.weight`]: square(),
    [`${layer}.self_attn.v_proj.weight`]: identity,
    [`${layer}.self_attn.o_proj.weight`]: identity,
    [`${layer}.post_attention_layernorm.weight`]: ones,
    [`${layer}.mlp.gate_proj.weight`]: square(),
    [`${layer}.mlp.up_proj.weight`]: square(),
    [`${layer}.mlp.down_proj.weight`]: square(),
    'model.norm.weight': ones,
    'lm_head.weight': { shape: [vocabulary.length, WIDTH], data: head },
  }
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    Object.entries(tensors).map(([name, tensor]) => ({ name, ...tensor })),
  )
  const write = (name: string, content: unknown) => writeFileSync(join(folder, name), JSON.stringify(content))
  write('config.json', {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', tie_word_embeddings: false },
    ...{ hidden_size: WIDTH, intermediate_size: WIDTH, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2 },
    ...{ head_dim: WIDTH / 2, max_position_embeddings: 64, rms_norm_eps: 1e-6, rope_theta: 10000, vocab_size: vocabulary.length },
    ...{ attention_bias: false, mlp_bias: false, bos_token_id: 0, eos_token_id: 0 },
  })
  write('tokenizer.json', {
    ...{ version: '1.0', truncation: null, padding: null, normalizer: null, pre_tokenizer: null, post_processor: null },
    added_tokens: [{ id: 0, content: '<s>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    decoder: { type: 'Fuse' },
    model: { type: 'BPE', vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])), merges: [] },
  })
  write('tokenizer_config.json', { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '<s>' })
  return folder
}
