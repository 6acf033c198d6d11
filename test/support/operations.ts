import { expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { runEagerly } from '../../src/program/eager.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'
import { type InputSpec, Program, type ProgramSpec } from '../../src/program/program.js'
import { difference, dot, product, random, type Values } from './numbers.js'
import { testDevice } from './test-device.js'

/** Rows of a table of operations, each held against its eager self at several sizes, its gradient against finite differences too. */

/** A declared input, and how its test values are made from numbers between 0 and 1. */
export interface Argument extends InputSpec {
  readonly value: (x: number) => number
}
type Shape = readonly (string | number)[]

export const between =
  (low: number, high: number) =>
  (...shape: Shape): Argument => ({ shape, dtype: 'float32', value: x => low + x * (high - low) })
export const float = between(-2, 2)
export const positive = between(0.1, 3)
export const unit = between(-0.9, 0.9)
export const int =
  (low: number, high: number) =>
  (...shape: Shape): Argument => ({ shape, dtype: 'int32', value: x => Math.floor(low + x * (high - low)) })
export const ids = int(0, 5)
export const signed = int(-6, 6)
export const bool = (...shape: Shape): Argument => ({ shape, dtype: 'bool', value: x => Number(x > 0.5) })
/** One of these numbers. */
export const oneOf =
  (dtype: 'float32' | 'int32', ...values: number[]) =>
  (...shape: Shape): Argument => ({
    shape,
    dtype,
    value: x => values[Math.min(values.length - 1, Math.floor(x * values.length))]!,
  })

export type T = tf.Tensor
export type Row = [
  name: string,
  inputs: Argument[],
  fn: (...inputs: tf.Tensor2D[]) => T | T[],
  options?: {
    /** Without one, or one that is held against finite differences. */
    gradient?: false | 'finite-differences'
    tolerance?: number
    dims?: Readonly<Record<string, readonly [number, number]>>
    sizes?: readonly Record<string, number>[]
  },
]
export const none = { gradient: false } as const
export const finite = { gradient: 'finite-differences' } as const
export const size = (x: T, axis: number) => x.shape[axis]!
/** Two sizes that vary. */
export const RT = ['R', 'T'] as const

const DIMS = { R: [1, 64], T: [1, 48] } as const
const SIZES = [
  { R: 1, T: 1 },
  { R: 1, T: 6 },
  { R: 7, T: 1 },
  { R: 5, T: 5 },
  { R: 13, T: 48 },
]

const inputName = (i: number) => `x${i}`

function specOf([name, args, fn, { gradient, dims = DIMS } = {}]: Row): ProgramSpec {
  const inputs = Object.fromEntries(args.map(({ shape, dtype }, i) => [inputName(i), { shape, dtype }]))
  const names = new Set(
    args.flatMap(({ shape }) => shape.flatMap(part => (typeof part === 'string' ? SizeExpression.parse(part).names() : []))),
  )
  const list = (results: T | T[]) => (Array.isArray(results) ? results : [results])
  return {
    name,
    inputs,
    dims: Object.fromEntries(Object.entries(dims).filter(([dimension]) => names.has(dimension))),
    fn: given => {
      const tensors = args.map((_, i) => given[inputName(i)]!) as tf.Tensor2D[]
      const outputs = Object.fromEntries(list(fn(...tensors)).map((output, i) => [`output${i}`, output]))
      const floats = args.flatMap(({ dtype }, i) => (dtype === 'float32' ? [i] : []))
      if (gradient === false || floats.length === 0) return outputs
      const loss = (...xs: T[]) => {
        const all = tensors.map((tensor, i) => (floats.includes(i) ? xs[floats.indexOf(i)]! : tensor))
        return tf.addN(list(fn(...(all as tf.Tensor2D[]))).map(y => tf.sum(tf.mul(y, tf.add(y, 1))))) as tf.Scalar
      }
      const { value, grads } = tf.valueAndGrads(loss)(floats.map(i => tensors[i]!))
      return { ...outputs, loss: value, ...Object.fromEntries(floats.map((at, i) => [`gradient${at}`, grads[i]!])) }
    },
  }
}

function sample({ shape, dtype, value }: Argument, sizes: Record<string, number>, seed: number): Values {
  const concrete = shape.map(part => (typeof part === 'number' ? part : SizeExpression.parse(part).evaluate(sizes)))
  const numbers = random(seed, concrete, 0.5).data
  const values = Array.from({ length: product(concrete) }, (_, i) => value(numbers[i]! + 0.5))
  const data =
    dtype === 'float32' ? Float32Array.from(values) : dtype === 'int32' ? Int32Array.from(values) : Uint8Array.from(values)
  return { data, shape: concrete }
}

/** The gradient's worst error along a random direction, as a share of both their lengths. */
async function finiteDifferenceError(spec: ProgramSpec, inputs: Record<string, Values>, name: string): Promise<number> {
  const step = 2e-3
  const { data, shape } = inputs[name]! as { data: Float32Array; shape: readonly number[] }
  const gradient = (await runEagerly(spec, inputs))[`gradient${name.slice(1)}`]!.data as Float32Array
  const direction = random(5, shape).data
  const lossAt = async (h: number) => {
    const moved = { ...inputs, [name]: { data: data.map((x, i) => x + h * direction[i]!), shape } }
    return Number((await runEagerly(spec, moved)).loss!.data[0])
  }
  const slope = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step)
  const length = Math.sqrt(dot(gradient, gradient) * dot(direction, direction))
  return Math.abs(slope - dot(gradient, direction)) / Math.max(length, 1)
}

/** Compiles each row once, and compares it with its eager self at all sizes. */
export function compareRows(rows: readonly Row[]): void {
  test.each(rows)('%s', async (...row) => {
    const [, args, , options = {}] = row
    const spec = specOf(row)
    const program = await Program.compile(spec, { threads: 1, device: testDevice })
    for (const sizes of options.sizes ?? SIZES) {
      const inputs = Object.fromEntries(args.map((arg, i) => [inputName(i), sample(arg, sizes, i + 1)]))
      const compiled = await program.runWithShapes(inputs)
      const eager = await runEagerly(spec, inputs)
      expect(Object.keys(compiled).sort()).toEqual(Object.keys(eager).sort())
      for (const [output, wanted] of Object.entries(eager)) {
        const found = compiled[output]!
        const at = `${output} at ${JSON.stringify(sizes)}`
        expect([...found.shape], `shape of ${at}`).toEqual(wanted.shape)
        expect(found.data.constructor.name, `type of ${at}`).toBe(wanted.data.constructor.name)
        expect(difference(found.data, wanted.data), at).toBeLessThan(options.tolerance ?? 1e-5)
      }
      if (options.gradient !== 'finite-differences') continue
      for (const name of Object.keys(eager).filter(output => output.startsWith('gradient'))) {
        const input = inputName(Number(name.slice('gradient'.length)))
        expect(await finiteDifferenceError(spec, inputs, input), `${name} at ${JSON.stringify(sizes)}`).toBeLessThan(5e-3)
      }
    }
    await program.dispose()
  })
}
