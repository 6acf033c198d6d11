import type * as tf from '@tensorflow/tfjs'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords } from '../own-calls.js'
import type { Dimensions } from './operations/sizes.js'
import { type CompileOptions, type InputSpec, Program } from './program.js'
import { asynchronousFunction } from './trace/outputs.js'

export interface CompileSpec<Inputs extends Readonly<Record<string, InputSpec>> = Readonly<Record<string, InputSpec>>>
  extends Omit<CompileOptions, 'elsewhere'> {
  /** Shapes may name dimensions: `{ x: { shape: ['R', 576], dtype: 'float32' } }`. */
  readonly inputs: Inputs
  /** Every named dimension with its inclusive range. */
  readonly dims?: Dimensions
  /** Says what it is in errors. */
  readonly name?: string
}

interface Ranks {
  readonly 0: tf.Scalar
  readonly 1: tf.Tensor1D
  readonly 2: tf.Tensor2D
  readonly 3: tf.Tensor3D
  readonly 4: tf.Tensor4D
  readonly 5: tf.Tensor5D
}

/** The tensors that a function is given for its declared inputs: of their rank, where the declaration is a literal. */
export type InputTensors<Inputs extends Readonly<Record<string, InputSpec>>> = {
  readonly [Name in keyof Inputs]: Inputs[Name]['shape']['length'] extends keyof Ranks
    ? Ranks[Inputs[Name]['shape']['length']]
    : tf.Tensor
}

const names = {
  inputs: true,
  dims: true,
  name: true,
  device: true,
  threads: true,
  pack: true,
  profile: true,
} satisfies OptionNames<CompileSpec>

/** Names of what a function returns, of each of its branches. */
type Names<Tensors> = Tensors extends unknown ? keyof Tensors & string : never

/**
 * Compiles a function of TF.js tensors into a program that runs at native speed, at any size within the declared ranges.
 *
 * The function is run a few times on tensors without values, to see what it does; gradients (`tf.valueAndGrads`, `tf.grads`) are part
 * of what it does. So it must be a function of its inputs: no reading of values, no random numbers, no branch on a size. What is
 * supported, and what is refused and why, is in docs/compile.md.
 *
 * ```ts
 * const program = await compile(({ x, w }) => ({ y: tf.softmax(tf.matMul(x, w)) }), {
 *   inputs: { x: { shape: ['R', 8], dtype: 'float32' }, w: { shape: [8, 3], dtype: 'float32' } },
 *   dims: { R: [1, 4096] },
 * })
 * const { y } = await program.run({ x: new Float32Array(80), w })
 * ```
 *
 * @throws GradpromptError `unknown-option`, `unsupported-operation`, `unsolved-constant`, `size-branch`, `data-dependent`, `random-while-tracing`,
 *   `foreign-tensor`, `array-too-large`, `no-gradient`, `function-failed`, `asynchronous-function`, `invalid-output`, each with the line of
 *   the function where there is one; `invalid-declaration`, `unsupported-dtype`, `unknown-dimension`, `invalid-dimension`, `invalid-size`, `unbound-dimension`, `device-unavailable`
 */
export async function compile<
  const Inputs extends Readonly<Record<string, InputSpec>>,
  Outputs extends Readonly<Record<string, tf.Tensor>>,
>(
  fn: (inputs: InputTensors<Inputs>) => Outputs,
  spec: CompileSpec<Inputs>,
): Promise<Program<keyof Inputs & string, Names<Outputs>>> {
  if (typeof fn !== 'function') throw invalidDeclaration('What is compiled is no function', fn, 'a function of tensors by name')
  // It would begin to run, and go on when nothing is traced any more.
  if (Object.prototype.toString.call(fn) === '[object AsyncFunction]') throw asynchronousFunction()
  refuseUnknown('compile', spec, names)
  requireDeclared(spec)
  const { inputs, dims = {}, name = fn.name || 'function', ...options } = spec
  return Program.compile({ name, inputs, dims, fn: given => fn(given as InputTensors<Inputs>) }, options)
}

const dtypes = ['float32', 'int32', 'bool']

/**
 * Refuses inputs and dimensions that are not declared as such, before anything reads them.
 * @throws GradpromptError `invalid-declaration`, `unsupported-dtype`
 */
function requireDeclared({ inputs, dims = {} }: { readonly inputs: unknown; readonly dims?: unknown }): void {
  if (!isRecord(inputs)) throw invalidDeclaration('The inputs are not declared', inputs, 'inputs: { x: { shape, dtype } }')
  for (const [name, input] of Object.entries(inputs)) {
    const { shape, dtype } = isRecord(input) ? input : {}
    if (!Array.isArray(shape))
      throw invalidDeclaration(`The input ${name} is not declared`, shape ?? input, "{ shape: ['R', 8], dtype: 'float32' }")
    if (typeof dtype === 'string' && dtypes.includes(dtype)) continue
    throw new GradpromptError('unsupported-dtype', `The input ${name} has no type that can be compiled`, {
      found: inWords(dtype),
      expected: dtypes.join(', '),
    })
  }
  if (!isRecord(dims)) throw invalidDeclaration('The dimensions are not declared', dims, 'dims: { R: [1, 4096] }')
  for (const [name, range] of Object.entries(dims))
    if (!Array.isArray(range))
      throw invalidDeclaration(`The dimension ${name} has no range`, range, `${name}: [1, 4096], both ends included`)
}

const invalidDeclaration = (message: string, found: unknown, expected: string) =>
  new GradpromptError('invalid-declaration', message, { found: inWords(found), expected })
