import { tf } from '../../kernels/tf.js'
import { GradpromptError } from '../errors.js'

/** What a function may return that is to be compiled: an object of tensors by name, and at once. */

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as { then?: unknown } | null | undefined)?.then === 'function'

export function asynchronousFunction(): GradpromptError {
  return new GradpromptError('asynchronous-function', 'An asynchronous function cannot be compiled', {
    found: 'a function that returns a promise',
    expected: 'a function that returns an object of tensors at once',
    hint: 'await what it needs outside, and pass it as inputs',
  })
}

/** @throws GradpromptError `asynchronous-function`, `invalid-output` */
export function assertOutputs(outputs: unknown): asserts outputs is Record<string, tf.Tensor> {
  if (isPromise(outputs)) {
    // Whatever becomes of it, nobody else will hear of it.
    outputs.then(undefined, () => {})
    throw asynchronousFunction()
  }
  const isObject = typeof outputs === 'object' && outputs !== null && !(outputs instanceof tf.Tensor) && !Array.isArray(outputs)
  if (!isObject || Object.keys(outputs).length === 0) throw invalid('The function does not return tensors by name', outputs)
  for (const [name, tensor] of Object.entries(outputs)) {
    if (tensor instanceof tf.Tensor) continue
    if (isPromise(tensor)) tensor.then(undefined, () => {})
    throw invalid(`The output ${name} is not a tensor`, tensor)
  }
}

function invalid(message: string, found: unknown): GradpromptError {
  return new GradpromptError('invalid-output', message, {
    found: nameOf(found),
    expected: 'an object of tensors by name, such as { loss, gradient }',
  })
}

function nameOf(value: unknown): string {
  if (value instanceof tf.Tensor) return 'a tensor'
  if (isPromise(value)) return 'a promise'
  if (Array.isArray(value)) return 'a list'
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  return Object.keys(value).length === 0 ? 'an empty object' : 'an object'
}
