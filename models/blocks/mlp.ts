import { geluErf, geluTanh } from '../../kernels/gelu.js'
import { linear } from '../../kernels/linear.js'
import type { Pointwise } from '../../kernels/pointwise.js'
import { relu } from '../../kernels/relu.js'
import { silu } from '../../kernels/silu.js'
import type { tf } from '../../kernels/tf.js'
import type { ConfigReader } from './config-reader.js'

export type Activation = 'silu' | 'gelu-tanh' | 'gelu' | 'relu'

/** `down(activation(gate) * up)`, or without a gate `down(activation(up))`. */
export interface MlpConfig {
  readonly gated: boolean
  readonly activation: Activation
  readonly bias: boolean
}

/** The spellings of transformers' table of activations. */
const ACTIVATIONS = {
  silu: 'silu',
  swish: 'silu',
  gelu_new: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu: 'gelu',
  relu: 'relu',
} as const satisfies Record<string, Activation>

type Spelling = keyof typeof ACTIVATIONS

export const readActivation = (raw: ConfigReader, names: string | readonly string[], fallback: Spelling): Activation =>
  ACTIVATIONS[raw.oneOf(names, Object.keys(ACTIVATIONS) as Spelling[], fallback)]

/** Gemma's; early files say `gelu` and mean the approximation. */
export function readGemmaActivation(raw: ConfigReader): Activation {
  const activation = readActivation(raw, ['hidden_activation', 'hidden_act'], 'gelu_pytorch_tanh')
  return activation === 'gelu' ? 'gelu-tanh' : activation
}

const FUNCTIONS: Readonly<Record<Activation, Pointwise>> = { silu, 'gelu-tanh': geluTanh, gelu: geluErf, relu }

/**
 * @param x normalised rows, [R, d]
 * @param onNeurons told what the activation takes, [R, f]
 * @returns [R, d]
 */
export function mlp(
  { gated, activation, bias }: MlpConfig,
  weight: (name: string) => tf.Tensor,
  x: tf.Tensor,
  onNeurons?: (inner: tf.Tensor) => void,
): tf.Tensor {
  const project = (rows: tf.Tensor, name: string) => linear(rows, weight(name), bias ? weight(`${name}Bias`) : undefined)
  const inner = project(x, gated ? 'gate' : 'up') // [R, f]
  onNeurons?.(inner)
  const activate = FUNCTIONS[activation]
  return project(gated ? activate.gated(inner, project(x, 'up')) : activate(inner), 'down')
}
