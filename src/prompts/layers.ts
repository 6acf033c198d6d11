import { tf } from '../../kernels/tf.js'

const known = new WeakMap<tf.Tensor, readonly tf.Tensor[]>()

/**
 * The slices of a tensor along its first axis: of a parameter that holds one after the other what each layer has. It is taken apart
 * once, however often it is asked for, so that its gradient is put together once and not summed from one tensor a layer.
 */
export function unstacked(stack: tf.Tensor): readonly tf.Tensor[] {
  const before = known.get(stack)
  if (before?.every(slice => !slice.isDisposed)) return before
  const [count, ...shape] = stack.shape
  // The gradient of a split into one part fails in TF.js.
  const parts = count === 1 ? [stack] : tf.split(stack, count!, 0)
  const slices = parts.map(slice => tf.reshape(slice, shape))
  known.set(stack, slices)
  return slices
}
