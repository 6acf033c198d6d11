import { afterAll, describe, expect, test } from 'vitest'
import { gatherRows } from '../../kernels/gather-rows.js'
import { gelu } from '../../kernels/gelu.js'
import { layerNorm } from '../../kernels/layer-norm.js'
import { linear } from '../../kernels/linear.js'
import { rmsNorm } from '../../kernels/rms-norm.js'
import { rotaryEmbedding } from '../../kernels/rotary-embedding.js'
import { rotaryTable } from '../../kernels/rotary-table.js'
import { swiGlu } from '../../kernels/silu.js'
import { tf } from '../../kernels/tf.js'
import { ConfigReader } from '../../models/blocks/config-reader.js'
import { readRotary, rotaryFrequencies } from '../../models/blocks/rotary.js'
import { type InputSpec, Program } from '../../src/program/program.js'
import { kernelCases } from '../support/kernel-fixtures.js'
import { difference, integers, random, type Values } from '../support/numbers.js'
import { Compared, type Subject } from '../support/programs.js'
import { testDevice } from '../support/test-device.js'

type Arrays = Record<string, Values>
interface Case {
  name: string
  eps?: number
  approximation?: 'tanh' | 'exact'
  positions?: number[]
  rope?: Record<string, unknown>
  ids?: number[]
  tensors: Record<string, Values & { data: Float32Array }>
}

interface Entry {
  readonly fixture: string
  /** Cases of the fixture that this function computes. */
  readonly cases: (one: Case) => boolean
  readonly subject: Omit<Subject, 'name' | 'dims'>
  /** Inputs from a case's tensors and scalars. */
  readonly given?: (one: Case) => Arrays
  /** Inputs of our own, for so many rows. */
  readonly sample: (rows: number) => Arrays
  /** Largest difference to torch, relative to the largest value. */
  readonly tolerance?: number
}

const float = (...shape: (string | number)[]): InputSpec => ({ shape, dtype: 'float32' })
const int = (...shape: (string | number)[]): InputSpec => ({ shape, dtype: 'int32' })
const same = (...shape: (string | number)[]) => ({ x: float(...shape), cotangent: float(...shape) })

const rmsNormOf = (epsilon: number): Entry => ({
  fixture: 'rms-norm',
  cases: one => one.eps === epsilon,
  subject: {
    inputs: { ...same('R', 32), weight: float(32) },
    compute: ({ x, weight }) => rmsNorm(x!, weight!, epsilon),
    differentiable: ['x'],
  },
  sample: rows => ({ x: random(1, [rows, 32], 3), weight: random(2, [32]), cotangent: random(3, [rows, 32]) }),
})

const geluOf = (approximation: 'tanh' | 'erf'): Entry => ({
  fixture: 'gelu',
  cases: one => (one.approximation === 'tanh') === (approximation === 'tanh'),
  subject: { inputs: same('R', 'F'), compute: ({ x }) => gelu(x!, approximation), differentiable: ['x'] },
  sample: rows => ({ x: random(1, [rows, 7], 4), cotangent: random(2, [rows, 7]) }),
})

const linearOf = (bias: boolean): Entry => ({
  fixture: 'linear',
  cases: one => one.name.endsWith('-bias') === bias,
  subject: {
    inputs: { x: float('R', 8), weight: float(6, 8), ...(bias ? { bias: float(6) } : {}), cotangent: float('R', 6) },
    compute: ({ x, weight, bias }) => linear(x!, weight!, bias),
    differentiable: ['x'],
  },
  sample: rows => ({
    x: random(1, [rows, 8]),
    weight: random(2, [6, 8]),
    ...(bias ? { bias: random(3, [6]) } : {}),
    cotangent: random(4, [rows, 6]),
  }),
})

/** cos and sin of positions times frequencies, [R, D/2]. */
function tables(positions: readonly number[], frequencies: ArrayLike<number>): Arrays {
  const angles = positions.flatMap(position => Array.from(frequencies, frequency => position * frequency))
  const shape = [positions.length, frequencies.length]
  return { cos: { data: Float32Array.from(angles, Math.cos), shape }, sin: { data: Float32Array.from(angles, Math.sin), shape } }
}

const ENTRIES: Record<string, Entry> = {
  'linear without bias': linearOf(false),
  'linear with bias': linearOf(true),
  'rmsNorm, epsilon 1e-5': rmsNormOf(1e-5),
  'rmsNorm, epsilon 1e-6': rmsNormOf(1e-6),
  layerNorm: {
    fixture: 'layer-norm',
    cases: () => true,
    subject: {
      inputs: { ...same('R', 32), weight: float(32), bias: float(32) },
      compute: ({ x, weight, bias }) => layerNorm(x!, weight!, bias!, 1e-5),
      differentiable: ['x'],
    },
    sample: rows => ({
      x: random(1, [rows, 32], 3),
      weight: random(2, [32]),
      bias: random(3, [32]),
      cotangent: random(4, [rows, 32]),
    }),
    // Rows shifted by 30 lose that much of float32's precision before anything is computed.
    tolerance: 1e-5,
  },
  rotaryEmbedding: {
    fixture: 'rotary-embedding',
    cases: () => true,
    subject: {
      inputs: { q: float('R', 'H', 16), cotangent: float('R', 'H', 16), cos: float('R', 8), sin: float('R', 8) },
      compute: ({ q, cos, sin }) => tf.transpose(rotaryEmbedding(tf.transpose(q!, [1, 0, 2]), cos!, sin!), [1, 0, 2]),
      differentiable: ['q'],
    },
    given: ({ positions, tensors }) => tables(positions!, tensors.inverseFrequencies!.data),
    sample: rows => ({
      q: random(1, [rows, 3, 16]),
      cotangent: random(2, [rows, 3, 16]),
      ...tables(
        Array.from({ length: rows }, (_, i) => (7 * i) % 31),
        Float32Array.from({ length: 8 }, (_, i) => 10 ** -i),
      ),
    }),
  },
  swiGlu: {
    fixture: 'swi-glu',
    cases: () => true,
    subject: {
      inputs: { gate: float('R', 'F'), up: float('R', 'F'), cotangent: float('R', 'F') },
      compute: ({ gate, up }) => swiGlu(gate!, up!),
      differentiable: ['gate', 'up'],
    },
    sample: rows => ({ gate: random(1, [rows, 5], 4), up: random(2, [rows, 5]), cotangent: random(3, [rows, 5]) }),
  },
  'gelu, tanh': geluOf('tanh'),
  'gelu, erf': geluOf('erf'),
  gatherRows: {
    fixture: 'embedding',
    cases: ({ ids }) => new Set(ids).size === ids!.length,
    subject: {
      inputs: { table: float('R', 6), index: int('Q'), inverse: int('R'), cotangent: float('Q', 6) },
      compute: ({ table, index, inverse }) => gatherRows(table!, index!, inverse!),
      differentiable: ['table'],
    },
    given: ({ ids }) => taken(13, ids!),
    sample: rows => {
      const ids = Array.from({ length: rows }, (_, i) => rows - 1 - i).filter(i => i % 3 !== 1)
      return { table: random(1, [rows, 6]), ...taken(rows, ids), cotangent: random(2, [ids.length, 6]) }
    },
  },
  'gather with repeated rows': {
    fixture: 'embedding',
    cases: () => true,
    subject: {
      inputs: { table: float('V', 6), ids: int('R'), cotangent: float('R', 6) },
      compute: ({ table, ids }) => tf.gather(table!, ids as tf.Tensor1D),
      differentiable: ['table'],
    },
    given: ({ ids }) => ({ ids: integers(ids!) }),
    sample: rows => ({
      table: random(1, [5, 6]),
      ids: integers(Array.from({ length: rows }, (_, i) => (i * i) % 5)),
      cotangent: random(2, [rows, 6]),
    }),
  },
}

function taken(rows: number, ids: readonly number[]): Arrays {
  const inverse = Array.from({ length: rows }, (_, row) => (ids.includes(row) ? ids.indexOf(row) : ids.length))
  return { index: integers(ids), inverse: integers(inverse) }
}

describe.each(Object.entries(ENTRIES))('%s', (name, { fixture, cases, subject, given, sample, tolerance = 2e-6 }) => {
  const dims = Object.fromEntries(
    Object.values(subject.inputs)
      .flatMap(({ shape }) => shape)
      .filter(size => typeof size === 'string')
      .map(size => [size, [1, 64] as const]),
  )
  const compared = new Compared({ ...subject, name, dims })
  afterAll(() => compared.dispose())

  test('values and gradients equal torch, compiled and eager', async () => {
    const chosen = (await kernelCases<Case>(fixture)).filter(cases)
    expect(chosen.length).toBeGreaterThan(0)
    for (const one of chosen) {
      const inputs = { ...one.tensors, ...given?.(one) }
      const used = Object.fromEntries(Object.keys(subject.inputs).map(input => [input, inputs[input]!]))
      for (const results of [await compared.compiled(used), await compared.eager(used)]) {
        for (const [output, { data }] of Object.entries(results)) {
          const worst = difference(data as Float32Array, one.tensors[output]!.data)
          expect(worst, `${output} of ${one.name}`).toBeLessThan(tolerance)
        }
      }
    }
  })

  test.each([1, 2, 7, 33])('the program equals an eager run: %i rows', async rows => {
    expect(await compared.disagreement(sample(rows))).toBeLessThan(2e-6)
  })

  test.each([1, 5])('the gradient equals finite differences: %i rows', async rows => {
    expect(await compared.finiteDifferenceError(sample(rows))).toBeLessThan(1e-3)
  })
})

test('rotary frequencies equal those of transformers', async () => {
  for (const { name, rope, tensors } of await kernelCases<Case>('rotary-embedding')) {
    const config = readRotary(new ConfigReader({ rope_parameters: rope }, name), { headDim: 16, maxPositionEmbeddings: 8192 })
    expect(difference(rotaryFrequencies(config), tensors.inverseFrequencies!.data), name).toBeLessThan(1e-7)
  }
})

test('tables of a rotation are those of angles rounded to float32, at the end of a long context too', async () => {
  const frequencies = Float32Array.of(1, 0.31, 1e-3)
  const positions = Int32Array.of(0, 1, 1023, 4097, 131_071)
  const table = (of: 'cos' | 'sin', at: tf.Tensor) => rotaryTable(of, at, frequencies, 1.5)
  const inputs = { positions: int('R') }
  const fn: Program['spec']['fn'] = given => ({ cos: table('cos', given.positions!), sin: table('sin', given.positions!) })
  await using program = await Program.compile({ name: 'tables', inputs, dims: { R: [1, 64] }, fn }, { device: testDevice })
  const made = await program.run({ positions })
  const angles = [...positions].flatMap(at => [...frequencies].map(frequency => Math.fround(at * frequency)))
  for (const of of ['cos', 'sin'] as const) {
    const wanted = angles.map(angle => 1.5 * Math[of](angle))
    expect(difference(made[of] as Float32Array, wanted), of).toBeLessThan(3e-7)
  }
})

test('a rotation and the rotation by the opposite angle cancel', () => {
  tf.tidy(() => {
    const x = tf.randomNormal([2, 5, 8]) as tf.Tensor
    const angles = tf.randomNormal([5, 4]) as tf.Tensor
    const turned = rotaryEmbedding(x, tf.cos(angles), tf.sin(angles))
    const back = rotaryEmbedding(turned, tf.cos(angles), tf.neg(tf.sin(angles)))
    expect(difference(back.dataSync(), x.dataSync())).toBeLessThan(1e-6)
  })
})
