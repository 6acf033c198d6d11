import { describe, expect, test } from 'vitest'
import { defineKernel } from '../../kernels/kernel.js'
import { tf } from '../../kernels/tf.js'
import { type CompileSpec, compile } from '../../src/program/compile.js'
import { runEagerly } from '../../src/program/eager.js'
import type { Program } from '../../src/program/program.js'
import type { TypedArray } from '../../src/program/session.js'
import { difference, random } from '../support/numbers.js'

type Tensors = Record<string, tf.Tensor>
const float = (...shape: (string | number)[]) => ({ shape, dtype: 'float32' as const })
const list = (data: TypedArray | undefined) => [...(data as Float32Array)]

// First, while no backend was chosen.
test('TF.js works as before after a function was compiled', async () => {
  await compile(({ x }) => ({ y: tf.exp(x!) }), { inputs: { x: float('R') }, dims: { R: [1, 9] } })
  expect(list(tf.add(tf.tensor1d([1, 2]), 1).dataSync())).toEqual([2, 3])
  expect(tf.getBackend()).toBe('cpu')
  await compile(({ x }) => ({ y: tf.sin(x!) }), { inputs: { x: float('R') }, dims: { R: [1, 9] } })
  expect(tf.getBackend()).toBe('cpu')
})

describe('a function with a gradient serves every size', () => {
  const spec = {
    name: 'toy',
    inputs: { x: float('R', 4), w: float(4, 3) },
    dims: { R: [1, 64] as const },
    fn: ({ x, w }: Tensors) => {
      const loss = (x: tf.Tensor, w: tf.Tensor) => tf.mean(tf.square(tf.softmax(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D))))
      const { value, grads } = tf.valueAndGrads(loss as () => tf.Scalar)([x!, w!])
      return { loss: value, dx: grads[0]!, dw: grads[1]! }
    },
  }
  const { fn, ...declared } = spec
  const opened = compile(fn, declared)

  test.each([1, 2, 5, 63, 64])('%i rows', async rows => {
    const inputs = { x: random(1, [rows, 4]), w: random(2, [4, 3]) }
    const compiled = await (await opened).runWithShapes(inputs)
    const eager = await runEagerly(spec, inputs)
    for (const name of ['loss', 'dx', 'dw'] as const) {
      expect(compiled[name]!.shape).toEqual(eager[name]!.shape)
      expect(difference(compiled[name]!.data, eager[name]!.data)).toBeLessThan(1e-5)
    }
  })
})

/** Compiles and runs once. */
async function run(fn: (inputs: Tensors) => Tensors, spec: CompileSpec, inputs: Parameters<Program['run']>[0]) {
  const program = await compile(fn, spec)
  try {
    return await program.run(inputs)
  } finally {
    await program.dispose()
  }
}

const R: CompileSpec = { inputs: { x: float('R', 2) }, dims: { R: [1, 64] } }
const x = Float32Array.of(1, 2, 3, 4)

test('an output that is an input, and one tensor under two names', async () => {
  const fn = ({ x }: Tensors) => {
    const y = tf.neg(x!)
    return { same: x!, y, again: y }
  }
  const results = await run(fn, R, { x })
  expect(Object.fromEntries(Object.entries(results).map(([name, data]) => [name, list(data)]))).toEqual({
    same: [1, 2, 3, 4],
    y: [-1, -2, -3, -4],
    again: [-1, -2, -3, -4],
  })
  const eager = await runEagerly({ name: 'eager', inputs: R.inputs, fn }, { x: { data: x, shape: [2, 2] } })
  expect(list(eager.again!.data)).toEqual([-1, -2, -3, -4])
})

test('an output that does not depend on the inputs', async () => {
  const { one, rows, none } = await run(
    ({ x }) => ({ one: tf.scalar(7), rows: tf.ones([x!.shape[0]!]), none: tf.zeros([2]) }),
    R,
    { x },
  )
  expect([list(one), list(rows), list(none)]).toEqual([[7], [1, 1], [0, 0]])
})

test('an input that nothing uses may still tell a size', async () => {
  const spec: CompileSpec = { inputs: { ...R.inputs, unused: float('Q') }, dims: { R: [1, 64], Q: [1, 64] } }
  const { y } = await run(({ x, unused }) => ({ y: tf.mul(x!, unused!.shape[0]!) }), spec, { x, unused: new Float32Array(3) })
  expect(list(y)).toEqual([3, 6, 9, 12])
})

test('inputs may have any name', async () => {
  const spec: CompileSpec = { inputs: { v0: float('R'), 'weight:x': float('R'), 'v0:out': float('R') }, dims: { R: [1, 9] } }
  const inputs = { v0: Float32Array.of(1), 'weight:x': Float32Array.of(2), 'v0:out': Float32Array.of(4) }
  const fn = (given: Tensors) => ({ v1: tf.sub(tf.mul(given.v0!, 10), given['weight:x']!), last: tf.add(given['v0:out']!, 1) })
  const { v1, last } = await run(fn, spec, inputs)
  expect([list(v1), list(last)]).toEqual([[8], [5]])
})

describe('tensors that were made outside', () => {
  test('are constants, and stay usable', async () => {
    const [kept, other] = [tf.tensor1d([10, 20]), tf.tensor1d([0.5, 0.25])]
    const column = tf.reshape(kept, [2, 1]) // shares its data with `kept`
    const fn = ({ x }: Tensors) => ({ y: tf.add(tf.mul(x!, kept), other), z: tf.matMul(x as tf.Tensor2D, column as tf.Tensor2D) })
    for (let time = 0; time < 2; time++) {
      const { y, z } = await run(fn, R, { x })
      expect(list(y)).toEqual([10.5, 40.25, 30.5, 80.25])
      expect(list(z)).toEqual([50, 110])
      expect(list(await kept.data())).toEqual([10, 20])
      expect(list(tf.add(kept, other).dataSync())).toEqual([10.5, 20.25])
    }
    kept.dispose()
    expect(list(column.dataSync())).toEqual([10, 20])
  })

  test('a variable counts as it is now', async () => {
    const scale = tf.variable(tf.scalar(2))
    const first = await compile(({ x }) => ({ y: tf.mul(x!, scale) }), R)
    scale.assign(tf.scalar(5))
    const second = await compile(({ x }) => ({ y: tf.mul(x!, scale) }), R)
    expect(list((await first.run({ x })).y)).toEqual([2, 4, 6, 8])
    expect(list((await second.run({ x })).y)).toEqual([5, 10, 15, 20])
  })
})

test('two programs, compiled in turn and run at once', async () => {
  const spec: CompileSpec = { inputs: { x: float('R', 'T') }, dims: { R: [1, 9], T: [1, 9] } }
  const [rows, columns] = await Promise.all([
    compile(({ x }) => ({ y: tf.sum(x!, 1) }), spec),
    compile(({ x }) => ({ y: tf.sum(x!, 0) }), spec),
  ])
  const inputs = { x: { data: x, shape: [2, 2] } }
  const [a, b] = await Promise.all([rows.run(inputs), columns.run(inputs)])
  expect([list(a.y), list(b.y)]).toEqual([
    [3, 7],
    [4, 6],
  ])
})

describe('a size of 1 where the range allows more', () => {
  const spec: CompileSpec = { inputs: { x: float('R', 'T'), y: float('R', 1), z: float('T') }, dims: { R: [1, 64], T: [1, 64] } }
  const fn = ({ x, y, z }: Tensors) => {
    const f = (x: tf.Tensor, y: tf.Tensor, z: tf.Tensor) => tf.sum(tf.square(tf.add(tf.mul(x, y), z)))
    const { value, grads } = tf.valueAndGrads(f as () => tf.Scalar)([x!, y!, z!])
    return { value, dx: grads[0]!, dy: grads[1]!, dz: grads[2]!, mean: tf.mean(x!, 0) }
  }
  const opened = compile(fn, spec)

  test.each([
    [1, 1],
    [1, 5],
    [5, 1],
    [5, 5],
  ])('%i by %i', async (R, T) => {
    const inputs = { x: random(1, [R, T]), y: random(2, [R, 1]), z: random(3, [T]) }
    const compiled: Awaited<ReturnType<Program['runWithShapes']>> = await (await opened).runWithShapes(inputs)
    const eager = await runEagerly({ name: 'broadcast', inputs: spec.inputs, fn }, inputs)
    for (const [name, { data, shape }] of Object.entries(eager)) {
      expect(compiled[name]!.shape).toEqual(shape)
      expect(difference(compiled[name]!.data, data)).toBeLessThan(1e-5)
    }
  })
})

describe('narrow and wide ranges', () => {
  test.each<[number, number, number[]]>([
    [1, 2, [1, 2]],
    [5, 5, [5]],
    [3, 4, [3, 4]],
    [1000, 1010, [1000, 1007, 1010]],
    [1, 1 << 20, [1, 2, 1000, 5001]],
  ])('%i to %i', async (low, high, sizes) => {
    const spec: CompileSpec = { inputs: { x: float('R', 2), y: float('R+1') }, dims: { R: [low, high] } }
    const fn = ({ x, y }: Tensors) => ({ mean: tf.mean(x!), flat: tf.concat([tf.reshape(x!, [-1]), y!] as tf.Tensor1D[]) })
    const program = await compile(fn, spec)
    for (const size of sizes) {
      const inputs = { x: random(1, [size, 2]), y: random(2, [size + 1]) }
      const compiled = await program.run({ x: inputs.x.data, y: inputs.y.data })
      const eager = await runEagerly({ name: 'range', inputs: spec.inputs, fn }, inputs)
      for (const name of ['mean', 'flat'] as const)
        expect(difference(compiled[name]!, eager[name]!.data, 1e-2)).toBeLessThan(1e-5)
    }
  })
})

test('an own kernel, and a function that is called like a random one', async () => {
  const twice = defineKernel({ name: 'TestTwice', inputs: ['x'], reference: ({ x }) => tf.mul(x!, 2) })
  const dropout = (x: tf.Tensor) => tf.mul(x, tf.tensor1d([0, 1]))
  const { y } = await run(({ x }) => ({ y: twice({ x: dropout(x!) }) }), R, { x })
  expect(list(y)).toEqual([0, 4, 0, 8])
})

test('the same function is found in the cache', async () => {
  const fn = ({ x }: Tensors) => ({ y: tf.tan(x!) })
  const [first, second] = [await compile(fn, R), await compile(fn, R)]
  const other = await compile(({ x }) => ({ y: tf.tan(tf.neg(x!)) }), R)
  expect(second.path).toBe(first.path)
  expect(other.path).not.toBe(first.path)
})
