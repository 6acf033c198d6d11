import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { GradpromptError } from '../../src/errors.js'
import { compile } from '../../src/program/compile.js'
import { runEagerly } from '../../src/program/eager.js'
import { Program, type ProgramSpec } from '../../src/program/program.js'
import { ownCache } from '../support/cache.js'
import { difference, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'

ownCache()

type Matrix = tf.Tensor2D
const float = (...shape: (string | number)[]) => ({ shape, dtype: 'float32' as const })

describe('something else at one end of a range is refused', () => {
  const inputs = { x: float('R', 4) }
  const different = (is: (rows: number) => boolean) => (given: Record<string, tf.Tensor>) => ({
    y: is(given.x!.shape[0]!) ? tf.exp(given.x!) : tf.sin(given.x!),
  })

  test.each<[string, [number, number], (rows: number) => boolean]>([
    ['at a size of 1', [1, 64], rows => rows === 1],
    ['at a size of 2', [1, 64], rows => rows === 2],
    ['at a low end', [17, 4000], rows => rows === 17],
    ['at a high end', [17, 4000], rows => rows === 4000],
    ['in a range of one size more', [6, 7], rows => rows === 6],
    ['at an even size', [9, 63], rows => rows % 2 === 0],
    ['at a multiple of 3', [9, 24], rows => rows % 3 === 0],
    ['somewhere in a range of eight', [3, 10], rows => rows === 6],
  ])('%s', async (_, range, is) => {
    const error = await problemOf(compile(different(is), { inputs, dims: { R: range } }))
    expect(error.code).toBe('size-branch')
    expect(error.found).toContain('branches.test.ts')
  })

  test.each<[string, (x: tf.Tensor) => tf.Tensor]>([
    ['a squeeze without axes', x => tf.squeeze(x)],
    ['a squeeze in between', x => tf.softmax(tf.squeeze(tf.sum(tf.reshape(x, [-1, 2, 2]), 2)))],
    ['a number', x => tf.mul(x, x.shape[0] === 1 ? 2 : 3)],
    ['an option', x => tf.cumsum(x, 0, x.shape[0] === 1)],
    ['an axis', x => tf.sum(x, x.shape[0] === 1 ? 0 : 1, true)],
    ['a tensor', x => tf.add(x, tf.tensor1d(x.shape[0] === 1 ? [1, 2, 3, 4] : [1, 2, 3, 5]))],
    ['a sum over all', x => tf.sum(x.shape[0] === 1 ? tf.square(x) : x)],
  ])('%s at a size of 1', async (_, fn) => {
    const error = await problemOf(compile(({ x }) => ({ y: fn(x!) }), { inputs, dims: { R: [1, 64] } }))
    expect(['size-branch', 'unsolved-constant']).toContain(error.code)
    expect((await compile(({ x }) => ({ y: fn(x!) }), { inputs, dims: { R: [2, 64] } })).cached).toBe(false)
  })

  test.each<[string, (x: tf.Tensor) => tf.Tensor]>([
    ['a squeeze that changes nothing in the end', x => tf.reshape(tf.sin(tf.squeeze(x)), [-1, 4])],
    ['a branch with the same result', x => (x.shape[0] === 1 ? tf.reshape(tf.exp(tf.reshape(x, [4])), [1, 4]) : tf.exp(x))],
    ['a sum that is needed from two rows on', x => (x.shape[0] === 1 ? tf.reshape(x, [4]) : tf.sum(x, 0))],
    ['a transpose of a row', x => (x.shape[0] === 1 ? tf.reshape(x, [4, 1]) : tf.transpose(x))],
    ['a bias that is added to one row', x => tf.add(x.shape[0] === 1 ? tf.reshape(x, [4]) : x, tf.ones([x.shape[0]!, 1]))],
  ])('not %s', async (_, fn) => {
    const program: Program = await compile(({ x }) => ({ y: fn(x!) }), { inputs, dims: { R: [1, 64] } })
    for (const rows of [1, 2, 64]) {
      const given = { x: random(1, [rows, 4]) }
      const { y } = await program.runWithShapes(given)
      const eager = await runEagerly({ name: 'eager', inputs, fn: ({ x }) => ({ y: fn(x!) }) }, given)
      expect([...y!.shape]).toEqual(eager.y!.shape)
      expect(difference(y!.data, eager.y!.data)).toBeLessThan(1e-5)
    }
    await program.dispose()
  })
})

type Sizes = Readonly<Record<'R' | 'T', number>>
type Condition = (sizes: Sizes) => boolean

/** Ways to do something else at some sizes, with the sizes left and right of where it changes. */
interface Branch {
  readonly name: string
  readonly holds: Condition
  readonly near: readonly number[]
}

const ranges = fc
  .tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 90 }))
  .map(([low, more]): [number, number] => [low, low + more])

const conditionOn = (name: 'R' | 'T', [low, high]: [number, number]): fc.Arbitrary<Branch> =>
  fc.oneof(
    fc
      .constantFrom(low, high, 1, 2)
      .map(at => ({ name: `${name} = ${at}`, holds: (s: Sizes) => s[name] === at, near: [at, at + 1] })),
    fc
      .integer({ min: low, max: high })
      .map(at => ({ name: `${name} > ${at}`, holds: (s: Sizes) => s[name] > at, near: [at, at + 1] })),
    fc.constantFrom(2, 3, 4).map(by => ({
      name: `${name} % ${by} = 0`,
      holds: (s: Sizes) => s[name] % by === 0,
      near: [by * Math.ceil(low / by), by * Math.ceil(low / by) + 1],
    })),
  )

const branch = (R: [number, number], T: [number, number]): fc.Arbitrary<Branch> => {
  const single = fc.oneof(conditionOn('R', R), conditionOn('T', T))
  const threshold = (name: 'R' | 'T', [low, high]: [number, number]) =>
    fc.tuple(fc.integer({ min: low, max: high }), fc.boolean()).map(
      ([at, above]): Branch => ({
        name: `${name} ${above ? '>' : '<='} ${at}`,
        holds: s => s[name] > at === above,
        near: [at, at + 1],
      }),
    )
  return fc.oneof(
    { weight: 4, arbitrary: single },
    { weight: 2, arbitrary: fc.tuple(threshold('R', R), threshold('T', T)).map(([a, b]) => ({ name: `${a.name} and ${b.name}`, holds: (s: Sizes) => a.holds(s) && b.holds(s), near: [...a.near, ...b.near] })) },
    { weight: 1, arbitrary: fc.constant({ name: 'R > T', holds: (s: Sizes) => s.R > s.T, near: [] }) },
    { weight: 1, arbitrary: fc.constant({ name: 'R = T', holds: (s: Sizes) => s.R === s.T, near: [] }) },
  ) // biome-ignore format: a table
}

/** What a function does, or something else where a condition holds. */
const STEPS: Record<string, (x: Matrix, other: boolean) => tf.Tensor> = {
  'another operation': (x, other) => (other ? tf.tanh(x) : tf.sin(x)),
  'another number': (x, other) => tf.mul(x, other ? 0.5 : 0.25),
  'another number of operations': (x, other) => (other ? tf.neg(tf.neg(x)) : x),
  'a sum over another axis': (x, other) => tf.sub(x, tf.mean(x, other ? 0 : 1, true)),
  'the same, said otherwise': (x, other) => (other ? tf.reshape(tf.sin(tf.reshape(x, [-1])), x.shape) : tf.sin(x)),
  'a squeeze': (x, other) => (other ? tf.add(x, tf.squeeze(tf.mean(x, 0, true))) : tf.add(x, tf.mean(x, 0))),
  'nothing else': x => tf.softmax(x),
  'a gradient with broadcasting': x =>
    tf.add(x, tf.grad((x: tf.Tensor) => tf.mean(tf.square(tf.add(tf.mean(x, 1, true), tf.mean(x, 0)))))(x)),
  'other data': (x, other) => tf.add(x, tf.slice(tf.tensor1d(other ? [1, 2] : [1, 3]), [1], [1])),
  'another size': (x, other) => tf.slice(tf.pad(x, [[1, 0], [0, 0]]), [other ? 1 : 0, 0], x.shape as [number, number]), // biome-ignore format: one row
}

const subjects = fc.tuple(ranges, ranges).chain(([R, T]) =>
  fc.record({
    R: fc.constant(R),
    T: fc.constant(T),
    steps: fc.array(fc.tuple(fc.constantFrom(...Object.keys(STEPS)), branch(R, T)), { minLength: 1, maxLength: 3 }),
    squeezes: fc.boolean(),
  }),
)

const REFUSALS = ['size-branch', 'unsolved-constant', 'function-failed']

test('random functions with branches on sizes are right at every size, or refused', async () => {
  let [compiled, refused] = [0, 0]
  await fc.assert(
    fc.asyncProperty(subjects, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), async (subject, chance) => {
      const { R, T, steps, squeezes } = subject
      const spec: ProgramSpec = {
        name: steps.map(([step, { name }]) => `${step} where ${name}`).join(', '),
        inputs: { x: float('R', 'T') },
        dims: { R, T },
        fn: ({ x }) => {
          const [rows, columns] = x!.shape as [number, number]
          const y = steps.reduce<tf.Tensor>(
            (y, [step, { holds }]) => STEPS[step]!(y as Matrix, holds({ R: rows, T: columns })),
            x!,
          )
          return { y: squeezes ? tf.squeeze(y) : y }
        },
      }
      let program: Program
      try {
        program = await Program.compile(spec, { threads: 1 })
      } catch (error) {
        expect(error instanceof GradpromptError && error.code, String(error)).toSatisfy((code: string) => REFUSALS.includes(code))
        refused++
        return
      }
      compiled++
      const within =
        ([low, high]: [number, number]) =>
        (value: number) =>
          Math.min(high, Math.max(low, value))
      const sizes = (range: [number, number], near: readonly number[]) => [
        ...new Set([...range, 1, 2, ...near, ...[0, 1].map(() => range[0] + Math.floor(chance.next().value! * (range[1] - range[0])))].map(within(range))),
      ] // biome-ignore format: one list
      const near = steps.flatMap(([, { near }]) => near)
      for (const rows of sizes(R, near)) {
        for (const columns of sizes(T, near)) {
          const inputs = { x: random(rows + 100 * columns, [rows, columns]) }
          const { y } = await program.runWithShapes(inputs)
          const wanted = (await runEagerly(spec, inputs)).y!
          const at = `${spec.name} at R=${rows} T=${columns}`
          expect([...y!.shape], at).toEqual(wanted.shape)
          expect(difference(y!.data, wanted.data, 0.01), at).toBeLessThan(1e-4)
        }
      }
      await program.dispose()
    }),
    { numRuns: 150, seed: 5 },
  )
  expect(compiled).toBeGreaterThan(30)
  expect(refused).toBeGreaterThan(30)
})
