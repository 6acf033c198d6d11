import { describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { type CompileSpec, compile } from '../../src/program/compile.js'
import { runEagerly } from '../../src/program/eager.js'
import { traceGraph } from '../../src/program/graph.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'
import type { Program } from '../../src/program/program.js'
import { trace } from '../../src/program/trace/trace.js'
import { difference, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'

type Tensors = Record<string, tf.Tensor>
const ROWS = 131072
const VOCABULARY = 49152

/** What a trace of `fn` costs, on x [rows, columns]. */
function costOf(fn: (x: tf.Tensor) => Tensors, rows = ROWS, columns = VOCABULARY) {
  const input = { name: 'x', shape: [rows, columns], dtype: 'float32' as const }
  trace(({ x }) => fn(x!), [input], new Map()) // the first time, code is compiled too
  const [memory, start] = [process.memoryUsage(), performance.now()]
  const { values } = trace(({ x }) => fn(x!), [input], new Map())
  const milliseconds = performance.now() - start
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  const arrays = arrayBuffers - memory.arrayBuffers
  const heap = heapUsed - memory.heapUsed
  const longest = Math.max(...values.map(({ source }) => (source.kind === 'constant' ? source.data.length : 0)))
  return { milliseconds, arrays, heap, longest }
}

/** What TF.js, or somebody's function, makes as long as its input is. */
const MADE: Record<string, (x: tf.Tensor) => Tensors> = {
  'the gradient of a sum': x => ({ y: tf.grad((x: tf.Tensor) => tf.sum(x))(x) }),
  'the gradient of a mean of rows': x => ({ y: tf.grad((x: tf.Tensor) => tf.sum(tf.square(tf.mean(x, -1))))(x) }),
  'the gradient of something that is no scalar': x => ({ y: tf.grad((x: tf.Tensor) => tf.exp(x))(x) }),
  'the gradient of a part that is split off': x => ({
    y: tf.grad((x: tf.Tensor) => tf.sum(tf.split(x, [1, x.shape[0]! - 1])[0]!))(x),
  }),
  'the gradient of a one-hot product': x => ({
    y: tf.grad((x: tf.Tensor) => tf.sum(tf.mul(x, tf.oneHot(tf.range(0, x.shape[0]!, 1, 'int32'), x.shape[1]!))))(x),
  }),
  ones: x => ({ y: tf.add(x, tf.ones(x.shape)) }),
  'zeros of another type': x => ({ y: tf.logicalAnd(tf.greater(x, 0), tf.zeros(x.shape, 'bool')) }),
  'fill, onesLike and zerosLike': x => ({ y: tf.addN([x, tf.fill(x.shape, 3), tf.onesLike(x), tf.zerosLike(x)]) }),
  'range and linspace': x => ({ y: tf.range(0, x.shape[0]! * x.shape[1]!), z: tf.linspace(0, 1, x.shape[0]! * x.shape[1]!) }),
  eye: x => ({ y: tf.matMul(tf.eye(x.shape[0]!), x as tf.Tensor2D), z: tf.eye(x.shape[0]!, x.shape[1]!, undefined, 'int32') }),
  'a mask and where': x => ({ y: tf.where(tf.greater(x, tf.expandDims(tf.range(0, x.shape[0]!), 1)), x, tf.zeros(x.shape)) }),
  'pad and tile': x => ({ y: tf.pad(tf.tile(x, [2, 1]), [[0, 5], [1, 0]]) }), // biome-ignore format: one row
  clone: x => ({ y: tf.clone(tf.ones(x.shape)) }),
}

describe('a trace allocates nothing by size', () => {
  test.each(Object.entries(MADE))('%s', (_, fn) => {
    const { milliseconds, arrays, heap, longest } = costOf(fn)
    expect(longest).toBeLessThan(100)
    expect(arrays).toBeLessThan(2 ** 20)
    // What is thrown away at once may still be there, as much as the young generation holds: TF.js's `eye` makes a list a row.
    expect(heap).toBeLessThan(128 * 2 ** 20)
    expect(milliseconds).toBeLessThan(1500)
  })

  test('at every probe of a range, solved', () => {
    const x = { name: 'x', shape: [SizeExpression.dimension('R'), VOCABULARY], dtype: 'float32' as const }
    const start = performance.now()
    const graph = traceGraph(({ x }) => MADE['the gradient of a sum']!(x!), [x], new Map(), { R: [1, ROWS] })
    expect(performance.now() - start).toBeLessThan(1000)
    const [ones] = graph.values.filter(({ source }) => source.kind === 'uniform')
    expect(String(ones!.shape)).toBe(`R,${VOCABULARY}`)
  })
})

const R: CompileSpec = { inputs: { x: { shape: ['R', 4], dtype: 'float32' } }, dims: { R: [1, 2 ** 24] } }

test.each([1, 2, 9])('what stands for arrays has their values: %i rows', async rows => {
  const fn = ({ x }: Tensors) => {
    const rows = x!.shape[0]!
    return {
      ones: tf.ones([rows, 3]),
      zeros: tf.zeros([rows], 'int32'),
      truths: tf.ones([2, rows], 'bool'),
      eye: tf.eye(rows, 3),
      square: tf.eye(rows, rows, [2], 'int32'),
      small: tf.concat([tf.ones([3]), tf.zeros([2]), tf.reshape(tf.eye(2), [4])] as tf.Tensor1D[]),
      linspace: tf.linspace(-1, 1, rows),
      gradient: tf.grad((x: tf.Tensor) => tf.sum(tf.mean(x, 0)))(x!),
    }
  }
  const inputs = { x: random(1, [rows, 4]) }
  const program: Program = await compile(fn, { ...R, dims: { R: [1, 4096] } })
  const compiled = await program.runWithShapes(inputs)
  const eager = await runEagerly({ name: 'eager', inputs: R.inputs, fn }, inputs)
  for (const [name, { data, shape }] of Object.entries(eager)) {
    expect([...compiled[name]!.shape], name).toEqual(shape)
    expect(compiled[name]!.data.constructor, name).toBe(data.constructor)
    expect(difference(compiled[name]!.data, data), name).toBeLessThan(1e-5)
  }
  await program.dispose()
})

describe('an array that is made by size is refused before it is made', () => {
  test.each<[string, (rows: number) => tf.Tensor]>([
    ['a typed array', rows => tf.tensor1d(new Float32Array(rows * 4))],
    ['an array of integers', rows => tf.tensor(new Int32Array(rows * 4), [rows, 4], 'int32')],
    ['an array from a list', rows => tf.tensor1d(Float32Array.from({ length: rows * 4 }, () => 1))],
  ])('%s', async (_, make) => {
    const error = await problemOf(compile(({ x }) => ({ y: tf.add(x!, tf.reshape(make(x!.shape[0]!), [-1, 4])) }), R))
    expect([error.code, error.found]).toEqual(['array-too-large', expect.stringContaining('arrays.test.ts')])
    expect(error.hint).toContain('input')
  })

  test.each<[string, (rows: number) => tf.Tensor]>([
    ['buffer', rows => tf.buffer([rows, 4]).toTensor()],
    ['hannWindow', rows => tf.signal.hannWindow(rows * 4)],
  ])('in %s', async (name, make) => {
    const error = await problemOf(compile(({ x }) => ({ y: tf.add(x!, tf.reshape(make(x!.shape[0]!), [-1, 4])) }), R))
    // What cannot be solved may be found out before it is too large.
    expect(['array-too-large', 'unsolved-constant']).toContain(error.code)
    if (error.code === 'array-too-large') expect(error.found).toMatch(new RegExp(`in (${name}|cosineWindow)`))
  })

  test('not one that was made outside', async () => {
    const table = tf.tensor2d(new Float32Array(2 ** 20).fill(0.5), [2 ** 18, 4])
    const program = await compile(({ x }) => ({ y: tf.add(x, tf.gather(table, tf.zeros([x.shape[0]], 'int32'))) }), {
      ...R,
      inputs: { x: { shape: ['R', 4], dtype: 'float32' } },
    })
    expect([...(await program.run({ x: new Float32Array(4) })).y]).toEqual([0.5, 0.5, 0.5, 0.5])
  })
})

test('outside, arrays are as they were', async () => {
  const before = [Float32Array, Int32Array, Uint8Array]
  await compile(
    ({ x }) => {
      const own = new Float32Array(2)
      expect(own).toBeInstanceOf(Float32Array)
      expect(own).toHaveLength(2)
      expect(Float32Array.of(1, 2)).toHaveLength(2)
      expect(new Uint8Array(own.buffer)).toHaveLength(8)
      return { y: tf.mul(x!, tf.tensor1d(own.subarray(0, 1))) }
    },
    { ...R, dims: { R: [1, 9] } },
  )
  expect([Float32Array, Int32Array, Uint8Array]).toEqual(before)
  await problemOf(compile(() => { throw new Error('inside') }, R)) // biome-ignore format: one line
  expect([Float32Array, Int32Array, Uint8Array]).toEqual(before)
})
