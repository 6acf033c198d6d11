import { rmSync } from 'node:fs'
import { describe, expect, expectTypeOf, test, vi } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { declareCode } from '../../src/code-identity.js'
import { compile } from '../../src/program/compile.js'
import { OpenPrograms } from '../../src/program/open-programs.js'
import { Program, type ProgramInput } from '../../src/program/program.js'
import { Session, type TypedArray } from '../../src/program/session.js'
import { ownCache } from '../support/cache.js'
import { random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'

ownCache()

const opened = () =>
  compile(({ x, w, bias }) => ({ y: tf.add(tf.matMul(x, w), bias), total: tf.sum(x) }), {
    inputs: {
      x: { shape: ['R', 8], dtype: 'float32' },
      w: { shape: [8, 3], dtype: 'float32' },
      bias: { shape: [3], dtype: 'float32' },
    },
    dims: { R: [1, 64] },
  })
const inputs = { x: random(1, [2, 8]).data, w: random(2, [8, 3]).data, bias: random(3, [3]).data }

describe('names and ranks of inputs and outputs are known', () => {
  test('to the function, and to whoever runs it', async () => {
    await using program = await opened()
    expectTypeOf(program).toEqualTypeOf<Program<'x' | 'w' | 'bias', 'y' | 'total'>>()
    expectTypeOf(program.run).parameter(0).toEqualTypeOf<Readonly<Record<'x' | 'w' | 'bias', ProgramInput>>>()
    const { y, total } = await program.run(inputs)
    expectTypeOf(y).toEqualTypeOf<TypedArray>()
    expect([y.length, total.length]).toEqual([6, 1])
    // A program is a program whatever its names.
    expectTypeOf(program).toExtend<Program>()
  })

  test('and mistakes are found before anything runs', async () => {
    await using program = await opened()
    // @ts-expect-error: w and bias are missing
    expect((await problemOf(program.run({ x: inputs.x }))).code).toBe('missing-input')
    // @ts-expect-error: there is no output z
    expect((await program.run(inputs)).z).toBeUndefined()
    const matrix = { shape: ['R', 8], dtype: 'float32' } as const
    // @ts-expect-error: there is no input z
    expect((await problemOf(compile(({ z }) => ({ y: tf.neg(z) }), { inputs: { x: matrix }, dims: { R: [1, 9] } }))).code).toBe(
      'function-failed',
    )
    // @ts-expect-error: a promise is no tensor
    const asynchronous = compile(async ({ x }) => ({ y: tf.neg(x) }), { inputs: { x: matrix }, dims: { R: [1, 9] } })
    expect((await problemOf(asynchronous)).code).toBe('asynchronous-function')
  })

  test('ranks are those of the declared shapes; of a shape that is no literal any', async () => {
    await using program = await compile(
      ({ scalar, vector, matrix, some }) => {
        expectTypeOf(scalar).toEqualTypeOf<tf.Scalar>()
        expectTypeOf(vector).toEqualTypeOf<tf.Tensor1D>()
        expectTypeOf(matrix).toEqualTypeOf<tf.Tensor2D>()
        expectTypeOf(some).toEqualTypeOf<tf.Tensor>()
        return { y: tf.neg(matrix) }
      },
      {
        inputs: {
          scalar: { shape: [], dtype: 'float32' },
          vector: { shape: ['R'], dtype: 'int32' },
          matrix: { shape: ['R', 3], dtype: 'float32' },
          some: { shape: [2, 3] as readonly (number | string)[], dtype: 'float32' },
        },
        dims: { R: [1, 9] },
      },
    )
    expect(program.cached).toBe(false)
  })
})

describe('a program that was disposed', () => {
  test('says so when it is run', async () => {
    const program = await opened()
    await program.dispose()
    const error = await problemOf(program.run(inputs))
    expect([error.code, error.hint]).toEqual(['disposed', expect.stringContaining('dispose')])
    expect((await problemOf(program.runWithShapes(inputs))).code).toBe('disposed')
  })

  test('may be disposed again, at the same time too', async () => {
    const program = await opened()
    await Promise.all([program.dispose(), program.dispose()])
    await program.dispose()
    await program[Symbol.asyncDispose]()
  })

  test('ends what it had begun', async () => {
    const program = await opened()
    const running = [program.run(inputs), program.run(inputs)]
    await program.dispose()
    const [first, second] = await Promise.all(running)
    expect(first!.y).toEqual(second!.y)
  })

  test('leaves another one of the same function alone', async () => {
    const [one, other] = await Promise.all([opened(), opened()])
    await one.dispose()
    expect((await other.run(inputs)).y).toHaveLength(6)
    await other.dispose()
  })

  test('is disposed at the end of a block', async () => {
    let kept: Program | undefined
    {
      await using program = await opened()
      await program.run(inputs)
      kept = program
    }
    expect((await problemOf(kept.run(inputs))).code).toBe('disposed')
  })
})

describe('a program that rests', () => {
  test('is opened again when it is run, also where its file is gone', async () => {
    await using program = await opened()
    const before = await program.run(inputs)
    await program.rest()
    expect(await program.run(inputs)).toEqual(before)
    await Promise.all([program.rest(), program.rest()])
    rmSync(program.path)
    expect(await program.run(inputs)).toEqual(before)
  })

  test('does not while it runs', async () => {
    await using program = await opened()
    const running = program.run(inputs)
    await program.rest()
    expect((await running).y).toHaveLength(6)
  })

  test('was not asked for lately among many of one owner', async () => {
    const release = vi.spyOn(Session.prototype, 'release')
    const programs = new OpenPrograms({ threads: 1 }, 'the test')
    const url = import.meta.url
    const part = declareCode(url, {})
    const open = (times: number) =>
      programs.open({
        name: 'times',
        origin: { module: url, parts: [part], options: { times } },
        spec: () => ({
          inputs: { x: { shape: ['R'], dtype: 'float32' } },
          dims: { R: [1, 8] },
          fn: ({ x }) => ({ y: tf.mul(x!, times) }),
        }),
      })
    const all: Program[] = []
    // The first is asked for again and again; the second rests once there are 24 others.
    for (let i = 0; i < 26; i++) all.push(await open(i), await open(0))
    await vi.waitFor(() => expect(release).toHaveBeenCalledTimes(2))
    for (const [i, program] of all.filter((_, at) => at % 2 === 0).entries())
      expect((await program.run({ x: Float32Array.of(2) })).y).toEqual(Float32Array.of(2 * i))
    await programs.dispose()
    release.mockRestore()
  })
})

test('a session that was released says so, and may be released again', async () => {
  const program = await opened()
  const session = await Session.open(program.path, { device: 'cpu', threads: 1 })
  await session.release()
  await session[Symbol.asyncDispose]()
  expect((await problemOf(session.run({}, {}))).code).toBe('disposed')
  await program.dispose()
})

test('nothing within is reachable from outside', async () => {
  await using program = await Program.compile({
    name: 'plain',
    inputs: { x: { shape: ['R'], dtype: 'float32' } },
    dims: { R: [1, 9] },
    fn: ({ x }) => ({ y: tf.neg(x!) }),
  })
  expect(Object.keys(program).sort()).toEqual(['cached', 'path', 'spec'])
})
