import { totalmem } from 'node:os'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { availableMemory, MemoryPlan } from '../../src/model/memory.js'
import type { Checkpoint } from '../../src/model/weights/checkpoint.js'
import { problem } from '../support/problem.js'

/** What a batch is expected to take, from the sizes of a model: `memory.test.ts` holds such an estimate against what is measured. */

const config = {
  ...{ hiddenSize: 100, numLayers: 10, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 20, intermediateSize: 300 },
  vocabSize: 1000,
}
const checkpoint = (sizes: Partial<typeof config> = {}) =>
  ({
    config: { ...config, ...sizes },
    weights: [{ name: 'w', shape: [1024, 16], parts: [{ source: 'w', shape: [1024, 16] }] }],
    file: { tensors: new Map([['w', { dtype: 'F32' }]]) },
  }) as unknown as Checkpoint

const BASE = 250e6
const WEIGHTS = 4 * 1024 * 16
// Floats of a layer: four residual rows, queries with keys and values twice, three products of the MLP.
const LAYER = 4 * (4 * 100 + 2 * (4 + 2 * 2) * 20 + 3 * 300)

test('bytes of a row: all layers and two more when training, three otherwise', () => {
  const plan = new MemoryPlan(checkpoint(), 1e9)
  expect(plan.bytesPerRow(true)).toBe(LAYER * 12)
  expect(plan.bytesPerRow(false)).toBe(LAYER * 3)
  expect([plan.budget, plan.weights]).toEqual([1e9, WEIGHTS])
})

test('bytes of a run: rows, what attention compares, and logits', () => {
  const plan = new MemoryPlan(checkpoint(), 1e9)
  expect(plan.estimate(0, 0, true)).toBe(BASE + WEIGHTS)
  const [rows, heads, pairs] = [50, 7, 900]
  expect(plan.estimate(rows, heads, true, pairs)).toBe(
    BASE + WEIGHTS + rows * LAYER * 12 + 4 * 4 * pairs * 2 * 10 + heads * 1000 * 4 * 4,
  )
  expect(plan.estimate(rows, heads, false, pairs)).toBe(
    BASE + WEIGHTS + rows * LAYER * 3 + 4 * 4 * pairs * 3 + heads * 1000 * 4 * 3,
  )
})

test('a model that does not fit is refused, at the byte', () => {
  const needed = BASE + WEIGHTS + LAYER * 12
  expect(() => new MemoryPlan(checkpoint(), needed).requireWeights()).not.toThrow()
  const error = problem(() => new MemoryPlan(checkpoint(), needed - 1).requireWeights())
  expect(error.code).toBe('not-enough-memory')
  expect(error.found).toContain('0.25 GB')
})

test('what is spare lies beside a training run of 1,024 rows, all of which are read if their logits fit', () => {
  const full = (heads: number, vocabSize = 1000) => BASE + WEIGHTS + 1024 * LAYER * 12 + heads * vocabSize * 4 * 4
  expect(new MemoryPlan(checkpoint(), full(1024) + 77).spare).toBe(77)
  expect(new MemoryPlan(checkpoint(), full(1024)).spare).toBe(0)
  expect(new MemoryPlan(checkpoint(), 1e6).spare).toBe(0)
  // 256 MB of logits are 640 rows of this vocabulary.
  const wide = 100_000
  expect(new MemoryPlan(checkpoint({ vocabSize: wide }), full(640, wide) + 5).spare).toBe(5)
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
    const two = plan.estimate(60, 5, training, 40 ** 2 + 20 ** 2)
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
