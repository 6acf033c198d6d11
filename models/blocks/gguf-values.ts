import type { DecoderConfig } from './config.js'
import { type RotaryConfig, rotaryFrequencies } from './rotary.js'

/**
 * A decoder's config as metadata of GGUF: the way back from `gguf-keys.ts`. Every key is here that some architecture has; which of them
 * a file gets is known to the function that reads such files: those that it asks for.
 */

/** A value of the metadata, in the type that llama.cpp reads it in. */
export type GgufScalar =
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'boolean'; readonly value: boolean }

/** What a config comes to in a file. */
export interface GgufForm {
  readonly architecture: string
  /** By their keys without the architecture. */
  readonly values: ReadonlyMap<string, GgufScalar>
  /** Tensors that belong to the config: divisors of frequencies. */
  readonly tensors: ReadonlyMap<string, Float32Array>
}

export const uint32 = (value: number): GgufScalar => ({ type: 'uint32', value })
export const float32 = (value: number): GgufScalar => ({ type: 'float32', value })

/** Of all keys that a config has a value for, that value. */
export function ggufValues(config: DecoderConfig): Map<string, GgufScalar> {
  const { attention, rotaries, layers, logits } = config
  const values = new Map<string, GgufScalar>([
    ['vocab_size', uint32(config.vocabSize)],
    ['context_length', uint32(config.maxPositionEmbeddings)],
    ['embedding_length', uint32(config.hiddenSize)],
    ['block_count', uint32(config.numLayers)],
    ['feed_forward_length', uint32(config.intermediateSize)],
    ['attention.head_count', uint32(config.numAttentionHeads)],
    ['attention.scale', float32(attention.scale)],
    [`attention.layer_norm${config.norm.kind === 'rms' ? '_rms' : ''}_epsilon`, float32(config.norm.epsilon)],
    ['use_parallel_residual', { type: 'boolean', value: config.residual.parallel }],
    ['embedding_scale', float32(config.embeddingMultiplier)],
    ['residual_scale', float32(config.residual.multiplier)],
    ['logit_scale', float32(logits.multiplier)],
  ])
  // As llama.cpp takes them where a file is silent; some architectures have no such keys.
  if (config.numKeyValueHeads !== config.numAttentionHeads) values.set('attention.head_count_kv', uint32(config.numKeyValueHeads))
  if (config.headDim * config.numAttentionHeads !== config.hiddenSize)
    for (const key of ['attention.key_length', 'attention.value_length']) values.set(key, uint32(config.headDim))
  const window = Math.max(0, ...layers.map(layer => layer.window))
  if (window > 0) values.set('attention.sliding_window', uint32(window))
  if (attention.softCap > 0) values.set('attn_logit_softcapping', float32(attention.softCap))
  if (logits.softCap > 0) values.set('final_logit_softcapping', float32(logits.softCap))
  const [rotary, ofWindows] = rotaries
  if (rotary) for (const [key, value] of rotaryValues(rotary)) values.set(key, value)
  if (ofWindows) values.set('rope.freq_base_swa', float32(ofWindows.base))
  return values
}

function rotaryValues({ dims, base, scaling }: RotaryConfig): [string, GgufScalar][] {
  const turned: [string, GgufScalar][] = [
    ['rope.dimension_count', uint32(dims)],
    ['rope.freq_base', float32(base)],
  ]
  if (scaling.type !== 'linear' && scaling.type !== 'yarn') return turned
  turned.push(['rope.scaling.type', { type: 'string', value: scaling.type }], ['rope.scaling.factor', float32(scaling.factor)])
  if (scaling.type === 'linear') return turned
  const grown = 0.1 * Math.log(scaling.factor) + 1
  turned.push(
    ['rope.scaling.original_context_length', uint32(scaling.originalMaxPositionEmbeddings)],
    ['rope.scaling.yarn_beta_fast', float32(scaling.fastRotations)],
    ['rope.scaling.yarn_beta_slow', float32(scaling.slowRotations)],
  )
  // llama.cpp multiplies by what YaRN grows attention by itself.
  if (Math.abs(scaling.attentionFactor / grown - 1) > 1e-6)
    turned.push(['rope.scaling.attn_factor', float32(scaling.attentionFactor / grown)])
  return turned
}

/** What llama.cpp's files have of frequencies that no number of the metadata states. */
export function rotaryTensors({ rotaries: [rotary] }: DecoderConfig): Map<string, Float32Array> {
  if (rotary?.scaling.type !== 'llama3' && rotary?.scaling.type !== 'divisors') return new Map()
  const plain = rotaryFrequencies({ ...rotary, scaling: { type: 'default' } })
  const scaled = rotaryFrequencies(rotary)
  return new Map([['rope_freqs.weight', plain.map((frequency, i) => frequency / scaled[i]!)]])
}

/** Whether two configs compute the same, as far as numbers of float32 tell, but for what an exported vocabulary changes. */
export function computesAlike(one: DecoderConfig, other: DecoderConfig): boolean {
  const { maxPositionEmbeddings: positions } = one
  const comparable = ({ vocabSize: _, tieWordEmbeddings: __, rotaries, layers, ...rest }: DecoderConfig) => ({
    ...rest,
    layers: layers.map(({ window, rotary }) => [window < positions ? window : 0, rotary]),
    rotaries: rotaries.map(rotary => ({
      dims: rotary.dims,
      frequencies: [...rotaryFrequencies(rotary)],
      factor: 'attentionFactor' in rotary.scaling ? rotary.scaling.attentionFactor : 1,
    })),
  })
  return alike(comparable(one), comparable(other))
}

/** Equal but for rounding; what is undefined is not there. */
function alike(one: unknown, other: unknown): boolean {
  if (typeof one === 'number' && typeof other === 'number')
    return one === other || Math.abs(one - other) <= 1e-5 * Math.max(Math.abs(one), Math.abs(other))
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return one === other
  const keys = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...keys].every(key => alike((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]))
}
