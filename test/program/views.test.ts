import { expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { traceGraph } from '../../src/program/graph.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'

/** The compiled operations of a function of x [R, 4, 6]. */
function operations(fn: (x: tf.Tensor) => Record<string, tf.Tensor>): string[] {
  const x = { name: 'x', shape: [SizeExpression.dimension('R'), 4, 6], dtype: 'float32' as const }
  const graph = traceGraph(({ x }) => fn(x!), [x], new Map(), { R: [1, 50] })
  return graph.nodes.map(({ operation }) => operation)
}

test('a transpose that undoes another leaves neither', () => {
  expect(operations(x => ({ y: tf.sin(tf.transpose(tf.transpose(x, [2, 0, 1]), [1, 2, 0])) }))).toEqual(['Sin'])
})

test('two transposes are one, and the inner one stays where something else needs it', () => {
  expect(operations(x => ({ y: tf.transpose(tf.transpose(x, [2, 0, 1]), [0, 2, 1]) }))).toEqual(['Transpose'])
  const both = operations(x => {
    const inner = tf.transpose(x, [2, 0, 1])
    return { y: tf.transpose(inner, [0, 2, 1]), z: tf.sin(inner) }
  })
  expect(both).toEqual(['Transpose', 'Transpose', 'Sin'])
})

test('a reshape of a reshape is one, of an open size too', () => {
  expect(operations(x => ({ y: tf.sin(tf.reshape(tf.reshape(x, [-1, 6]), [x.shape[0]!, 24])) }))).toEqual(['Reshape', 'Sin'])
})
