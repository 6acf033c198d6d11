import { describe, expect, test } from 'vitest'
import { TokenMask } from '../../src/generate/limits/token-mask.js'
import { highest, Sampler, type SamplingOptions } from '../../src/generate/sampling.js'
import { logSumExp } from '../../src/numbers.js'
import { problem } from '../support/problem.js'

/** Where sampling decides between equals, at its bounds, and what it says of options that are none. */

const tokens = (logits: readonly number[], options: SamplingOptions, count = 60) => {
  const sampler = new Sampler({ temperature: 1, seed: 3, ...options })
  return Array.from({ length: count }, () => sampler.choose(Float32Array.from(logits), []).token)
}
const drawn = (logits: readonly number[], options: SamplingOptions) => [...new Set(tokens(logits, options))].sort()

describe('of what is allowed', () => {
  const logits = Float32Array.of(1, 4, 2, 3, -1)
  const ways = [
    ['a list', [4, 2, 0]],
    ['a mask', TokenMask.of(5, [0, 2, 4])],
  ] as const
  const mass = logSumExp([1, 2, -1]) - logSumExp(logits)

  test.each(ways)('%s: the likeliest is taken, whatever is likelier', (_, allowed) => {
    expect(new Sampler({}).choose(logits, [], allowed)).toMatchObject({ token: 2, logProbability: Number.NaN, alternatives: [] })
    expect(new Sampler({}).choose(logits, [], allowed)).not.toHaveProperty('allowedLogProbability')
    const told = new Sampler({ logProbabilities: true }).choose(logits, [], allowed)
    expect(told.logProbability).toBeCloseTo(2 - logSumExp(logits), 5)
    expect(told).not.toHaveProperty('allowedLogProbability')
  })

  test.each(ways)('%s: the mass of all that is allowed is told where it is wanted', (_, allowed) => {
    const choice = new Sampler({ rejectedMass: true }).choose(logits, [], allowed)
    expect(choice.allowedLogProbability).toBeCloseTo(mass, 5)
    expect(choice.logProbability).toBeNaN()
    expect(new Sampler({ rejectedMass: true }).choose(logits, [])).not.toHaveProperty('allowedLogProbability')
    const all = allowed instanceof TokenMask ? TokenMask.of(5, [0, 1, 2, 3, 4]) : [0, 1, 2, 3, 4]
    expect(new Sampler({ rejectedMass: true }).choose(logits, [], all).allowedLogProbability).toBeCloseTo(0, 6)
  })

  test.each(ways)('%s: nothing else is drawn, and options cut within it', (_, allowed) => {
    const seen = (options: SamplingOptions) => {
      const sampler = new Sampler({ temperature: 1, seed: 3, ...options })
      return [...new Set(Array.from({ length: 200 }, () => sampler.choose(logits, [], allowed).token))].sort()
    }
    expect(seen({})).toEqual([0, 2, 4])
    expect(seen({ topK: 2 })).toEqual([0, 2])
    expect(seen({ topP: 0.5 })).toEqual([2])
    expect(seen({ topK: 2, topP: 0.99 })).toEqual([0, 2])
  })
})

test('no alternatives are told where none are wanted', () => {
  expect(new Sampler({ logProbabilities: true }).choose(Float32Array.of(1, 2), []).alternatives).toEqual([])
})

test('the likeliest token is the first of equals', () => {
  expect(highest(Float32Array.of(1, 3, 2, 3))).toBe(1)
  expect(highest(Float32Array.of(5))).toBe(0)
  expect(new Sampler({}).choose(Float32Array.of(0, 7, 7), []).token).toBe(1)
})

describe('at the bounds', () => {
  test('min-p keeps what is as likely as it says', () => {
    expect(drawn([2, 2, 1.9], { minP: 1 })).toEqual([0, 1])
    expect(drawn([2, 2, 1.9], { minP: 0.5 })).toEqual([0, 1, 2])
  })

  test('top-p ends where its share is reached, top-k at so many: of equals the first', () => {
    expect(drawn([0, 0], { topP: 0.5 })).toEqual([0])
    expect(drawn([0, 0], { topP: 0.51 })).toEqual([0, 1])
    expect(drawn([1, 1, 1, 1], { topK: 2 })).toEqual([0, 1])
    expect(drawn([0, 0, 0, 0], { topK: 3, topP: 0.5 })).toEqual([0, 1])
  })

  test('options that leave everything change nothing, not even the order of the draws', () => {
    const logits = [1, 3, 2.5, -1, 0.5, 3.5, -4, 2]
    const plain = tokens(logits, {})
    // So that a run of an earlier version can be repeated.
    expect(plain.slice(0, 16)).toEqual([7, 1, 1, 4, 5, 7, 5, 4, 5, 5, 1, 2, 1, 7, 5, 1])
    for (const options of [{ topK: 0 }, { topK: 8 }, { topK: 9 }, { topP: 1 }, { minP: 0 }, { repetitionPenalty: 1 }])
      expect(tokens(logits, options)).toEqual(plain)
  })
})

describe('tails', () => {
  test('the largest are found where nearly all are next to nothing', () => {
    const sampler = new Sampler({ logProbabilities: true, alternatives: 3 })
    const { alternatives } = sampler.choose(Float32Array.of(-60, 0, -50, -70, -55), [])
    expect(alternatives.map(({ id }) => id)).toEqual([1, 2, 4])
    expect(drawn([-60, 0, -50], { topK: 2 })).toEqual([1])
  })

  test('top-p reaches into a tail of many, as far as it has to', () => {
    // Tokens of 5e-7 each, together a tenth of the likeliest; the share ends at about the 90,000th of them.
    const logits = new Float32Array(200_000).fill(Math.log(5e-7))
    logits[0] = 0
    const sampler = new Sampler({ temperature: 1, seed: 5, topP: 0.95 })
    const seen = Array.from({ length: 60 }, () => sampler.choose(logits, []).token)
    expect(Math.max(...seen)).toBeGreaterThan(100)
    expect(Math.max(...seen)).toBeLessThan(90_200)
  })

  test('logits that are not numbers still give a token', () => {
    expect(tokens([Number.NaN, 1, 2], {}, 1)).toEqual([0])
    expect(tokens([Number.NaN, 1, 2], { topK: 2 }, 1)).toEqual([1])
  })
})

test('what is needed of the logits, and what is told', () => {
  const needs = (options: SamplingOptions) => new Sampler(options).needsLogits
  expect([needs({}), needs({ topK: 3, seed: 1 })]).toEqual([false, false])
  expect([needs({ temperature: 1 }), needs({ repetitionPenalty: 2 }), needs({ logProbabilities: true })]).toEqual([
    true,
    true,
    true,
  ])
  const logits = Float32Array.of(0, 1)
  expect(new Sampler({ alternatives: 2 }).choose(logits, [])).toEqual({ token: 1, logProbability: Number.NaN, alternatives: [] })
  expect(new Sampler({ logProbabilities: true }).choose(logits, [])).toMatchObject({ token: 1, alternatives: [] })
})

test('without a seed every request draws its own', () => {
  const logits = Array.from({ length: 50 }, () => 0)
  expect(tokens(logits, { seed: undefined } as never)).not.toEqual(tokens(logits, { seed: undefined } as never))
})

test.each<[SamplingOptions, string, string, string]>([
  [{ temperature: -1 }, 'temperature', '-1', 'a number from 0'],
  [{ topK: 1.5 }, 'topK', '1.5', 'a whole number from 0'],
  [{ topP: 0 }, 'topP', '0', 'a number above 0 to 1'],
  [{ minP: 2 }, 'minP', '2', 'a number from 0 to 1'],
  [{ repetitionPenalty: 0 }, 'repetitionPenalty', '0', 'a number above 0'],
  [{ alternatives: 1001 }, 'alternatives', '1001', 'a whole number from 0 to 1000'],
  [{ alternatives: 0.5 }, 'alternatives', '0.5', 'a whole number from 0 to 1000'],
  [{ seed: 0.5 }, 'seed', '0.5', 'a whole number'],
])('%j is refused in words', (options, name, found, expected) => {
  const error = problem(() => new Sampler(options))
  expect(error).toMatchObject({ code: 'invalid-option', found, expected })
  expect(error.message).toContain(`${name} is not usable`)
})
