import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { drawnMembers, endOfText, memberAsk } from '../../../src/search/private/ensemble.js'
import {
  counted,
  type LimitedDomain,
  limitedTop,
  noisyTop,
  plainTop,
  thresholdAbove,
} from '../../../src/search/private/limited-domain.js'
import { rowsThatDo, votingPlan } from '../../../src/search/private/plan.js'
import { gumbels } from '../../../src/train/privacy/secret.js'
import { problem } from '../../support/problem.js'

/** How a token is chosen by votes: the choice by its chances, who votes by who sees which row, the plan by what it keeps to. */

const key = Uint8Array.from({ length: 32 }, (_, i) => 3 * i)
const published: LimitedDomain = { size: 32_000, candidates: 10, tokenEpsilon: 1.8, tokenDelta: 5e-7, moves: false }
const none = new Float64Array(11)

describe('the choice', () => {
  test('has the published threshold; a moved vote is asked for one more', () => {
    expect(thresholdAbove(published)).toBeCloseTo(9.4454, 4)
    expect(thresholdAbove({ ...published, moves: true })).toBeCloseTo(10.4454, 4)
    // Without noise a token passes from there on.
    expect(limitedTop(counted(Array.from({ length: 9 }, () => 7)), published, none)).toBeUndefined()
    expect(limitedTop(counted(Array.from({ length: 10 }, () => 7)), published, none)).toBe(7)
    // It is above the eleventh, and not above nothing.
    const many = Array.from({ length: 11 }, (_, id) => [id, id, id]).flat()
    expect(limitedTop(counted([...many, ...Array.from({ length: 9 }, () => 0)]), published, none)).toBeUndefined()
    expect(limitedTop(counted([...many, ...Array.from({ length: 10 }, () => 0)]), published, none)).toBe(0)
  })

  test('draws in proportion to exp(eps0 count), the threshold among them', () => {
    const domain = { ...published, tokenEpsilon: 0.5, tokenDelta: 0.3, candidates: 3, size: 6 }
    const counts = new Map([
      [2, 6],
      [4, 5],
      [1, 1],
      [0, 1],
    ])
    // Of equals the lower id is a candidate, and the other is what the threshold is above.
    const scores = [6, 5, 1, 1 + thresholdAbove(domain)]
    const ids = [2, 4, 0, undefined]
    const weights = scores.map(score => Math.exp(0.5 * score))
    const total = weights.reduce((a, b) => a + b, 0)
    const drawn = Array.from({ length: 20_000 }, (_, vote) => limitedTop(counts, domain, gumbels(4, key, vote)))
    for (const [i, id] of ids.entries()) {
      const share = drawn.filter(winner => winner === id).length / drawn.length
      expect(Math.abs(share - weights[i]! / total)).toBeLessThan(0.015)
    }
  })

  test('with ever less noise it is the vote of the majority, ties aside', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 30, maxLength: 60 }), fc.nat(), (votes, vote) => {
        const sorted = [...counted(votes).values()].sort((a, b) => b - a)
        fc.pre(sorted[0]! > (sorted[1] ?? 0) && sorted[0]! > (sorted[10] ?? 0) + 1)
        const domain = { ...published, tokenEpsilon: 1e9 }
        expect(limitedTop(counted(votes), domain, gumbels(11, key, vote))).toBe(plainTop(counted(votes)))
      }),
    )
    expect(plainTop(new Map())).toBeUndefined()
  })

  test('a noisy count chooses by its noise', () => {
    const wins = Array.from({ length: 4000 }, (_, i) => noisyTop([10, 12], 1, gumbels(2, key, i, 'choice')))
    const share = wins.filter(place => place === 1).length / wins.length
    expect(Math.abs(share - 1 / (1 + Math.exp(-2)))).toBeLessThan(0.02)
    expect(noisyTop([3, 5, 4], 1e9, gumbels(3, key, 0, 'choice'))).toBe(1)
    expect(gumbels(2, key, 0, 'choice')).not.toEqual(gumbels(2, key, 0))
  })
})

describe('members', () => {
  test('see disjoint rows, and a row that is added changes one of them alone', () => {
    const ensemble = { rate: 0.3, members: 12, demonstrations: 5 }
    for (let query = 0; query < 40; query++) {
      const fewer = drawnMembers(199, ensemble, key, query)
      const more = drawnMembers(200, ensemble, key, query)
      expect(new Set(more.flat()).size).toBe(more.flat().length)
      expect(more.length).toBeLessThanOrEqual(12)
      const without = more.map(rows => rows.filter(row => row !== 199)).filter(rows => rows.length > 0)
      const asSets = (groups: number[][]) => groups.map(rows => rows.join()).sort()
      expect(asSets(without)).toEqual(asSets(fewer))
    }
    const alone = drawnMembers(50, { rate: 0.5, members: 25, demonstrations: 1 }, key, 1)
    expect(alone.every(rows => rows.length === 1)).toBe(true)
    expect(drawnMembers(50, { rate: 0.5, members: 25, demonstrations: 1 }, key, 2)).not.toEqual(alone)
  })

  test('are asked for one sentence, with their rows in two parts behind what all share', () => {
    const cases = [
      { input: 'a', output: 'x', isRight: true, said: 'x' },
      { input: 'b', output: 'x', isRight: false, said: 'y' },
    ]
    const { ask, begin } = memberAsk('Say x.', 0, cases)
    expect(ask.indexOf('Say x.')).toBeLessThan(ask.indexOf('Input: a'))
    expect(ask.indexOf('Input: a')).toBeLessThan(ask.indexOf('came out wrong'))
    expect(begin.endsWith('"')).toBe(true)
    expect(new Set([0, 1, 2, 3].map(prompt => memberAsk('Say x.', prompt, []).ask)).size).toBe(4)
    expect(memberAsk('Say x.', 0, cases.slice(0, 1)).ask).not.toContain('wrong')
    expect(endOfText(' Say y." And')).toEqual({ text: 'Say y.', isOver: true })
    expect(endOfText('Say y')).toEqual({ text: 'Say y', isOver: false })
  })
})

describe('the plan', () => {
  const options = { epsilon: 8, candidates: 10 }
  const sizes = { rows: 66_675, hasHeldOut: true, votes: 200, vocabulary: 32_000 }

  test('of many rows has the ensemble and the noise of the paper; of fewer each row votes by itself', () => {
    const plan = votingPlan(options, sizes)
    expect(plan).toMatchObject({ members: 205, demonstrations: 5, moves: true, tokenEpsilon: 1.8, most: 200 })
    expect(plan.rate).toBeCloseTo(0.015373, 6)
    expect(plan.delta).toBeCloseTo(1 / 66_675, 12)
    expect(votingPlan(options, { ...sizes, rows: 6920, votes: 40 })).toMatchObject({
      members: 100,
      demonstrations: 1,
      moves: false,
    })
  })

  test('takes as little noise as epsilon pays for', () => {
    const plan = votingPlan({ ...options, members: 205, demonstrations: 5 }, { ...sizes, rows: 6920, votes: 110 })
    expect(plan.tokenEpsilon).toBeLessThan(1)
    expect(plan.votesEpsilon).toBeLessThanOrEqual(8)
    expect(plan.votesEpsilon).toBeGreaterThan(7.9)
    expect(plan.most).toBe(110)
  })

  test('keeps within epsilon and delta, whatever it is asked for', () => {
    const given = fc.record({
      epsilon: fc.double({ min: 0.5, max: 30, noNaN: true }),
      rows: fc.integer({ min: 300, max: 50_000 }),
      votes: fc.integer({ min: 1, max: 400 }),
      hasHeldOut: fc.boolean(),
      tokenEpsilon: fc.option(fc.double({ min: 0.05, max: 3, noNaN: true }), { nil: undefined }),
    })
    let planned = 0
    fc.assert(
      fc.property(given, ({ epsilon, rows, votes, hasHeldOut, tokenEpsilon }) => {
        try {
          const plan = votingPlan({ ...options, epsilon, tokenEpsilon }, { ...sizes, rows, votes, hasHeldOut })
          planned++
          expect(plan.epsilon).toBeLessThanOrEqual(epsilon)
          expect(plan.delta).toBeLessThanOrEqual((1 + 1e-9) / rows)
          expect(plan.most).toBeGreaterThanOrEqual(1)
          expect(plan.most).toBeLessThanOrEqual(votes)
          expect(plan.needed).toBeLessThan(plan.members)
        } catch (error) {
          expect((error as { code?: string }).code).toBe('privacy-unreachable')
        }
      }),
      { numRuns: 12 },
    )
    expect(planned).toBeGreaterThan(3)
  })

  test('a choice on the rows that vote is paid for with them', () => {
    const apart = votingPlan(options, { ...sizes, rows: 6920, votes: 40 })
    const same = votingPlan(options, { ...sizes, rows: 6920, votes: 40, hasHeldOut: false })
    expect(apart.choiceEpsilon).toBe(8)
    expect(same.choiceEpsilon).toBe(2)
    expect(same.tokenEpsilon).toBeLessThan(apart.tokenEpsilon + 1e-12)
    const tight = { ...options, tokenEpsilon: 1.8 }
    expect(votingPlan(tight, { ...sizes, rows: 6920, votes: 20_000, hasHeldOut: false }).most).toBeLessThan(
      votingPlan(tight, { ...sizes, rows: 6920, votes: 20_000 }).most,
    )
  })

  test('too few rows are refused, with how many would do', () => {
    const few = { ...sizes, rows: 69, votes: 20 }
    const error = problem(() => votingPlan({ ...options, members: 50, demonstrations: 1, epsilon: 0.1 }, few))
    expect(error).toMatchObject({ code: 'privacy-unreachable' })
    const rows = rowsThatDo({ ...options, members: 50, demonstrations: 1, epsilon: 0.1 }, few)!
    expect(String(error.expected)).toContain(String(rows))
    expect(votingPlan({ ...options, members: 50, demonstrations: 1, epsilon: 0.1 }, { ...few, rows }).needed).toBeLessThan(50)
    expect(problem(() => votingPlan({ ...options, members: 50, demonstrations: 2 }, few)).found).toMatch(/50 members with 2/)
    expect(problem(() => votingPlan({ ...options, members: 3, delta: 1e-300 }, sizes)).expected).toMatch(/no number of rows/)
  })
})
