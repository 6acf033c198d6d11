import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Sampler, type SamplingOptions } from '../../src/generate/sampling.js'

const logits = Float32Array.of(1, 3, 2.5, -1, 0.5, 3.5, -4, 2)
const softmax = (values: ArrayLike<number>, temperature = 1): number[] => {
  const weights = Array.from(values, x => Math.exp(x / temperature))
  const total = weights.reduce((a, b) => a + b)
  return weights.map(x => x / total)
}

/** How often each token is drawn. */
function draws(options: SamplingOptions, count: number, ids: readonly number[] = []): number[] {
  const sampler = new Sampler(options)
  const counts = new Array<number>(logits.length).fill(0)
  for (let i = 0; i < count; i++) counts[sampler.choose(logits, ids).token]!++
  return counts
}

/** Pearson's chi-square of counts against probabilities, and 99.9 % of its distribution by Wilson and Hilferty. */
function chiSquare(counts: readonly number[], probabilities: readonly number[]): { value: number; limit: number } {
  const total = counts.reduce((a, b) => a + b)
  const kept = probabilities.flatMap((p, i) => (p > 0 ? [{ p, count: counts[i]! }] : []))
  const value = kept.reduce((sum, { p, count }) => sum + (count - p * total) ** 2 / (p * total), 0)
  const freedom = kept.length - 1
  return { value, limit: freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3 }
}

/** Probabilities of some tokens alone. */
const only = (probabilities: readonly number[], kept: readonly number[]) => {
  const total = kept.reduce((sum, id) => sum + probabilities[id]!, 0)
  return probabilities.map((p, id) => (kept.includes(id) ? p / total : 0))
}

describe('draws follow the distribution', () => {
  const halved = softmax(logits, 2)
  test.each<[string, SamplingOptions, number[]]>([
    ['temperature 1', { temperature: 1 }, softmax(logits)],
    ['temperature 2', { temperature: 2 }, halved],
    ['top-k 3', { temperature: 1, topK: 3 }, only(softmax(logits), [5, 1, 2])],
    ['top-k above the vocabulary', { temperature: 1, topK: 50 }, softmax(logits)],
    ['top-p', { temperature: 2, topP: 0.6 }, only(halved, [5, 1, 2])],
    ['top-p after top-k', { temperature: 2, topK: 4, topP: 0.6 }, only(halved, [5, 1])],
    ['min-p', { temperature: 1, minP: 0.3 }, only(softmax(logits), [5, 1, 2])],
    // exp(-0.75) = 0.47 of the likeliest: 3.5 - 1.5 is left out.
    ['min-p after temperature', { temperature: 2, minP: 0.48 }, only(halved, [5, 1, 2])],
  ])('%s', (_, options, probabilities) => {
    const counts = draws({ ...options, seed: 7 }, 20_000)
    for (const [id, p] of probabilities.entries()) if (p === 0) expect(counts[id]).toBe(0)
    const { value, limit } = chiSquare(counts, probabilities)
    expect(value).toBeLessThan(limit)
  })

  test('of the likeliest tokens in a place, whatever the options choose from', () => {
    const sampler = new Sampler({
      temperature: 0.3,
      topK: 1,
      repetitionPenalty: 2,
      logProbabilities: true,
      alternatives: 3,
      seed: 1,
    })
    const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b)
    const { alternatives } = sampler.choose(logits, [order[0]!])
    expect(alternatives.map(({ id }) => id)).toEqual(order.slice(0, 3))
    for (const { id, logProbability } of alternatives) expect(logProbability).toBeCloseTo(Math.log(softmax(logits)[id]!), 6)
  })

  test('a repetition penalty divides positive logits and multiplies negative ones', () => {
    const penalised = logits.slice()
    penalised[5]! /= 1.5
    penalised[6]! *= 1.5
    const counts = draws({ temperature: 1, repetitionPenalty: 1.5, seed: 3 }, 20_000, [5, 6, 5])
    const { value, limit } = chiSquare(counts, softmax(penalised))
    expect(value).toBeLessThan(limit)
    expect(new Sampler({ repetitionPenalty: 1.5 }).choose(logits, [5]).token).toBe(1)
  })
})

test('the largest vocabulary is cut as a small one is', () => {
  const random = (i: number) => Math.sin(i * 12.9898) * 4
  const many = Float32Array.from({ length: 50_000 }, (_, i) => random(i))
  const order = Array.from(many.keys()).sort((a, b) => many[b]! - many[a]! || a - b)
  const probabilities = softmax(many)
  const seen = (options: SamplingOptions) => {
    const sampler = new Sampler({ ...options, seed: 1 })
    return Array.from({ length: 30 }, () => sampler.choose(many, []).token)
  }
  for (const token of seen({ temperature: 1, topK: 40 })) expect(order.indexOf(token)).toBeLessThan(40)
  for (const topP of [0.01, 0.5, 0.999]) {
    let sum = 0
    const reached = order.map(id => {
      sum += probabilities[id]!
      return sum >= topP
    })
    const size = reached.indexOf(true) + 1
    for (const token of seen({ temperature: 1, topP })) expect(order.indexOf(token)).toBeLessThan(size + 1)
  }
})

test('the same seed draws the same tokens, another one others', () => {
  const sequence = (seed: number) => {
    const sampler = new Sampler({ temperature: 1.5, seed })
    return Array.from({ length: 40 }, () => sampler.choose(logits, []).token)
  }
  expect(sequence(5)).toEqual(sequence(5))
  expect(sequence(5)).not.toEqual(sequence(6))
  expect(sequence(2 ** 40)).toEqual(sequence(2 ** 40))
})

test('log-probabilities are those of the distribution that no option has changed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), fc.float({ min: 0.25, max: 3, noNaN: true }), (seed, temperature) => {
      const sampler = new Sampler({ temperature, topK: 4, repetitionPenalty: 1.3, logProbabilities: true, seed })
      const { token, logProbability } = sampler.choose(logits, [1, 5])
      expect(logProbability).toBeCloseTo(Math.log(softmax(logits)[token]!), 6)
    }),
  )
  expect(new Sampler({}).needsLogits).toBe(false)
  expect(new Sampler({ temperature: 0, logProbabilities: true }).needsLogits).toBe(true)
})

test.each<SamplingOptions>([
  { temperature: -1 },
  { temperature: Number.NaN },
  { temperature: Number.POSITIVE_INFINITY },
  { topP: 0 },
  { topP: 1.1 },
  { topK: -1 },
  { topK: 1.5 },
  { minP: 2 },
  { repetitionPenalty: 0 },
  { seed: 0.5 },
])('%j is refused', options => {
  expect(() => new Sampler(options)).toThrow(expect.objectContaining({ code: 'invalid-option' }))
})
