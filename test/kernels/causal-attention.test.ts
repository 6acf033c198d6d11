import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { causalAttention } from '../../kernels/attention/causal.js'
import { kernels } from '../../kernels/kernel.js'
import { tf } from '../../kernels/tf.js'
import {
  attentionArrays,
  LAYOUT_DIMENSIONS,
  type LayoutKind,
  layoutInputs,
  layoutOf,
  rowsOf,
  type Segment,
} from '../support/attention-layout.js'
import { kernelCases } from '../support/kernel-fixtures.js'
import { difference, random, type Values } from '../support/numbers.js'
import { Compared } from '../support/programs.js'

interface Case {
  name: string
  segments: Segment[]
  heads: number
  keyValueHeads: number
  window: number | null
}

const D = 8
type Floats = Values & { data: Float32Array }

/** One program for each number of heads, window and kind of layout; rows stand first in every tensor: [R, H, D]. */
const programs = new Map<string, Compared>()

function programOf(heads: number, keyHeads: number, window: number, kind: LayoutKind, softCap = 0): Compared {
  const key = [heads, keyHeads, window, kind, softCap].join()
  const known = programs.get(key)
  if (known) return known
  const float = (rows: string, count: number) => ({ shape: [rows, count, D], dtype: 'float32' as const })
  const swap = (x: tf.Tensor) => tf.transpose(x, [1, 0, 2])
  const made = new Compared({
    name: `attention ${key}`,
    inputs: {
      q: float('Q', heads),
      k: float('P+S', keyHeads),
      v: float('P+S', keyHeads),
      cotangent: float('Q', heads),
      ...layoutInputs(kind),
    },
    dims: LAYOUT_DIMENSIONS,
    compute: ({ q, k, v, ...layout }) =>
      swap(causalAttention(swap(q!), swap(k!), swap(v!), layoutOf(layout), { scale: D ** -0.5, window, softCap })),
    differentiable: ['q', 'k', 'v'],
  })
  programs.set(key, made)
  return made
}

afterAll(() => Promise.all([...programs.values()].map(program => program.dispose())))

/** Rows of a tensor [R, H, D] in another order; -1 is a row of zeros. */
function ordered({ data, shape }: Floats, rows: readonly number[]): Floats {
  const size = data.length / shape[0]!
  const out = new Float32Array(rows.length * size)
  for (const [i, row] of rows.entries()) if (row >= 0) out.set(data.subarray(row * size, (row + 1) * size), i * size)
  return { data: out, shape: [rows.length, ...shape.slice(1)] }
}

/** The way back, for the rows that there are; the others stay zero. */
function restored(data: Float32Array, rows: readonly number[], total: number): Float32Array {
  const size = data.length / rows.length
  const out = new Float32Array(total * size)
  for (const [i, row] of rows.entries()) if (row >= 0) out.set(data.subarray(i * size, (i + 1) * size), row * size)
  return out
}

/** q, k, v [R, H, D] and a cotangent over a forest, as the kernel's inputs. */
function arrange(
  segments: readonly Segment[],
  { q, k, v, cotangent }: Record<string, Floats>,
  { read, inTurn = false }: { readonly read?: readonly number[]; readonly inTurn?: boolean } = {},
) {
  const { inputs, rows, queries, kind } = attentionArrays(segments, read, inTurn)
  return {
    inputs: {
      q: ordered(q!, queries),
      k: ordered(k!, rows),
      v: ordered(v!, rows),
      cotangent: ordered(cotangent!, queries),
      ...inputs,
    },
    rows,
    queries,
    kind,
  }
}

const byHeads = ({ data, shape }: Values, heads: number): Floats => ({
  data: data as Float32Array,
  shape: [shape[0]!, heads, D],
})

const fixtures = await kernelCases<Case>('attention')

describe.each(fixtures)('$name equals torch', ({ segments, heads, keyValueHeads, window, tensors }) => {
  const values = {
    q: tensors.q!,
    k: tensors.k!,
    v: tensors.v!,
    cotangent: byHeads(tensors.cotangent!, heads),
  }
  const total = rowsOf(segments).length

  test.each([
    ['compiled', false],
    ['eager', false],
    ['compiled', true],
    ['eager', true],
  ] as const)('%s, in turn: %s', async (way, inTurn) => {
    const { inputs, rows, queries, kind } = arrange(segments, values, { inTurn })
    const results = await programOf(heads, keyValueHeads, window ?? 0, kind)[way](inputs)
    for (const [name, order] of Object.entries({ output: queries, 'grad.q': queries, 'grad.k': rows, 'grad.v': rows })) {
      const found = restored(results[name]!.data as Float32Array, order, total)
      expect(difference(found, tensors[name]!.data, 1), name).toBeLessThan(2e-6)
    }
  })

  test.each([false, true])('a part of the rows alone, as the last layer reads them, in turn: %s', async inTurn => {
    const read = Array.from({ length: total }, (_, row) => row).filter(row => row % 3 === 2 || row === total - 1)
    const { inputs, queries, kind } = arrange(segments, values, { read, inTurn })
    const program = programOf(heads, keyValueHeads, window ?? 0, kind)
    const { output } = await program.compiled(inputs)
    const found = restored(output!.data as Float32Array, queries, total)
    const size = found.length / total
    for (const row of read) {
      const at = [row * size, (row + 1) * size] as const
      expect(difference(found.subarray(...at), tensors.output!.data.subarray(...at))).toBeLessThan(2e-6)
    }
    expect(await program.disagreement(inputs, 1)).toBeLessThan(2e-6)
  })
})

const EDGES: Record<string, Segment[]> = {
  'one row': [{ parent: -1, length: 1 }],
  'length 1, no prefix': [
    { parent: -1, length: 1 },
    { parent: -1, length: 1 },
  ],
  'length 1 behind one shared row': [
    { parent: -1, length: 1 },
    { parent: 0, length: 1 },
  ],
  'no padding': [
    { parent: -1, length: 2 },
    { parent: 0, length: 4 },
    { parent: 0, length: 4 },
  ],
  'no padding and no prefix': [
    { parent: -1, length: 3 },
    { parent: -1, length: 3 },
    { parent: 0, length: 2 },
    { parent: 1, length: 2 },
  ],
}

const sample = (segments: readonly Segment[], heads: number, keyHeads: number) => {
  const rows = rowsOf(segments).length
  return {
    q: random(1, [rows, heads, D], 2),
    k: random(2, [rows, keyHeads, D], 2),
    v: random(3, [rows, keyHeads, D]),
    cotangent: random(4, [rows, heads, D]),
  }
}

test.each(Object.entries(EDGES))(
  'the gradient equals finite differences, and the program an eager run: %s',
  async (_, segments) => {
    for (const [window, softCap] of [
      [0, 0],
      [2, 0],
      [0, 1.5],
    ] as const) {
      for (const inTurn of [false, true]) {
        const { inputs, kind } = arrange(segments, sample(segments, 4, 2), { inTurn })
        const program = programOf(4, 2, window, kind, softCap)
        expect(await program.disagreement(inputs, 1)).toBeLessThan(2e-6)
        expect(await program.finiteDifferenceError(inputs)).toBeLessThan(1e-3)
      }
    }
  },
)

const KERNELS: Record<LayoutKind, string> = {
  distinct: 'CausalAttention',
  overlapping: 'CausalAttentionOverlapping',
  'in turn': 'CausalAttentionInTurn',
}

/** Forests of two levels below the shared root. */
const forests = fc
  .record({
    root: fc.integer({ min: 0, max: 4 }),
    branches: fc.array(
      fc.record({ length: fc.integer({ min: 1, max: 5 }), leaves: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }) }),
      { minLength: 1, maxLength: 4 },
    ),
  })
  .map(({ root, branches }) => {
    const segments: Segment[] = root > 0 ? [{ parent: -1, length: root }] : []
    for (const { length, leaves } of branches) {
      const own = segments.push({ parent: root > 0 ? 0 : -1, length }) - 1
      for (const leaf of leaves) segments.push({ parent: own, length: leaf })
    }
    return segments
  })

test('blocks, reference and program agree on random forests', async () => {
  await fc.assert(
    fc.asyncProperty(
      forests,
      fc.constantFrom(0, 1, 3),
      fc.constantFrom(0, 1.5),
      fc.constantFrom([4, 2], [2, 2], [3, 1]),
      fc.boolean(),
      async (segments, window, softCap, heads, inTurn) => {
        const { inputs, kind } = arrange(segments, sample(segments, heads[0]!, heads[1]!), { inTurn })
        const program = programOf(heads[0]!, heads[1]!, window, kind, softCap)
        const { output } = await program.compiled(inputs)
        const kernel = kernels.get(KERNELS[kind])!
        const run = (form: 'reference' | 'expand') =>
          tf.tidy(() => {
            const given = Object.fromEntries(
              Object.entries(inputs).map(([name, { data, shape }]) => {
                const tensor = tf.tensor(data as Float32Array, [...shape], data instanceof Int32Array ? 'int32' : 'float32')
                return [name, 'qkv'.includes(name) ? tf.transpose(tensor, [1, 0, 2]) : tensor]
              }),
            )
            return tf.transpose(kernel[form]!(given, { scale: D ** -0.5, window, softCap }), [1, 0, 2]).dataSync()
          })
        const reference = run('reference')
        expect(difference(run('expand'), reference)).toBeLessThan(2e-6)
        expect(difference(output!.data, reference)).toBeLessThan(2e-6)
      },
    ),
    { numRuns: 60, seed: 5 },
  )
})
