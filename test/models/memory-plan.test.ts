import { totalmem } from 'node:os'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { availableMemory, comparedPairs, MemoryPlan } from '../../src/model/memory.js'
import type { Checkpoint } from '../../src/model/weights/checkpoint.js'
import { problem } from '../support/problem.js'

/** What a batch is expected to take, from the sizes of a model: `memory.test.ts` holds such an estimate against what is measured. */

const config = {
  ...{ hiddenSize: 100, numLayers: 10, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 20, intermediateSize: 300 },
  ...{ vocabSize: 1000, tieWordEmbeddings: true },
}
const checkpoint = (sizes: Partial<typeof config> = {}) =>
  ({
    config: { ...config, ...sizes },
    family: { embedding: 'embedding' },
    weights: [{ name: 'w', shape: [1024, 16], parts: [{ source: 'w', shape: [1024, 16] }] }],
    file: { tensors: new Map([['w', { dtype: 'F32' }]]) },
  }) as unknown as Checkpoint

const BASE = 280e6
const ARENA = 1.05
const WEIGHTS = 4 * 1024 * 16
// Numbers of a layer that its backward pass reads: two residual rows, queries and what attention makes of them, keys and values, two products of the MLP.
const LAYER = 4 * (2 * 100 + 2 * (4 + 2) * 20 + 2 * 300)

test('bytes of a row: of all layers when training, of their inputs and three layers where they are computed again, of two otherwise', () => {
  const plan = new MemoryPlan(checkpoint(), 1e9)
  expect(plan.bytesPerRow(true)).toBe(LAYER * 10)
  expect(plan.bytesPerRow(true, true)).toBe(4 * 100 * 10 + LAYER * 3)
  expect(plan.bytesPerRow(false)).toBe(LAYER * 2)
  expect([plan.budget, plan.weights]).toEqual([1e9, WEIGHTS])
  const kept = { row: 7, pair: 2 }
  const own = new MemoryPlan({ ...checkpoint(), family: { embedding: '', kept: () => kept } } as unknown as Checkpoint, 1e9)
  expect(own.bytesPerRow(true)).toBe(4 * 7 * 10)
})

test('bytes of a run: rows, what attention compares, and logits', () => {
  const plan = new MemoryPlan(checkpoint(), 1e9)
  expect(plan.estimate(0, 0, true)).toBe(BASE + WEIGHTS)
  const [rows, heads, pairs] = [50, 7, 900]
  const logits = heads * 1000 * 4 * 3
  const score = 4 * 4 * pairs
  const all = { pairs, atOnce: pairs }
  const computed = (numbers: number) => BASE + WEIGHTS + ARENA * numbers
  expect(plan.estimate(rows, heads, true, all)).toBe(computed(rows * LAYER * 10 + score * (9 + 2) + logits))
  expect(plan.estimate(rows, heads, true, all, true)).toBe(computed(rows * (4 * 100 * 10 + LAYER * 3) + score * (1 + 2) + logits))
  expect(plan.estimate(rows, heads, false, all)).toBe(computed(rows * LAYER * 2 + score * 3 + logits))
  // Groups that are computed one after the other keep nothing of what they compare.
  const inTurn = { pairs, atOnce: 90 }
  for (const recompute of [false, true]) expect(plan.estimate(0, 0, true, inTurn, recompute)).toBe(computed((score / 10) * 5))
  expect(plan.estimate(0, 0, false, inTurn)).toBe(computed((score / 10) * 5))
})

test('attention compares rows as long as the longest, with what they share beside each', () => {
  expect(comparedPairs(3, 10)).toEqual({ pairs: 300, atOnce: 300 })
  expect(comparedPairs(3, 10, 2)).toEqual({ pairs: 3 * 144, atOnce: 3 * 144 })
  // Many are computed group after group, long groups in parts of 256 queries.
  expect(comparedPairs(1, 1024)).toEqual({ pairs: 1 << 20, atOnce: 1 << 20 })
  expect(comparedPairs(1, 1000, 25)).toEqual({ pairs: 1025 ** 2, atOnce: 256 * 1025 })
  expect(comparedPairs(100, 200)).toEqual({ pairs: 4_000_000, atOnce: 200 * 200 })
  // Short groups are computed at once, however many.
  expect(comparedPairs(100, 180)).toEqual({ pairs: 3_240_000, atOnce: 3_240_000 })
})

test('a table of embeddings beside a head of its own is not read whole', () => {
  const own = checkpoint({ tieWordEmbeddings: false })
  const table = { name: 'embedding', shape: [64, 16], parts: [{ source: 'w', shape: [64, 16] }] }
  const plan = new MemoryPlan({ ...own, weights: [...own.weights, table] } as unknown as Checkpoint, 1e9)
  expect([plan.weights, plan.estimate(0, 0, true)]).toEqual([WEIGHTS + 64 * 64, BASE + WEIGHTS])
})

test('a model that does not fit is refused, at the byte', () => {
  const needed = BASE + WEIGHTS + ARENA * LAYER * 10
  expect(() => new MemoryPlan(checkpoint(), needed).requireWeights()).not.toThrow()
  const error = problem(() => new MemoryPlan(checkpoint(), needed - 1).requireWeights())
  expect(error.code).toBe('not-enough-memory')
  expect(error.found).toContain('0.28 GB')
})

test('what is spare lies beside a training run of 1,024 rows, all of which are read if their logits fit', () => {
  const full = (heads: number, vocabSize = 1000) => BASE + WEIGHTS + ARENA * (1024 * LAYER * 10 + heads * vocabSize * 4 * 3)
  expect(new MemoryPlan(checkpoint(), full(1024) + 77).spare).toBe(77)
  expect(new MemoryPlan(checkpoint(), full(1024)).spare).toBe(0)
  expect(new MemoryPlan(checkpoint(), 1e6).spare).toBe(0)
  // 256 MB of logits are 640 rows of this vocabulary.
  const wide = 100_000
  expect(new MemoryPlan(checkpoint({ vocabSize: wide }), full(640, wide) + 5).spare).toBe(5)
})

test('a row that is too long is refused with what would fit, at the byte', () => {
  const run = { what: 'a long row', rows: 500, headRows: 1, compared: comparedPairs(1, 500) }
  const needs = (recompute: boolean) => new MemoryPlan(checkpoint(), 1e9).estimate(500, 1, true, comparedPairs(1, 500), recompute)
  const refusal = (budget: number, recompute = false) =>
    problem(() => new MemoryPlan(checkpoint(), budget).requireTrainingRun(run, recompute))
  expect(() => new MemoryPlan(checkpoint(), needs(false)).requireTrainingRun(run, false)).not.toThrow()
  expect(() => new MemoryPlan(checkpoint(), needs(true)).requireTrainingRun(run, true)).not.toThrow()
  expect(refusal(needs(false) - 1).hint).toMatch(/with --train.recompute it takes 0.30 GB, and fits/)
  expect(refusal(needs(true) - 1).hint).toMatch(/still too much: shorten the texts/)
  expect(refusal(needs(true) - 1, true).hint).toMatch(/^shorten the texts/)
  expect(refusal(needs(false) - 1)).toMatchObject({ code: 'not-enough-memory', message: expect.stringContaining('a long row') })
})

describe('a batch is cut', () => {
  const big = 1e12
  const split = (
    lengths: number[],
    options: { headRows?: number[]; training?: boolean; budget?: number; vocabSize?: number } = {},
  ) => {
    const { headRows = lengths.map(() => 1), training, budget = big, vocabSize = 1000 } = options
    return new MemoryPlan(checkpoint({ vocabSize }), budget).split(lengths, {
      headRows,
      ...(training !== undefined && { training }),
    })
  }

  test('nowhere when it fits, and not at all when it is empty', () => {
    expect(split([10, 20, 30])).toEqual([[0, 3]])
    expect(split([])).toEqual([])
  })

  test('after so many rows: 1,024 when training, 2,048 otherwise', () => {
    expect(split([1000, 24, 1, 1023, 1], { training: true })).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ])
    expect(split([2000, 48, 1, 2047, 1])).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ])
  })

  test('where logits would be more than 256 MB', () => {
    // 640 rows of this vocabulary.
    const options = { vocabSize: 100_000, headRows: [600, 40, 1, 639, 1] }
    expect(split([5, 5, 5, 5, 5], options)).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ])
  })

  test.each([true, false])('where the budget ends (training: %s), at the byte', training => {
    const plan = new MemoryPlan(checkpoint(), big)
    const two = plan.estimate(60, 5, training, comparedPairs(2, 40))
    const options = { headRows: [2, 3, 5, 1], training }
    expect(split([40, 20, 30, 5], { ...options, budget: two })).toEqual([
      [0, 2],
      [2, 4],
    ])
    expect(split([40, 20, 30, 5], { ...options, budget: two - 1 })[0]).toEqual([0, 1])
  })

  test('never within rows that belong together', () => {
    const plan = new MemoryPlan(checkpoint(), big)
    const lengths = [300, 200, 400, 100, 30, 5]
    const headRows = lengths.map(() => 1)
    const split = (together: readonly number[] | undefined) => plan.split(lengths, { headRows, training: true, together })
    expect(split(undefined)).toEqual([
      [0, 4],
      [4, 6],
    ])
    // There is room for the row of 100 tokens, but not for that of 30 that belongs to it.
    expect(split([2, 1, 2, 1])).toEqual([
      [0, 3],
      [3, 6],
    ])
    expect(split([6])).toEqual([[0, 6]])
    const wide = new MemoryPlan(checkpoint({ vocabSize: 100_000 }), big)
    expect(wide.split([5, 5, 5, 5], { headRows: [600, 20, 30, 10], together: [1, 2, 1] })).toEqual([
      [0, 1],
      [1, 4],
    ])
  })

  test('never within a row, however long', () => {
    expect(split([5000, 5000, 3], { training: true })).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
    ])
    expect(split([10, 10], { budget: 1 })).toEqual([
      [0, 1],
      [1, 2],
    ])
  })
})

describe('what the process may still take', () => {
  afterEach(() => vi.restoreAllMocks())
  const given = (limit: number, available: number) => {
    vi.spyOn(process, 'constrainedMemory').mockReturnValue(limit)
    vi.spyOn(process as unknown as { availableMemory: () => number }, 'availableMemory').mockReturnValue(available)
    return availableMemory()
  }

  test('is nine tenths of what is free, or of what a container allows', () => {
    expect(given(0, 1e6)).toBeCloseTo(0.9e6, 3)
    expect(given(5e5, 1e6)).toBeCloseTo(4.5e5, 3)
    expect(given(2e6, 1e6)).toBeCloseTo(0.9e6, 3)
    // Without a container the limit is 0, or more than there is.
    expect(given(0, 1e18)).toBeCloseTo(totalmem() * 0.9, 0)
    expect(given(2 ** 62, 1e18)).toBeCloseTo(totalmem() * 0.9, 0)
    vi.restoreAllMocks()
    expect(new MemoryPlan(checkpoint()).budget).toBeLessThanOrEqual(totalmem() * 0.9)
    expect(new MemoryPlan(checkpoint()).budget).toBeGreaterThan(0)
  })
})
