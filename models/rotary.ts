import { tf } from '../kernels/tf.js'
import type { ConfigReader } from './family.js'

/** Rotary position embedding: base, and how frequencies are scaled for contexts longer than those of training. */
export interface RotaryConfig {
  readonly base: number
  readonly scaling:
    | { readonly type: 'default' }
    | { readonly type: 'linear'; readonly factor: number }
    | {
        readonly type: 'llama3'
        readonly factor: number
        readonly lowFrequencyFactor: number
        readonly highFrequencyFactor: number
        readonly originalMaxPositionEmbeddings: number
      }
    /** Divisors of each frequency, as GGUF stores what `llama3` scaling comes to. */
    | { readonly type: 'divisors'; readonly divisors: readonly number[] }
}

/** Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before). */
export function parseRotary(config: ConfigReader): RotaryConfig {
  const parameters = config.object('rope_parameters') ?? config.object('rope_scaling')
  const base =
    parameters?.raw.rope_theta !== undefined ? parameters.number('rope_theta', 10_000) : config.number('rope_theta', 10_000)
  const divisors = config.raw.rope_divisors
  if (Array.isArray(divisors)) return { base, scaling: { type: 'divisors', divisors: divisors as number[] } }
  const type = parameters?.oneOf(['rope_type', 'type'], ['default', 'linear', 'llama3'], 'default') ?? 'default'
  if (!parameters || type === 'default') return { base, scaling: { type: 'default' } }
  const factor = parameters.number('factor', 1)
  if (type === 'linear') return { base, scaling: { type, factor } }
  return {
    base,
    scaling: {
      type,
      factor,
      lowFrequencyFactor: parameters.number('low_freq_factor', 1),
      highFrequencyFactor: parameters.number('high_freq_factor', 4),
      originalMaxPositionEmbeddings: parameters.integer('original_max_position_embeddings', 8192),
    },
  }
}

/** Radians per position of each pair of a head's dimensions, [D/2]. Every step is rounded to float32, as torch does. */
export function rotaryFrequencies({ base, scaling }: RotaryConfig, headDim: number): Float32Array {
  const plain = Float32Array.from({ length: headDim / 2 }, (_, i) => 1 / Math.fround(base ** Math.fround((2 * i) / headDim)))
  if (scaling.type === 'linear') return plain.map(frequency => frequency / scaling.factor)
  if (scaling.type === 'divisors') return plain.map((frequency, i) => frequency / scaling.divisors[i]!)
  if (scaling.type === 'default') return plain
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositionEmbeddings } = scaling
  return plain.map(frequency => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength < originalMaxPositionEmbeddings / highFrequencyFactor) return frequency
    if (wavelength > originalMaxPositionEmbeddings / lowFrequencyFactor) return frequency / factor
    const smooth = (originalMaxPositionEmbeddings / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}

/** Cosines and sines of the angles at each position: [R] int32 -> two of [R, D/2]. */
export function rotaryTables(config: RotaryConfig, headDim: number, positions: tf.Tensor): { cos: tf.Tensor; sin: tf.Tensor } {
  const angles = tf.mul(tf.expandDims(tf.cast(positions, 'float32'), 1), tf.tensor1d(rotaryFrequencies(config, headDim))) // [R, D/2]
  return { cos: tf.cos(angles), sin: tf.sin(angles) }
}
