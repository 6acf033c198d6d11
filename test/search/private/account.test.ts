import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  choiceDivergence,
  publishedEpsilon,
  type Vote,
  voteCurve,
  voteDivergence,
  votesEpsilon,
} from '../../../src/search/private/account.js'

/** What votes give away: by values of the authors' own program, by exact chances of small votes, and by what holds of all of them. */

const sst2 = { rate: 0.015373, tokenEpsilon: 1.8, tokenDelta: 5e-7 }

describe('the published account', () => {
  test('has the divergences and the epsilons that its authors compute', () => {
    expect(choiceDivergence(2, 1.8)).toBeCloseTo(1.65153, 5)
    expect(choiceDivergence(8, 1.8)).toBeCloseTo(1.77815, 5)
    const wanted = { 1: 0.1159, 10: 0.7852, 50: 1.8987, 100: 2.5324, 200: 3.3819, 400: 4.5798, 2000: 9.7708 }
    for (const [votes, epsilon] of Object.entries(wanted))
      expect(Math.abs(publishedEpsilon(sst2, Number(votes)) - epsilon)).toBeLessThan(1e-4)
  })

  test('is finite where the authors have no number: orders of 199 at an epsilon of 8', () => {
    for (const epsilon of [8, 80, 800]) expect(choiceDivergence(199, epsilon)).toBeCloseTo(epsilon, 1)
    // The choice among prompts as a mechanism of its own.
    const choice = voteCurve({ rate: 1, tokenEpsilon: 8, tokenDelta: 0, moves: false })
    const epsilon = votesEpsilon(choice, 1, 1e-5)
    expect(epsilon).toBeGreaterThan(1)
    expect(epsilon).toBeLessThanOrEqual(8.1)
  })
})

describe('the account that is spent by', () => {
  /** Chances of each of two things and of nothing, of counts with Gumbel noise and a fixed third score. */
  const chances = (counts: readonly number[], epsilon: number) => {
    const weights = counts.map(count => Math.exp(epsilon * count))
    const total = weights.reduce((a, b) => a + b, 0)
    return weights.map(weight => weight / total)
  }
  const divergence = (order: number, p: readonly number[], q: readonly number[]) =>
    Math.log(p.reduce((sum, x, i) => sum + x ** order * q[i]! ** (1 - order), 0)) / (order - 1)

  test('bounds every small vote, in both directions, and is near the worst of them', () => {
    const [rate, tokenEpsilon] = [0.2, 0.9]
    for (const moves of [false, true])
      for (const order of [2, 5, 30]) {
        let worst = 0
        for (let a = 0; a <= 12; a++)
          for (let b = 0; b <= 12; b++)
            for (const c of [0, 3, 12]) {
              const without = chances([a + 1, b, c], tokenEpsilon)
              const taken = moves ? [a, b + 1, c] : [a + 2, b, c]
              const withRow = chances(taken, tokenEpsilon)
              const mixed = without.map((p, i) => (1 - rate) * p + rate * withRow[i]!)
              worst = Math.max(worst, divergence(order, mixed, without), divergence(order, without, mixed))
            }
        const bound = voteDivergence(order, { rate, tokenEpsilon, tokenDelta: 0, moves })
        expect(worst).toBeLessThanOrEqual(bound)
        expect(worst).toBeGreaterThan(0.8 * bound)
      }
  })

  test('a moved vote gives away what twice the noise would leave of an added one, and more than the published account has', () => {
    const moved = voteCurve({ ...sst2, moves: true })
    const added = voteCurve({ ...sst2, moves: false })
    const twice = voteCurve({ ...sst2, tokenEpsilon: 3.6, moves: false })
    expect(votesEpsilon(moved, 2000, 5e-7)).toBe(votesEpsilon(twice, 2000, 5e-7))
    expect(votesEpsilon(moved, 2000, 5e-7)).toBeGreaterThan(publishedEpsilon(sst2, 2000))
    expect(votesEpsilon(added, 2000, 5e-7)).toBeLessThan(publishedEpsilon(sst2, 2000))
    expect(votesEpsilon(moved, 0, 5e-7)).toBe(0)
  })

  test('is finite, and no more than the range of all votes, wherever exponentials overflow', () => {
    for (const tokenEpsilon of [300, 1600, 25_000])
      for (const rate of [0.01, 1]) {
        const epsilon = votesEpsilon(voteCurve({ rate, tokenEpsilon, tokenDelta: 1e-6, moves: true }), 2, 1e-6)
        expect(epsilon).toBeGreaterThan(2 * tokenEpsilon)
        expect(epsilon).toBeLessThan(4.2 * tokenEpsilon + 150)
      }
  })

  const votes = fc.record({
    rate: fc.double({ min: 1e-6, max: 1, noNaN: true }),
    tokenEpsilon: fc.double({ min: 1e-3, max: 200, noNaN: true }),
    tokenDelta: fc.double({ min: 1e-12, max: 1e-3, noNaN: true }),
    moves: fc.boolean(),
  })
  const epsilonOf = (vote: Vote, count: number) => votesEpsilon(voteCurve(vote), count, vote.tokenDelta)
  const grown = fc.double({ min: 1, max: 8, noNaN: true })

  test('is a number, and grows with votes, with the rate and with eps0', () => {
    fc.assert(
      fc.property(votes, grown, fc.integer({ min: 1, max: 3000 }), (vote, factor, count) => {
        const epsilon = epsilonOf(vote, count)
        expect(Number.isFinite(epsilon)).toBe(true)
        const least = epsilon - 1e-9 * (1 + epsilon)
        expect(epsilonOf(vote, Math.ceil(count * factor))).toBeGreaterThanOrEqual(least)
        expect(epsilonOf({ ...vote, rate: Math.min(1, vote.rate * factor) }, count)).toBeGreaterThanOrEqual(least)
        expect(epsilonOf({ ...vote, tokenEpsilon: vote.tokenEpsilon * factor }, count)).toBeGreaterThanOrEqual(least)
        expect(epsilonOf({ ...vote, moves: true }, count)).toBeGreaterThanOrEqual(least)
      }),
      { numRuns: 40 },
    )
  })

  test('the published one is a number and grows as well', () => {
    fc.assert(
      fc.property(votes, grown, fc.integer({ min: 1, max: 3000 }), (vote, factor, count) => {
        const one = { ...vote, rate: 0.9 * vote.rate }
        const epsilon = publishedEpsilon(one, count)
        expect(Number.isFinite(epsilon)).toBe(true)
        const least = epsilon - 1e-9 * (1 + epsilon)
        expect(publishedEpsilon(one, Math.ceil(count * factor))).toBeGreaterThanOrEqual(least)
        expect(publishedEpsilon({ ...one, rate: Math.min(0.99, one.rate * factor) }, count)).toBeGreaterThanOrEqual(least)
        expect(publishedEpsilon({ ...one, tokenEpsilon: one.tokenEpsilon * factor }, count)).toBeGreaterThanOrEqual(least)
      }),
      { numRuns: 15 },
    )
  })
})
