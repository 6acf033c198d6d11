import { z } from 'zod'
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

/** Layers that a method acts in, by their numbers from 0: one, or a list. */
export const layersSchema = z.union([z.int().min(0), z.array(z.int().min(0)).min(1).max(10_000)])

/** The same as a list. */
export const listed = (layers: number | readonly number[]): readonly number[] => (typeof layers === 'number' ? [layers] : layers)

/**
 * What is wrong with such an option, in words.
 * @param last the last layer that may be named
 */
export function layersProblem(option: string, layers: readonly number[], last: number): string | undefined {
  const beyond = layers.find(layer => layer > last)
  if (beyond !== undefined) return `${option} names layer ${beyond}, which does not exist here: take 0 to ${last}`
  const twice = layers.find((layer, i) => layers.indexOf(layer) !== i)
  return twice === undefined ? undefined : `${option} names layer ${twice} twice`
}
