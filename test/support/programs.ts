import { expect } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { runEagerly } from '../../src/program/eager.js'
import type { Dimensions } from '../../src/program/operations/sizes.js'
import { type InputSpec, Program, type ProgramSpec } from '../../src/program/program.js'
import { difference, dot, random, type Values } from './numbers.js'
import { testDevice } from './test-device.js'

type Tensors = Record<string, tf.Tensor>
type Results = Record<string, Values>

/** A tensor function to hold against its compiled self. */
export interface Subject {
  readonly name: string
  readonly inputs: Readonly<Record<string, InputSpec>>
  readonly dims: Dimensions
  /** One float output. */
  readonly compute: (inputs: Tensors) => tf.Tensor
  /** Inputs with a gradient. */
  readonly differentiable: readonly string[]
}

/** The specification of `output`, and of `grad.NAME` for each differentiable input: the gradient of sum(output * cotangent). */
export function gradientSpec({ name, inputs, dims, compute, differentiable }: Subject): ProgramSpec {
  return {
    name,
    dims,
    inputs,
    fn: ({ cotangent, ...given }) => {
      const output = compute(given)
      if (differentiable.length === 0) return { output }
      const loss = (...xs: tf.Tensor[]) => {
        const own = Object.fromEntries(differentiable.map((input, i) => [input, xs[i]!]))
        return tf.sum(tf.mul(compute({ ...given, ...own }), cotangent!)) as tf.Scalar
      }
      const { grads } = tf.valueAndGrads(loss)(differentiable.map(input => given[input]!))
      return { output, ...Object.fromEntries(differentiable.map((input, i) => [`grad.${input}`, grads[i]!])) }
    },
  }
}

/** A subject that is compiled once and then run both ways. */
export class Compared {
  readonly spec: ProgramSpec
  private program: Promise<Program> | undefined

  constructor(readonly subject: Subject) {
    this.spec = gradientSpec(subject)
  }

  async compiled(inputs: Results): Promise<Results> {
    this.program ??= Program.compile(this.spec, { threads: 1, device: testDevice })
    return (await this.program).runWithShapes(inputs)
  }

  eager(inputs: Results): Promise<Results> {
    return runEagerly(this.spec, inputs)
  }

  /** Runs both ways and returns the largest difference between them (see `difference`). */
  async disagreement(inputs: Results, floor?: number): Promise<number> {
    const compiled = await this.compiled(inputs)
    const eager = await this.eager(inputs)
    expect(Object.keys(compiled).sort()).toEqual(Object.keys(eager).sort())
    let largest = 0
    for (const [name, { data, shape }] of Object.entries(eager)) {
      expect([...compiled[name]!.shape], `shape of ${name}`).toEqual([...shape])
      largest = Math.max(largest, difference(compiled[name]!.data as Float32Array, data as Float32Array, floor))
    }
    return largest
  }

  /**
   * Derivatives along random directions against central differences of eager runs: the largest error, relative to the lengths of
   * gradient (0.1 at least) and direction.
   */
  async finiteDifferenceError(inputs: Results, step = 1e-2): Promise<number> {
    const results = await this.eager(inputs)
    const cotangent = inputs.cotangent!.data as Float32Array
    let largest = 0
    for (const [i, name] of this.subject.differentiable.entries()) {
      const gradient = results[`grad.${name}`]!.data as Float32Array
      const { data, shape } = inputs[name]! as { data: Float32Array; shape: readonly number[] }
      for (let seed = 0; seed < 3; seed++) {
        const direction = random(100 * i + seed + 7, shape).data
        const moved = async (h: number) => {
          const { output } = await this.eager({ ...inputs, [name]: { data: data.map((x, j) => x + h * direction[j]!), shape } })
          return dot(output!.data as Float32Array, cotangent)
        }
        const slope = ((await moved(step)) - (await moved(-step))) / (2 * step)
        const length = Math.sqrt(dot(gradient, gradient) * dot(direction, direction))
        largest = Math.max(
          largest,
          Math.abs(slope - dot(gradient, direction)) / Math.max(length, 0.1 * Math.sqrt(dot(direction, direction))),
        )
      }
    }
    return largest
  }

  async dispose(): Promise<void> {
    await (await this.program)?.dispose()
  }
}
