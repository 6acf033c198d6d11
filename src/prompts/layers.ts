import { tf } from '../../kernels/tf.js'

const known = new WeakMap<tf.Tensor, readonly tf.Tensor[]>()

/**
 * The slices of a tensor along its first axis: of a parameter that holds one after the other what each layer has. It is taken apart
 * once, however often it is asked for, so that its gradient is put together once and not summed from one tensor a layer.
 */
export function unstacked(stack: tf.Tensor): readonly tf.Tensor[] {
  const before = known.get(stack)
  if (before?.every(slice => !slice.isDisposed)) return before
  const slices = tf.split(stack, stack.shape[0]!, 0).map(slice => tf.reshape(slice, stack.shape.slice(1)))
  known.set(stack, slices)
  return slices
}
