import { vi } from 'vitest'
import { runEagerly } from '../../../src/program/eager.js'
import { Program, type ProgramInput, type ProgramSpec } from '../../../src/program/program.js'
import type { TypedArray } from '../../../src/program/session.js'
import { difference } from '../../support/numbers.js'
import { weightReader } from '../../support/weights.js'

/** A program as it was run, whoever ran it: what went in, and what came out. */
interface Execution {
  readonly spec: ProgramSpec
  readonly inputs: Readonly<Record<string, ProgramInput>>
  readonly outputs: Readonly<Record<string, TypedArray>>
}

/** The programs that are run in the course of some work. */
export async function executionsOf(work: () => Promise<unknown>): Promise<Execution[]> {
  const executions: Execution[] = []
  const { run } = Program.prototype
  const spy = vi.spyOn(Program.prototype, 'run').mockImplementation(async function (this: Program, inputs) {
    const outputs = await run.call(this, inputs)
    executions.push({ spec: this.spec, inputs, outputs })
    return outputs
  })
  try {
    await work()
  } finally {
    spy.mockRestore()
  }
  return executions
}

/** The largest difference between what a program came to and what its function comes to when it is run as it is written. */
export async function eagerDisagreement({ spec, inputs, outputs }: Execution): Promise<number> {
  const values = Object.keys(spec.inputs).map(name => {
    const value = inputs[name]!
    const fixed = spec.inputs[name]!.shape as number[]
    return [name, ArrayBuffer.isView(value) ? { data: value, shape: fixed } : { data: value.data, shape: value.shape }] as const
  })
  const eager = await runEagerly(spec, Object.fromEntries(values), weightReader(spec.weights!))
  const names = Object.keys(eager)
  if (names.length !== Object.keys(outputs).length) return Number.POSITIVE_INFINITY
  return Math.max(...names.map(name => difference(outputs[name] ?? [], eager[name]!.data, 1e-3)))
}
