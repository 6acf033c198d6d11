import type * as tf from '@tensorflow/tfjs'
import { type CompileOptions, type InputSpec, Program } from './program.js'
import type { Dimensions } from './sizes.js'

export interface CompileSpec extends CompileOptions {
  /** Shapes may name dimensions: `{ x: { shape: ['R', 576], dtype: 'float32' } }`. */
  readonly inputs: Readonly<Record<string, InputSpec>>
  /** Every named dimension with its inclusive range. */
  readonly dims?: Dimensions
  /** Says what it is in errors. */
  readonly name?: string
}

/**
 * Compiles a function of TF.js tensors into a program that runs at native speed, at any size within the declared ranges.
 *
 * The function is run a few times on tensors without values, to see what it does; gradients (`tf.valueAndGrads`, `tf.grads`) are part
 * of what it does. So it must be a function of its inputs: no reading of values, no random numbers, no branch on a size.
 *
 * ```ts
 * const program = await compile(({ x, w }) => ({ y: tf.softmax(tf.matMul(x, w)) }), {
 *   inputs: { x: { shape: ['R', 8], dtype: 'float32' }, w: { shape: [8, 3], dtype: 'float32' } },
 *   dims: { R: [1, 4096] },
 * })
 * const { y } = await program.run({ x: new Float32Array(80), w })
 * ```
 *
 * @throws GradpromptError `unsupported-operation`, `unsolved-constant`, `size-branch`, `data-dependent`, `random-while-tracing`,
 *   `foreign-tensor`, `invalid-output`, each with the line of the function where there is one; `unknown-dimension`, `invalid-dimension`,
 *   `invalid-size`, `unbound-dimension`, `device-unavailable`
 */
export function compile(
  fn: (inputs: Record<string, tf.Tensor>) => Record<string, tf.Tensor>,
  spec: CompileSpec,
): Promise<Program> {
  const { inputs, dims = {}, name = fn.name || 'function', ...options } = spec
  return Program.compile({ name, inputs, dims, fn: given => fn(given) }, options)
}
