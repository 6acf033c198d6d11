import { expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { unstacked } from '../../src/prompts/layers.js'

test.each([1, 3])('a stack of %i is taken apart, and its gradient put together', async layers => {
  await tf.setBackend('cpu')
  const loss = (stack: tf.Tensor) =>
    unstacked(stack).reduce<tf.Tensor>((sum, slice, i) => tf.add(sum, tf.mul(tf.sum(slice), i + 2)), tf.scalar(0)) as tf.Scalar
  const gradient = tf.grad(loss)(tf.ones([layers, 2, 1]))
  expect([gradient.shape, [...gradient.dataSync()]]).toEqual([
    [layers, 2, 1],
    Array.from({ length: 2 * layers }, (_, i) => 2 + Math.floor(i / 2)),
  ])
})
