import fc from 'fast-check'
import { expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { runEagerly } from '../../src/program/eager.js'
import { Program, type ProgramSpec } from '../../src/program/program.js'
import { difference, integers, random } from '../support/numbers.js'

type Matrix = tf.Tensor2D
const matrix = (x: tf.Tensor) => x as Matrix
const [rows, columns] = [(x: tf.Tensor) => x.shape[0]!, (x: tf.Tensor) => x.shape[1]!]

/** Functions of two matrices [R, T] and row indices [R] that yield a third, with values that stay near 1. */
const STEPS: Record<string, (a: Matrix, b: Matrix, ids: tf.Tensor1D) => tf.Tensor> = {
  add: (a, b) => tf.mul(tf.add(a, b), 0.5),
  'sub of a mean': (a, b) => tf.sub(a, tf.mean(b, 0, true)),
  mul: (a, b) => tf.mul(a, tf.sigmoid(b)),
  div: (a, b) => tf.div(a, tf.add(tf.square(b), 1)),
  tanh: a => tf.tanh(a),
  'softmax of rows': a => tf.mul(tf.softmax(a), columns(a)),
  'log-softmax': (a, b) => tf.add(tf.mul(tf.logSoftmax(a), 0.1), b),
  attention: (a, b) => tf.matMul(tf.softmax(tf.div(tf.matMul(a, b, false, true), columns(a))), b),
  'normalised rows': a => tf.div(a, tf.sqrt(tf.add(tf.mean(tf.square(a), 1, true), 0.5))),
  'distance to the highest': (a, b) => tf.sub(tf.mul(a, 0.5), tf.max(b, 1, true)),
  where: (a, b, ids) => tf.where(tf.tile(tf.greater(tf.expandDims(ids, 1), 1), [1, columns(a)]), tf.sin(a), tf.mul(b, 0.5)),
  'concat and slice': (a, b) => tf.slice(tf.concat([a, b], 0), [rows(a) - 1, 0], [rows(a), -1]),
  'split columns': (a, b) => tf.add(...(tf.split(tf.concat([a, b], 1), 2, 1) as [tf.Tensor, tf.Tensor])),
  'pad and slice': a => tf.slice(tf.pad(a, [[1, 0], [0, 2]], 0), [0, 1], [rows(a), columns(a)]), // biome-ignore format: one row
  gather: (a, b, ids) => tf.add(tf.gather(a, ids), tf.mul(b, 0.1)),
  reverse: (a, b) => tf.sub(tf.reverse(a, 1), tf.mul(b, 0.3)),
  'reshape and back': (a, b) => tf.reshape(tf.add(tf.reshape(a, [-1]), tf.mean(b)), [rows(a), columns(a)]),
  'transpose twice': (a, b) => tf.transpose(tf.tanh(tf.transpose(tf.add(a, b)))),
  'transpose back': (a, b) => tf.add(tf.transpose(matrix(tf.transpose(a))), tf.mul(b, 0.3)),
  'reshape twice': (a, b) => tf.reshape(tf.reshape(tf.transpose(tf.sub(a, tf.mul(b, 0.5))), [-1]), [rows(a), columns(a)]),
  cumsum: a => tf.div(tf.cumsum(a, 1), columns(a)),
  'stack and sum': (a, b) => tf.mul(tf.sum(tf.stack([a, b, a]), 0), 0.4),
  'one-hot product': (a, b, ids) => tf.sub(tf.matMul(matrix(tf.cast(tf.oneHot(ids, rows(a) + 1), 'float32')), matrix(tf.pad(a, [[0, 1], [0, 0]]))), b), // biome-ignore format: one row
  'positions of rows': (a, b) => tf.add(tf.mul(a, 0.5), tf.mul(b, tf.expandDims(tf.cos(tf.range(0, rows(a))), 1))),
  clip: (a, b) => tf.clipByValue(tf.sub(a, tf.mul(b, 2)), -1, 1.5),
}

interface Step {
  readonly name: string
  /** Earlier matrices that it takes, counted from the last. */
  readonly a: number
  readonly b: number
}

const steps = fc.array(fc.record({ name: fc.constantFrom(...Object.keys(STEPS)), a: fc.nat(3), b: fc.nat(3) }), {
  minLength: 2,
  maxLength: 7,
})

function specOf(steps: readonly Step[]): ProgramSpec {
  const last = (x: tf.Tensor, y: tf.Tensor, ids: tf.Tensor1D) => {
    const made = [matrix(x), matrix(y)]
    for (const { name, a, b } of steps)
      made.push(matrix(STEPS[name]!(made.at(-1 - (a % made.length))!, made.at(-1 - (b % made.length))!, ids)))
    // Both inputs take part, whatever the steps chose.
    return tf.add(made.at(-1)!, tf.add(tf.mul(x, 0.1), tf.mul(y, 0.2)))
  }
  return {
    name: steps.map(({ name }) => name).join(', '),
    inputs: {
      x: { shape: ['R', 'T'], dtype: 'float32' },
      y: { shape: ['R', 'T'], dtype: 'float32' },
      ids: { shape: ['R'], dtype: 'int32' },
    },
    dims: { R: [1, 50], T: [1, 60] },
    fn: ({ x, y, ids }) => {
      const loss = (x: tf.Tensor, y: tf.Tensor) => tf.mean(tf.square(last(x, y, ids as tf.Tensor1D))) as tf.Scalar
      const { value, grads } = tf.valueAndGrads(loss as () => tf.Scalar)([x!, y!])
      return { value, output: last(x!, y!, ids as tf.Tensor1D), dx: grads[0]!, dy: grads[1]! }
    },
  }
}

test('random functions and their gradients: the program equals an eager run at every size', async () => {
  const sizes = fc.array(fc.tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 })), { minLength: 2, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(steps, sizes, fc.nat(1000), async (steps, sizes, seed) => {
      const spec = specOf(steps)
      const program = await Program.compile(spec, { threads: 1 })
      for (const [R, T] of sizes) {
        const ids = integers(Array.from({ length: R }, (_, i) => (i * 3 + seed) % R))
        const inputs = { x: random(seed, [R, T]), y: random(seed + 1, [R, T]), ids }
        const compiled = await program.runWithShapes(inputs)
        const eager = await runEagerly(spec, inputs)
        for (const [name, { data, shape }] of Object.entries(eager)) {
          expect([...compiled[name]!.shape]).toEqual(shape)
          expect(difference(compiled[name]!.data, data, 0.01), `${name} at R=${R} T=${T}`).toBeLessThan(1e-4)
        }
      }
      await program.dispose()
    }),
    { numRuns: 80, seed: 11 },
  )
})
