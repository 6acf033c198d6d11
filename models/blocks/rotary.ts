import { rotaryEmbedding } from '../../kernels/rotary-embedding.js'
import { rotaryTable } from '../../kernels/rotary-table.js'
import { tf } from '../../kernels/tf.js'
import type { ConfigReader } from './config-reader.js'

/**
 * Rotary position embedding (Su et al. 2021): how many of a head's dimensions turn, the base, and how frequencies are scaled for
 * contexts longer than those of training. It says nothing about which layers turn.
 */
export interface RotaryConfig {
  /** The first dimensions of a head, which turn; the others stay. */
  readonly dims: number
  readonly base: number
  readonly scaling: RotaryScaling
}

type RotaryScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3'
      readonly factor: number
      readonly lowFrequencyFactor: number
      readonly highFrequencyFactor: number
      readonly originalMaxPositionEmbeddings: number
    }
  /** YaRN (Peng et al. 2023). */
  | {
      readonly type: 'yarn'
      readonly factor: number
      readonly fastRotations: number
      readonly slowRotations: number
      readonly originalMaxPositionEmbeddings: number
      readonly truncate: boolean
      /** Multiplies cosines and sines. */
      readonly attentionFactor: number
    }
  /** Divisors of each frequency: LongRoPE's (Ding et al. 2024), or what GGUF stores of `llama3`. */
  | { readonly type: 'divisors'; readonly divisors: readonly number[]; readonly attentionFactor: number }

export interface ReadRotaryOptions {
  readonly headDim: number
  readonly defaultBase?: number
  /** The part of a head that turns, where the config does not say. */
  readonly defaultPart?: number
  /** Other names of keys, as older files spell them. */
  readonly baseName?: string
  readonly partName?: string
  /** Of the model: YaRN and LongRoPE take their factor from it. */
  readonly maxPositionEmbeddings: number
}

const TYPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope', 'su'] as const

/**
 * Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before).
 * @param own the object to read in their place, where layers differ; null: none
 */
export function readRotary(raw: ConfigReader, options: ReadRotaryOptions, own?: ConfigReader | null): RotaryConfig {
  const parameters = own === undefined ? (raw.object('rope_parameters') ?? raw.object('rope_scaling')) : (own ?? undefined)
  const { baseName = 'rope_theta', partName = 'partial_rotary_factor', defaultBase = 10_000, defaultPart = 1 } = options
  const bounds = { above: 0, most: 1e15 }
  const outside = raw.number(baseName, defaultBase, bounds)
  const base = parameters?.has('rope_theta') ? parameters.number('rope_theta', undefined, bounds) : outside
  const share = raw.number(partName, defaultPart, { above: 0, most: 1 })
  const part = parameters?.number('partial_rotary_factor', share, { above: 0, most: 1 }) ?? share
  const dims = Math.floor(options.headDim * part + 1e-9)
  if (dims < 2 || dims % 2 !== 0)
    throw raw.wrong(partName, part, `a part of ${options.headDim} that is an even number of dimensions`)
  return { dims, base, scaling: readScaling(raw, parameters, dims, options) }
}

function readScaling(
  raw: ConfigReader,
  parameters: ConfigReader | undefined,
  dims: number,
  { maxPositionEmbeddings }: ReadRotaryOptions,
): RotaryScaling {
  const isFactor = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0
  const divisors = raw.list('rope_divisors', dims / 2, isFactor, 'a number above 0')
  if (divisors) return { type: 'divisors', divisors, attentionFactor: 1 }
  const type = parameters?.oneOf(['rope_type', 'type'], TYPES, 'default') ?? 'default'
  const outside = raw.has('original_max_position_embeddings') ? raw.integer('original_max_position_embeddings') : undefined
  if (!parameters || type === 'default') {
    parameters?.ignore('original_max_position_embeddings')
    parameters?.requireValue('attention_factor', 1, 'frequencies are not scaled')
    parameters?.requireValue('factor', 1, 'frequencies are not scaled')
    return { type: 'default' }
  }
  const above = { above: 0, most: 1e6 }
  const original = (fallback: number | undefined) => parameters.integer('original_max_position_embeddings', outside ?? fallback)
  if (type === 'linear') return { type, factor: parameters.number('factor', undefined, above) }
  if (type === 'dynamic') {
    // Frequencies change with the length of the text beyond the original context; `contextLength` ends there.
    parameters.number('factor', undefined, above)
    parameters.ignore('original_max_position_embeddings')
    return { type: 'default' }
  }
  if (type === 'llama3')
    return {
      type,
      factor: parameters.number('factor', undefined, above),
      lowFrequencyFactor: parameters.number('low_freq_factor', 1, above),
      highFrequencyFactor: parameters.number('high_freq_factor', 4, above),
      originalMaxPositionEmbeddings: original(8192),
    }
  const originalMaxPositionEmbeddings = original(type === 'yarn' ? maxPositionEmbeddings : undefined)
  // As the config has it: the context itself may end where the original does.
  const longest = raw.integer('max_position_embeddings', maxPositionEmbeddings)
  const factor = parameters.number('factor', longest / originalMaxPositionEmbeddings, above)
  const given = parameters.has('attention_factor') ? parameters.number('attention_factor', undefined, above) : undefined
  if (type !== 'yarn') {
    const divisors = parameters.list('short_factor', dims / 2, isFactor, 'a number above 0')
    if (!divisors) throw parameters.wrong('short_factor', undefined, `a list of ${dims / 2}`)
    parameters.ignore('long_factor')
    const grown = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositionEmbeddings))
    return { type: 'divisors', divisors, attentionFactor: given ?? grown }
  }
  const grown = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1)
  const [one, all] = ['mscale', 'mscale_all_dim'].map(name => parameters.number(name, 0)) as [number, number]
  return {
    type,
    factor,
    fastRotations: parameters.number('beta_fast', 32, above),
    slowRotations: parameters.number('beta_slow', 1, above),
    originalMaxPositionEmbeddings,
    truncate: parameters.boolean('truncate', true),
    attentionFactor: given ?? (one !== 0 && all !== 0 ? grown(one) / grown(all) : grown(1)),
  }
}

/**
 * How many positions a model can be given. Where frequencies depend on the length of the whole text (dynamic scaling, LongRoPE), a text
 * stays within the original context, so that its numbers do not change as it grows.
 */
export function contextLength(raw: ConfigReader, maxPositionEmbeddings: number): number {
  const parameters = raw.object('rope_parameters') ?? raw.object('rope_scaling')
  const type = parameters?.oneOf(['rope_type', 'type'], TYPES, 'default')
  if (type !== 'dynamic' && type !== 'longrope' && type !== 'su') return maxPositionEmbeddings
  const outside = raw.integer('original_max_position_embeddings', maxPositionEmbeddings)
  return Math.min(maxPositionEmbeddings, parameters!.integer('original_max_position_embeddings', outside))
}

/** Radians per position of each pair of dimensions, [dims/2]. Every step is rounded to float32, as torch does. */
export function rotaryFrequencies({ dims, base, scaling }: RotaryConfig): Float32Array {
  const powers = Float32Array.from({ length: dims / 2 }, (_, i) => base ** Math.fround((2 * i) / dims))
  if (scaling.type === 'divisors') return powers.map((power, i) => 1 / Math.fround(scaling.divisors[i]! * power))
  const plain = powers.map(power => 1 / power)
  if (scaling.type === 'default') return plain
  if (scaling.type === 'linear') return plain.map(frequency => frequency / scaling.factor)
  if (scaling.type === 'yarn') {
    const { factor, fastRotations, slowRotations, originalMaxPositionEmbeddings, truncate } = scaling
    /** The pair that turns so many times within the original context. */
    const pairOf = (rotations: number) =>
      (dims * Math.log(originalMaxPositionEmbeddings / (rotations * 2 * Math.PI))) / (2 * Math.log(base))
    const [first, last] = [pairOf(fastRotations), pairOf(slowRotations)]
    const low = Math.max(truncate ? Math.floor(first) : first, 0)
    const high = Math.min(truncate ? Math.ceil(last) : last, dims - 1)
    const width = low === high ? 0.001 : high - low
    return plain.map((frequency, i) => {
      const interpolated = Math.min(Math.max((i - low) / width, 0), 1)
      return (frequency / factor) * interpolated + frequency * (1 - interpolated)
    })
  }
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositionEmbeddings } = scaling
  return plain.map(frequency => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength < originalMaxPositionEmbeddings / highFrequencyFactor) return frequency
    if (wavelength > originalMaxPositionEmbeddings / lowFrequencyFactor) return frequency / factor
    const smooth = (originalMaxPositionEmbeddings / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}

/** Cosines and sines of the angles of some rows, two of [R, dims/2]. */
export interface RotaryTables {
  readonly cos: tf.Tensor
  readonly sin: tf.Tensor
}

/** @param positions [R] int32 */
export function rotaryTables(config: RotaryConfig, positions: tf.Tensor): RotaryTables {
  const { scaling } = config
  const frequencies = rotaryFrequencies(config)
  const factor = 'attentionFactor' in scaling ? scaling.attentionFactor : 1
  const table = (of: 'cos' | 'sin') => rotaryTable(of, positions, frequencies, factor) // [R, dims/2]
  return { cos: table('cos'), sin: table('sin') }
}

/** Turns the first dimensions of every head by the angles of its row: [H, R, D] -> [H, R, D]. */
export function rotate({ dims }: RotaryConfig, x: tf.Tensor, { cos, sin }: RotaryTables): tf.Tensor {
  const size = x.shape[2]!
  if (dims === size) return rotaryEmbedding(x, cos, sin)
  const [turning, still] = tf.split(x, [dims, size - dims], 2) as [tf.Tensor3D, tf.Tensor3D]
  return tf.concat([rotaryEmbedding(turning, cos, sin) as tf.Tensor3D, still], 2)
}
