import { tf } from '../../kernels/tf.js'
import { GradpromptError } from '../errors.js'
import { assertOutputs } from './outputs.js'
import type { ProgramInput, ProgramSpec } from './program.js'
import type { TypedArray } from './session.js'

/**
 * Runs a program's function on an ordinary TF.js backend, as it is written: for debugging, and to hold the compiler against. Gradients
 * are those of a compiled program, second ones too (see `withMendedGradients`).
 *
 * @param inputs data and shape of each input
 * @param weights values of the frozen weights by name
 * @param backend `cpu`, or any backend that the caller has registered (`wasm`, `tensorflow`)
 */
export async function runEagerly(
  spec: Pick<ProgramSpec, 'name' | 'inputs' | 'fn'>,
  inputs: Readonly<Record<string, Exclude<ProgramInput, TypedArray>>>,
  weights: (name: string) => { data: TypedArray; shape: readonly number[] } | undefined = () => undefined,
  backend = 'cpu',
): Promise<Record<string, { data: TypedArray; shape: number[] }>> {
  if (!tf.engine().registryFactory[backend]) {
    throw new GradpromptError('unknown-backend', `TF.js has no backend named ${backend}`, {
      expected: Object.keys(tf.engine().registryFactory).join(', '),
      hint: backend === 'tensorflow' ? 'install and import @tensorflow/tfjs-node' : 'import the package that registers it',
    })
  }
  const inputOf = (name: string) => {
    const input = inputs[name]
    if (input) return input
    throw new GradpromptError('missing-input', `${spec.name} was run without its input ${name}`, {
      expected: Object.keys(spec.inputs).join(', '),
    })
  }
  const { withMendedGradients } = await import('./trace/differentiation.js')
  const previous = tf.engine().backendName as string | undefined
  await tf.setBackend(backend)
  await tf.ready()
  try {
    const run = () => {
      const made = new Map<string, tf.Tensor>()
      const tensor = (data: TypedArray, shape: readonly number[], dtype: tf.DataType) =>
        tf.tensor(data as Float32Array, [...shape], dtype)
      const given = Object.fromEntries(
        Object.entries(spec.inputs).map(([name, { dtype }]) => [
          name,
          tensor(inputOf(name).data, inputOf(name).shape, dtype as tf.DataType),
        ]),
      )
      const outputs = spec.fn(given, name => {
        const known = made.get(name)
        if (known) return known
        const weight = weights(name)
        if (!weight)
          throw new GradpromptError('unknown-weight', `${spec.name} asks for a weight that is not there: ${name}`, {
            exitCode: 1,
          })
        const fresh = tensor(weight.data, weight.shape, weight.data instanceof Int32Array ? 'int32' : 'float32')
        made.set(name, fresh)
        return fresh
      })
      assertOutputs(outputs)
      return outputs
    }
    const outputs = withMendedGradients(() => tf.tidy(run))
    const results: Record<string, { data: TypedArray; shape: number[] }> = {}
    for (const [name, output] of Object.entries(outputs)) {
      const data = (await output.data()) as TypedArray
      // A cast in TF.js may leave the numbers as they lie.
      const Type = { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[output.dtype as 'float32']
      results[name] = { data: data instanceof Type ? data : Type.from(data as Int32Array), shape: output.shape }
    }
    tf.dispose(outputs)
    return results
  } finally {
    if (previous && previous !== backend) await tf.setBackend(previous)
  }
}
