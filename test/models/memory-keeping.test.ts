import { describe, expect, test } from 'vitest'
import { comfortably, keepingOn, MemoryPlan } from '../../src/model/memory.js'
import type { Checkpoint } from '../../src/model/weights/checkpoint.js'
import type { Device } from '../../src/program/devices.js'
import type { KeepingChoice } from '../../src/program/keeping.js'
import type { Precision } from '../../src/program/precision.js'
import { problem } from '../support/problem.js'

/** In which form weights are kept, by what is asked for, what fits, and what a device computes in. */

const WEIGHTS = 1024 * 16
/** A model of one weight, which its file has in a type of numbers. */
const checkpoint = (dtype: string, tieWordEmbeddings = true) =>
  ({
    config: {
      ...{ hiddenSize: 100, numLayers: 10, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 20, intermediateSize: 300 },
      ...{ vocabSize: 1000, tieWordEmbeddings },
    },
    family: { embedding: 'w' },
    weights: [{ name: 'w', shape: [1024, 16], parts: [{ source: 'w', shape: [1024, 16] }] }],
    file: { tensors: new Map([['w', { dtype }]]) },
  }) as unknown as Checkpoint
/** As large as four thousand million. */
const huge = (dtype: string) => {
  const shape = [62_500, 16_384]
  return {
    ...checkpoint(dtype),
    weights: [{ name: 'w', shape, parts: [{ source: 'w', shape }] }],
  } as unknown as Checkpoint
}

test('float32 is comfortable up to half of the memory, and up to 4 GB', () => {
  expect([comfortably(2e9), comfortably(8e9), comfortably(100e9)]).toEqual([1e9, 4e9, 4e9])
})

describe('by what fits', () => {
  test('float32 where that is comfortable, the smaller form otherwise, float32 where there is none', () => {
    const keeping = (dtype: string, budget: number) => new MemoryPlan(checkpoint(dtype), budget).keeping
    expect(keeping('F16', 8 * WEIGHTS)).toBe('fp32')
    expect(keeping('F16', 8 * WEIGHTS - 1)).toBe('compact')
    expect(keeping('F32', 8 * WEIGHTS - 1)).toBe('fp32')
    expect(new MemoryPlan(huge('F16'), 1e12).keeping).toBe('compact')
  })

  test('or as it is said; the weights are then as large as that form', () => {
    const plan = (choice?: KeepingChoice) => new MemoryPlan(checkpoint('F16'), 1e9, choice)
    expect([plan().keeping, plan('auto').keeping, plan('fp32').keeping, plan('compact').keeping]).toEqual([
      ...['fp32', 'fp32', 'fp32', 'compact'],
    ])
    expect([plan('fp32').weights, plan('compact').weights, plan('compact').float32Weights]).toEqual([
      ...[4 * WEIGHTS, 2 * WEIGHTS, 4 * WEIGHTS],
    ])
    expect(plan('fp32').compactWeights).toBe(2 * WEIGHTS)
    expect([plan('compact').opening, plan().opening]).toEqual([{ keepWeights: 'compact' }, { keepWeights: 'auto' }])
  })

  test('what programs unpack of compact weights counts, and what a half precision casts', () => {
    const base = (choice: 'fp32' | 'compact' | 'fp16', device: Device = 'cpu') => {
      const plan = new MemoryPlan(checkpoint('F16'), 1e9, choice, [device])
      return plan.estimate(0, 0, true) - plan.weights
    }
    const plain = base('fp32')
    expect(base('compact')).toBeGreaterThan(plain)
    expect(base('fp16')).toBe(plain + 4 * WEIGHTS)
    expect(base('fp16', 'webgpu')).toBe(plain)
    expect(new MemoryPlan(checkpoint('F16'), 1e9, 'fp16').opening).toEqual({ precision: 'fp16' })
  })
})

describe('by the device', () => {
  const on = (device: string, choice?: string, precision?: string) =>
    keepingOn(device as 'cpu', choice as KeepingChoice, precision as Precision)
  const refused = (...given: [string, string?, string?]) => problem(() => on(...given))

  test('what opens programs as they are written has every form, others float32', () => {
    expect([on('cpu'), on('cpu', 'compact'), on('cpu', 'fp32'), on('webgpu'), on('webgpu', 'fp32')]).toEqual([
      ...['auto', 'compact', 'fp32', 'fp32', 'fp32'],
    ])
    expect(refused('webgpu', 'compact')).toMatchObject({ code: 'invalid-option', expected: 'fp32, or auto' })
  })

  test('half precision where its programs can be so, in 16 bits alone', () => {
    expect([on('cpu', 'auto', 'bf16'), on('webgpu', 'auto', 'fp16'), on('webgpu', undefined, 'fp16')]).toEqual([
      ...['bf16', 'fp16', 'fp16'],
    ])
    expect(refused('webgpu', 'auto', 'bf16')).toMatchObject({ found: 'precision: bf16', expected: 'fp32, fp16' })
    expect(refused('cpu', 'compact', 'fp16')).toMatchObject({ found: 'keepWeights: compact' })
  })

  test('another word is refused with the nearest', () => {
    expect(refused('cpu', 'compakt')).toMatchObject({ code: 'invalid-option', found: 'compakt' })
    expect(refused('cpu', 'compakt').message).toContain('keepWeights is not usable')
    expect(refused('cpu', 'auto', 'fp61')).toMatchObject({ code: 'invalid-option', found: 'fp61' })
    expect(refused('cpu', 'auto', 'fp61').message).toContain('precision is not usable')
  })
})

test('a run that was too large for its device is halved, again and again, down to one token', () => {
  const plan = new MemoryPlan(checkpoint('F16'), 1e9)
  expect([plan.halveRows(100), plan.halveRows(31), plan.halveRows(100), plan.halveRows(1)]).toEqual([50, 15, 15, 1])
})

test('what does not fit is told the smaller form of the weights where there is one', () => {
  const hint = (dtype: string, choice: KeepingChoice) =>
    problem(() => new MemoryPlan(checkpoint(dtype), 1000, choice).requireWeights()).hint ?? ''
  expect(hint('F16', 'fp32')).toContain('--keep-weights compact')
  expect(hint('F32', 'fp32')).not.toContain('--keep-weights compact')
  expect(hint('F16', 'compact')).not.toContain('--keep-weights compact')
})
