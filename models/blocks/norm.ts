import { layerNorm } from '../../kernels/layer-norm.js'
import { rmsNorm } from '../../kernels/rms-norm.js'
import { tf } from '../../kernels/tf.js'
import type { ConfigReader } from './config-reader.js'

/** Normalisation over the last axis. Norms that multiply by `1 + weight` are the same: the 1 is added where the weight is read. */
export interface NormConfig {
  readonly kind: 'rms' | 'layer'
  readonly epsilon: number
  /** LayerNorm alone. */
  readonly bias: boolean
}

export const readRmsNorm = (
  raw: ConfigReader,
  names: string | readonly string[] = 'rms_norm_eps',
  fallback = 1e-6,
): NormConfig => ({
  kind: 'rms',
  epsilon: raw.number(names, fallback, { above: 0, most: 1 }),
  bias: false,
})

export const readLayerNorm = (raw: ConfigReader, names: string | readonly string[], fallback = 1e-5): NormConfig => ({
  kind: 'layer',
  epsilon: raw.number(names, fallback, { above: 0, most: 1 }),
  bias: true,
})

/** @param x [..., n], which the weight `name` [n] and its bias, if any, go with */
export function normalise(config: NormConfig, weight: (name: string) => tf.Tensor, name: string, x: tf.Tensor): tf.Tensor {
  const own = weight(name)
  if (config.kind === 'rms') return rmsNorm(x, own, config.epsilon)
  return layerNorm(x, own, config.bias ? weight(`${name}Bias`) : tf.zeros(own.shape), config.epsilon)
}
