import { describe, expect, test } from 'vitest'
import { gelu } from '../../kernels/gelu.js'
import { layerNorm } from '../../kernels/layer-norm.js'
import { linear } from '../../kernels/linear.js'
import { rational } from '../../kernels/rational.js'
import { rmsNorm } from '../../kernels/rms-norm.js'
import { swiGlu } from '../../kernels/silu.js'
import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy } from '../../kernels/token-cross-entropy.js'
import { compile } from '../../src/program/compile.js'
import { runEagerly } from '../../src/program/eager.js'
import { difference, dot, random } from '../support/numbers.js'

type F = (x: tf.Tensor) => tf.Tensor

/**
 * The first gradient of sum(f(x) c), and the second one along a direction: the gradient of (first · v).
 * c and v are inputs, [R, 6] as x is.
 */
function compiled(f: F) {
  const first = (x: tf.Tensor, c: tf.Tensor) => tf.grad((x: tf.Tensor) => tf.sum(tf.mul(f(x), c)))(x)
  const matrix = { shape: ['R', 6], dtype: 'float32' } as const
  const spec = { name: 'second', inputs: { x: matrix, c: matrix, v: matrix }, dims: { R: [1, 32] as const } }
  const fn = ({ x, c, v }: { x: tf.Tensor; c: tf.Tensor; v: tf.Tensor }) => ({
    first: first(x, c),
    second: tf.grad((x: tf.Tensor) => tf.sum(tf.mul(first(x, c), v)))(x),
  })
  return {
    program: compile(fn, spec),
    eager: { ...spec, fn: (given: Record<string, tf.Tensor>) => fn(given as Parameters<typeof fn>[0]) },
  }
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

/** Second derivatives of functions that treat every element alike. */
const ELEMENTWISE: Record<string, { f: F; second: (x: number) => number }> = {
  tanh: { f: x => tf.tanh(x), second: x => -2 * Math.tanh(x) * (1 - Math.tanh(x) ** 2) },
  sigmoid: { f: x => tf.sigmoid(x), second: x => sigmoid(x) * (1 - sigmoid(x)) * (1 - 2 * sigmoid(x)) },
  exp: { f: x => tf.exp(x), second: Math.exp },
  elu: { f: x => tf.elu(x), second: x => (x < 0 ? Math.exp(x) : 0) },
  relu: { f: x => tf.relu(x), second: () => 0 },
  softplus: { f: x => tf.softplus(x), second: x => sigmoid(x) * (1 - sigmoid(x)) },
  'cube, by pow': { f: x => tf.pow(tf.add(x, 3), 3), second: x => 6 * (x + 3) },
  silu: {
    f: x => swiGlu(x, tf.onesLike(x)),
    second: x => sigmoid(x) * (1 - sigmoid(x)) * (2 + x * (1 - 2 * sigmoid(x))),
  },
  'a branch by tf.where': {
    f: x => tf.where(tf.logicalAnd(tf.less(x, 0.5), tf.logicalNot(tf.greater(tf.neg(x), 1))), tf.exp(x), tf.mul(x, 3)),
    second: x => (x < 0.5 && x >= -1 ? Math.exp(x) : 0),
  },
  'gelu, exact': {
    f: x => gelu(x, 'erf'),
    second: x => ((2 - x * x) * Math.exp(-(x * x) / 2)) / Math.sqrt(2 * Math.PI),
  },
}

const weight = tf.tensor2d([...random(9, [5, 6]).data], [5, 6])
const scale = tf.tensor1d([...random(8, [6]).data])

/** Functions of whole rows. */
const ROWS: Record<string, F> = {
  softmax: x => tf.softmax(x),
  logSoftmax: x => tf.logSoftmax(x),
  logSumExp: x => tf.mul(tf.logSumExp(x, 1, true), tf.onesLike(x)),
  'softmax of tanh of sigmoid': x => tf.softmax(tf.mul(tf.tanh(tf.sigmoid(x)), 3)),
  'distance to the highest': x => tf.square(tf.sub(x, tf.max(x, 1, true))),
  'gelu, by tanh': x => gelu(x, 'tanh'),
  rmsNorm: x => rmsNorm(x, scale, 1e-3),
  layerNorm: x => layerNorm(x, scale, scale, 1e-3),
  'linear and back': x => tf.matMul(tf.tanh(linear(x, weight)) as tf.Tensor2D, weight),
  rational: x => rational(x, tf.tensor1d([0.1, 0.5, 0.4]), tf.tensor1d([0.3, 0.6])),
  'attention of rows': x => tf.matMul(tf.softmax(tf.matMul(x as tf.Tensor2D, x as tf.Tensor2D, false, true)), x as tf.Tensor2D),
  crossEntropy: x => {
    const [rows] = x.shape as [number]
    const row = tf.range(0, rows, 1, 'int32')
    const even = tf.fill([rows], 0.25)
    const targets = { row, target: tf.zerosLike(row), weight: even, rowWeight: even }
    return tf.mul(tokenCrossEntropy(x, targets, 0.1), tf.onesLike(x))
  },
  'two dense layers': x => tf.fused.matMul({ a: tf.fused.matMul({ a: x as tf.Tensor2D, b: weight, transposeB: true, activation: 'sigmoid' }), b: weight }), // biome-ignore format: one row
}

const inputs = (rows: number) => ({
  x: random(1, [rows, 6], 1.5),
  c: random(2, [rows, 6]),
  v: random(3, [rows, 6]),
})

describe.each(Object.entries(ELEMENTWISE))('%s', (_, { f, second }) => {
  const { program, eager } = compiled(f)

  test.each([1, 5])('the second gradient is the closed form: %i rows', async rows => {
    const given = inputs(rows)
    const { x, c, v } = given
    const wanted = x.data.map((value, i) => second(value) * c.data[i]! * v.data[i]!)
    expect(difference((await (await program).run(given)).second, wanted, 0.1)).toBeLessThan(1e-5)
    expect(difference((await runEagerly(eager, given)).second!.data, wanted, 0.1)).toBeLessThan(1e-5)
  })
})

describe.each([...Object.entries(ELEMENTWISE).map(([name, { f }]) => [name, f] as const), ...Object.entries(ROWS)])(
  '%s',
  (_, f) => {
    const { program, eager } = compiled(f)

    test.each([1, 5])('the second gradient equals finite differences of the first, and an eager run: %i rows', async rows => {
      const given = inputs(rows)
      const { second } = await (await program).run(given)
      expect(difference(second, (await runEagerly(eager, given)).second!.data, 0.1)).toBeLessThan(1e-5)
      const direction = random(4, [rows, 6]).data
      const step = 5e-3
      const alongV = async (h: number) => {
        const moved = { ...given, x: { ...given.x, data: given.x.data.map((value, i) => value + h * direction[i]!) } }
        return dot((await (await program).run(moved)).first as Float32Array, given.v.data)
      }
      const slope = ((await alongV(step)) - (await alongV(-step))) / (2 * step)
      expect(slope).toBeCloseTo(dot(second as Float32Array, direction), 2)
    })
  },
)

test('outside, TF.js is as it was', () => {
  const first = tf.grad((x: tf.Tensor) => tf.sum(tf.tanh(x)))
  const second = tf.grad((x: tf.Tensor) => tf.sum(first(x)))
  const engine = tf.engine() as unknown as { addTapeNode: unknown; constructor: { prototype: { addTapeNode: unknown } } }
  expect(engine.addTapeNode).toBe(engine.constructor.prototype.addTapeNode)
  expect(tf.getGradient('EluGrad')).toBeUndefined()
  // Which is why the tape is mended: it has no second gradient here, and says so or not.
  expect(() => second(tf.tensor1d([0.5])).dataSync()).toThrow('Cannot compute gradient')
})
