import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import type { GradpromptError } from '../../src/errors.js'
import { type CompileSpec, compile } from '../../src/program/compile.js'
import { runEagerly } from '../../src/program/eager.js'
import { problemOf } from '../support/problem.js'

type Tensors = Record<string, tf.Tensor>
const float = (...shape: (string | number)[]) => ({ shape, dtype: 'float32' as const })
const R4: CompileSpec = { inputs: { x: float('R', 4) }, dims: { R: [1, 1000] } }

/** The line of this file that holds `marker` in a comment at its end. */
function lineOf(marker: string): number {
  const lines = readFileSync('test/program/errors.test.ts', 'utf8').split('\n')
  return 1 + lines.findIndex(line => line.endsWith(`// ${marker}`))
}

/** The error of compiling `fn`; it must name the line of this file that ends in `// marker`. */
async function refusal(fn: (inputs: Tensors) => Tensors, marker: string, spec = R4): Promise<GradpromptError> {
  const error = await problemOf(compile(fn, spec))
  expect(error.found).toContain(`test/program/errors.test.ts:${lineOf(marker)}:`)
  return error
}

describe('a function that cannot be compiled is refused, and its line named', () => {
  test('an operation that is not known', async () => {
    const error = await refusal(({ x }) => {
      const y = tf.mul(x!, 2)
      return { y: tf.erf(tf.localResponseNormalization(tf.reshape(y, [1, -1, 4]) as tf.Tensor3D)) } // LRN
    }, 'LRN')
    expect(error.code).toBe('unsupported-operation')
    expect(error.message).toContain('LRN')
    expect(error.expected).toContain('Cumsum')
    expect(error.hint).toContain('docs/compile.md')
  })

  test('an operation that is not known, in a gradient', async () => {
    const fn = ({ x }: Tensors) => ({
      y: tf.grad(z => tf.sum(tf.relu(tf.avgPool(tf.reshape(z, [-1, 4, 1]) as tf.Tensor3D, 2, 2, 'valid'))))(x!),
    })
    const error = await problemOf(compile(fn, R4))
    expect([error.code, error.message]).toEqual(['unsupported-operation', expect.stringContaining('AvgPool')])
  })

  test('a gradient that TF.js does not have', async () => {
    const error = await refusal(({ x }) => {
      const loss = (z: tf.Tensor) => tf.sum(tf.cumprod(z, 1)) as tf.Scalar
      return { y: tf.grad(loss)(x!) } // no gradient
    }, 'no gradient')
    expect([error.code, error.message]).toEqual(['no-gradient', expect.stringContaining('Cumprod')])
  })

  test('batches that do not fit', async () => {
    const fn = ({ x }: Tensors) => ({ y: tf.gather(x!, tf.zeros([3, 2], 'int32'), 1, 1) })
    expect((await problemOf(compile(fn, R4))).code).toBe('shape-mismatch')
  })

  test('what throws', async () => {
    const error = await refusal(({ x }) => {
      const y = tf.neg(x!)
      throw new Error(`I cannot do ${y.rank}`) // throws
    }, 'throws')
    expect([error.code, error.message]).toEqual(['function-failed', expect.stringContaining('I cannot do 2')])
  })

  test('what throws at some sizes', async () => {
    const error = await refusal(({ x }) => {
      const { values } = tf.topk(tf.transpose(x!), 7) // seven of one
      return { values }
    }, 'seven of one')
    expect([error.code, error.found]).toEqual(['function-failed', expect.stringContaining('R=1')])
    expect(error.hint).toContain('dims')
  })

  test('a number that no polynomial of the sizes explains', async () => {
    const error = await refusal(({ x }) => {
      const scale = Math.log(x!.shape[0]!)
      return { y: tf.mul(x!, scale) } // logarithm
    }, 'logarithm')
    expect(error.code).toBe('unsolved-constant')
  })

  test('a size that no polynomial explains', async () => {
    const error = await refusal(({ x }) => {
      const half = Math.ceil(x!.shape[0]! / 2)
      return { y: tf.slice(x!, [0, 0], [half, 4]) } // half
    }, 'half')
    expect(error.code).toBe('unsolved-constant')
  })

  test('data that depend on a size', async () => {
    const error = await refusal(({ x }) => {
      const positions = Float32Array.from({ length: x!.shape[0]! }, (_, i) => i)
      return { y: tf.mul(x!, tf.tensor2d(positions, [positions.length, 1])) } // positions
    }, 'positions')
    expect(error.code).toBe('unsolved-constant')
    expect(error.hint).toContain('input')
  })

  test('an option that depends on a size, where ONNX wants a number', async () => {
    const error = await problemOf(compile(({ x }) => ({ y: tf.leakyRelu(x!, x!.shape[0]!) }), R4))
    expect(error.code).toBe('unsolved-constant')
  })

  test.each([3, 100, 999])('a branch on a size inside the range, at %i', async limit => {
    const error = await refusal(({ x }) => {
      const long = x!.shape[0]! > limit
      return { y: long ? tf.exp(x!) : tf.sin(x!) } // branch
    }, 'branch')
    expect(error.code).toBe('size-branch')
    expect(error.found).toContain('R=')
  })

  test('a branch that only changes a number', async () => {
    const error = await problemOf(compile(({ x }) => ({ y: tf.mul(x!, x!.shape[0]! > 100 ? 2 : 3) }), R4))
    expect(error.code).toBe('unsolved-constant')
  })

  test('as many operations as rows', async () => {
    const fn = ({ x }: Tensors) => ({ y: tf.addN(tf.unstack(x!)) })
    expect((await problemOf(compile(fn, { ...R4, dims: { R: [1, 40] } }))).code).toBe('size-branch')
  })

  test('other outputs at other sizes', async () => {
    const fn = ({ x }: Tensors): Tensors => (x!.shape[0]! > 500 ? { y: x! } : { z: x! })
    expect((await problemOf(compile(fn, R4))).code).toBe('size-branch')
  })

  test.each(['dataSync', 'arraySync'] as const)('a value that is read: %s', async read => {
    const error = await refusal(({ x }) => {
      const highest = tf.max(x!)
      return { y: tf.mul(x!, Number(highest[read]() as unknown)) } // read
    }, 'read')
    expect(error.code).toBe('data-dependent')
  })

  test('a shape that depends on values', async () => {
    const error = await refusal(({ x }) => {
      const { values } = tf.unique(tf.reshape(x!, [-1])) // unique
      return { values }
    }, 'unique')
    expect([error.code, error.message]).toEqual(['unsupported-operation', expect.stringContaining('Unique')])
  })

  test.each<[string, (x: tf.Tensor) => tf.Tensor]>([
    ['randomNormal', x => tf.randomNormal(x.shape)],
    ['randomUniform', x => tf.randomUniform(x.shape)],
    ['randomNormal of one size', () => tf.randomNormal([4])],
    ['truncatedNormal', x => tf.truncatedNormal(x.shape)],
    ['dropout', x => tf.dropout(x, 0.5)],
  ])('a random number: %s', async (_, draw) => {
    const error = await problemOf(compile(({ x }) => ({ y: tf.add(x!, draw(x!)) }), R4))
    expect(error.code).toBe('random-while-tracing')
    expect(error.found).toContain('test/program/errors.test.ts')
  })

  test('a random number of another origin', async () => {
    for (const dims of [{ R: [1, 100] }, undefined] as const) {
      const inputs = { x: float(dims ? 'R' : 3, 4) }
      const error = await problemOf(compile(({ x }) => ({ y: tf.mul(x!, Math.random()) }), { inputs, ...(dims ? { dims } : {}) }))
      expect(error.code).toBe('unsolved-constant')
    }
  })

  test.each<[string, unknown, string]>([
    ['a number', { y: 3 }, 'The output y is not a tensor'],
    ['nothing', undefined, 'does not return tensors by name'],
    ['a list', [], 'does not return tensors by name'],
    ['an empty object', {}, 'does not return tensors by name'],
  ])('%s instead of tensors', async (_, returned, message) => {
    const error = await problemOf(compile(() => returned as Tensors, R4))
    expect([error.code, error.message]).toEqual(['invalid-output', expect.stringContaining(message)])
  })

  test('a promise among the outputs', async () => {
    const fn = () => ({ y: Promise.reject(new Error('never seen')) }) as unknown as Tensors
    expect((await problemOf(compile(fn, R4))).message).toBe('The output y is not a tensor')
  })

  test('a tensor instead of tensors by name', async () => {
    const error = await problemOf(compile(({ x }) => x as unknown as Tensors, R4))
    expect([error.code, error.found]).toEqual(['invalid-output', 'a tensor'])
  })

  test.each<[string, (inputs: Tensors) => unknown]>([
    ['an async function', async ({ x }) => ({ y: tf.neg(x!) })],
    ['a promise', ({ x }) => Promise.resolve({ y: tf.neg(x!) })],
    ['a promise that is rejected', () => Promise.reject(new Error('never seen'))],
  ])('%s', async (_, fn) => {
    const error = await problemOf(compile(fn as (inputs: Tensors) => Tensors, R4))
    expect([error.code, error.hint]).toEqual(['asynchronous-function', expect.stringContaining('await')])
  })

  test('a value that is read later', async () => {
    const error = await refusal(({ x }) => {
      void tf.max(x!).data() // read later
      return { y: tf.neg(x!) }
    }, 'read later')
    expect(error.code).toBe('data-dependent')
  })

  test('a tensor of another function', async () => {
    let kept: tf.Tensor | undefined
    await compile(({ x }) => {
      kept = tf.keep(tf.exp(x!))
      return { y: kept }
    }, R4)
    expect((await problemOf(compile(({ x }) => ({ y: tf.add(x!, kept!) }), R4))).code).toBe('foreign-tensor')
  })
})

describe('a declaration that cannot be used is refused', () => {
  const identity = ({ x }: Tensors) => ({ y: tf.neg(x!) })

  test.each<[string, CompileSpec, string]>([
    ['a dimension without a range', { inputs: { x: float('R', 4) } }, 'unknown-dimension'],
    ['a dimension without a range, in a sum', { inputs: { x: float('R+Q', 4) }, dims: { R: [1, 5] } }, 'unknown-dimension'],
    ['no size', { inputs: { x: float('', 4) } }, 'invalid-size'],
    ['a half sum', { inputs: { x: float('R+', 4) }, dims: { R: [1, 5] } }, 'invalid-size'],
    ['a quotient', { inputs: { x: float('R/2', 4) }, dims: { R: [1, 5] } }, 'invalid-size'],
    ['a range from zero', { inputs: { x: float('R', 4) }, dims: { R: [0, 5] } }, 'invalid-dimension'],
    ['a range backwards', { inputs: { x: float('R', 4) }, dims: { R: [5, 1] } }, 'invalid-dimension'],
    ['a range of fractions', { inputs: { x: float('R', 4) }, dims: { R: [1, 2.5] } }, 'invalid-dimension'],
    ['a range without end', { inputs: { x: float('R', 4) }, dims: { R: [1, Number.POSITIVE_INFINITY] } }, 'invalid-dimension'],
  ])('%s', async (_, spec, code) => {
    expect((await problemOf(compile(identity, spec))).code).toBe(code)
  })
})

describe('a run that does not fit is refused', () => {
  const opened = compile(({ x, i, m }) => ({ y: tf.where(m!, tf.gather(x!, i as tf.Tensor1D), tf.zeros([i!.shape[0]!, 4])) }), {
    inputs: { x: float('R', 4), i: { shape: ['N'], dtype: 'int32' }, m: { shape: ['N', 4], dtype: 'bool' } },
    dims: { R: [2, 10], N: [1, 5] },
  })
  const good = { x: new Float32Array(12), i: Int32Array.of(2, 0), m: new Uint8Array(8) }

  test('what fits runs', async () => {
    expect((await (await opened).run(good)).y).toHaveLength(8)
    expect((await (await opened).run({ ...good, x: { data: good.x, shape: [3, 4] } })).y).toHaveLength(8)
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['a missing input', { i: undefined }, 'missing-input'],
    ['another type', { i: Float32Array.of(2, 0) }, 'shape-mismatch'],
    ['numbers in double precision', { x: new Float64Array(12) }, 'shape-mismatch'],
    ['a plain list', { x: [1, 2, 3, 4, 5, 6, 7, 8] }, 'shape-mismatch'],
    ['a length that fills no row', { x: new Float32Array(13) }, 'shape-mismatch'],
    ['a size below the range', { x: new Float32Array(4) }, 'size-out-of-range'],
    ['a size above the range', { x: new Float32Array(44) }, 'size-out-of-range'],
    ['nothing at all', { i: new Int32Array(0), m: new Uint8Array(0) }, 'size-out-of-range'],
    ['two inputs that disagree', { m: new Uint8Array(12) }, 'shape-mismatch'],
    ['a shape that disagrees with the data', { x: { data: good.x, shape: [4, 4] } }, 'shape-mismatch'],
    ['a shape with other axes', { x: { data: good.x, shape: [12] } }, 'shape-mismatch'],
    ['a shape that is turned around', { x: { data: good.x, shape: [4, 3] } }, 'shape-mismatch'],
  ])('%s', async (_, change, code) => {
    const program = await opened
    const error = await problemOf(program.run({ ...good, ...change } as typeof good))
    expect(error.code).toBe(code)
  })

  test('a size that no length tells', async () => {
    const program = await compile(({ x }) => ({ y: tf.neg(x!) }), {
      inputs: { x: float('A', 'B') },
      dims: { A: [1, 9], B: [1, 9] },
    })
    expect((await problemOf(program.run({ x: new Float32Array(6) }))).code).toBe('shape-mismatch')
    expect((await program.run({ x: { data: new Float32Array(6), shape: [2, 3] } })).y).toHaveLength(6)
  })

  test('a shape that only another input contradicts', async () => {
    const program = await compile(({ x, y }) => ({ z: tf.add(x!, y!) }), {
      inputs: { x: float('A', 'B'), y: float('A', 'B') },
      dims: { A: [1, 9], B: [1, 9] },
    })
    const shaped = (...shape: number[]) => ({ data: new Float32Array(12), shape })
    expect((await problemOf(program.run({ x: shaped(3, 4), y: shaped(2, 6) }))).code).toBe('shape-mismatch')
  })

  test.each([99, -1, -(2 ** 31)])('an index outside a table: %i', async index => {
    const program = await opened
    const error = await problemOf(program.run({ ...good, i: Int32Array.of(2, index) }))
    expect([error.code, error.exitCode]).toEqual(['run-failed', 1])
  })

  test.each<[string, (x: tf.Tensor, i: tf.Tensor) => tf.Tensor]>([
    ['gather in batches', (x, i) => tf.gather(x, i, 1, 1)],
    ['gatherND', (x, i) => tf.gatherND(x, i)],
    ['scatterND', (_, i) => tf.scatterND(i, tf.ones([2]), [2, 3])],
  ])('an index outside: %s', async (_, fn) => {
    const program = await compile(({ x, i }) => ({ y: fn(x, i) }), {
      inputs: { x: { shape: [2, 3], dtype: 'float32' }, i: { shape: [2, 2], dtype: 'int32' } },
    })
    const x = Float32Array.of(1, 2, 3, 4, 5, 6)
    await program.run({ x, i: Int32Array.of(0, 1, 1, 0) })
    for (const indices of [
      [0, 1, 1, 3],
      [0, -1, 0, 0],
      [2, 3, 0, 0],
      [0, 0, -2, 0],
    ]) {
      // biome-ignore format: one line
      const eager = runEagerly({ name: 'eager', inputs: program.spec.inputs, fn: ({ x, i }) => ({ y: fn(x!, i!) }) }, {
        x: { data: x, shape: [2, 3] },
        i: { data: Int32Array.from(indices), shape: [2, 2] },
      })
      const isRefused = await eager.then(() => false, () => true) // biome-ignore format: one line
      const ran = await program.run({ x, i: Int32Array.from(indices) }).then(() => false, () => true) // biome-ignore format: one line
      expect([indices, ran]).toEqual([indices, isRefused])
    }
  })
})

describe('what JavaScript hands over', () => {
  const fn = ({ x }: Tensors) => ({ y: x! })
  const x = { shape: ['R'], dtype: 'float32' }
  test.each<[string, unknown, unknown, object]>([
    ['no function', 5, R4, { code: 'invalid-declaration', found: 'the number 5' }],
    ['no declaration', fn, undefined, { code: 'invalid-option' }],
    ['no inputs', fn, { dims: {} }, { code: 'invalid-declaration', found: 'nothing' }],
    ['an input that is null', fn, { inputs: { x: null } }, { code: 'invalid-declaration', found: 'null' }],
    [
      'a shape that is no list',
      fn,
      { inputs: { x: { ...x, shape: 'R' } } },
      { code: 'invalid-declaration', found: 'the string R' },
    ],
    ['a type that there is not', fn, { inputs: { x: { ...x, dtype: 'float64' } } }, { code: 'unsupported-dtype' }],
    ['a range that is none', fn, { inputs: { x }, dims: { R: 4 } }, { code: 'invalid-declaration', found: 'the number 4' }],
  ])('%s', async (_, given, spec, error) => {
    expect(await problemOf(compile(given as typeof fn, spec as typeof R4))).toMatchObject(error)
  })

  test('of a run', async () => {
    await using program = await compile(({ x }) => ({ y: tf.gather(x as tf.Tensor1D, tf.tensor1d([-1], 'int32')) }), {
      inputs: { x: float('R') },
      dims: { R: [1, 9] },
    })
    const run = (inputs: unknown) => problemOf(program.run(inputs as { x: Float32Array }))
    expect(await run(undefined)).toMatchObject({ code: 'missing-input', expected: 'x' })
    expect(await run({ x: [1, 2] })).toMatchObject({ code: 'shape-mismatch', found: 'a list of 2' })
    expect(await run({ x: Float32Array.of(1, 2) })).toMatchObject({ code: 'run-failed', hint: expect.stringContaining('index') })
  })
})
