import { describe, expect, test } from 'vitest'
import { topics } from '../../src/api/foreign/topics.js'
import { shownThreshold } from '../../src/cli/commands/learning/reject.js'
import { farthestLabels } from '../../src/evaluate/foreign/labels.js'
import {
  areaUnderCurve,
  falseAt95,
  groupedScore,
  largestShare,
  negatedEnergy,
  separations,
  thresholdFor,
} from '../../src/evaluate/foreign/scores.js'
import { percentile } from '../../src/numbers.js'
import { problem } from '../support/problem.js'

/** Scores of whether a row is of a class, by numbers that were computed by hand. */

describe('the grouped score', () => {
  const known = [2, 1]

  test('of one group, and of several, is what the formula gives', () => {
    expect(groupedScore(known, [0, 0, 1, -1], { groups: 1, seed: 0 })).toBeCloseTo(0.66524, 5)
    // Whatever the seed deals: the mean over one of the three ways to pair four labels.
    const e = Math.exp
    const share = (group: readonly number[]) => (e(2) + e(1)) / (e(2) + e(1) + group.reduce((sum, z) => sum + e(z), 0))
    expect((share([0, 0]) + share([1, -1])) / 2).toBeCloseTo(0.80045, 5)
    const ways = [
      [[0, 0], [1, -1]],
      [[0, 1], [0, -1]],
    ].map(([a, b]) => (share(a!) + share(b!)) / 2) // biome-ignore format: pairs
    const found = Array.from({ length: 12 }, (_, seed) => groupedScore(known, [0, 0, 1, -1], { groups: 2, seed }))
    for (const score of found) expect(Math.min(...ways.map(way => Math.abs(way - score)))).toBeLessThan(1e-12)
    expect(found.some(score => Math.abs(score - ways[0]!) < 1e-12)).toBe(true)
  })

  test('no label is left out where groups do not come out even, and there are no more groups than labels', () => {
    // Of equal labels only their number counts: 2 and 1 of three.
    const share = (count: number) => Math.exp(0) / (Math.exp(0) + count)
    expect(groupedScore([0], [0, 0, 0], { groups: 2, seed: 3 })).toBeCloseTo((share(2) + share(1)) / 2, 12)
    expect(groupedScore([0], [0, 0], { groups: 50, seed: 3 })).toBeCloseTo(share(1), 12)
  })

  test('is 1 without foreign labels, and does not overflow', () => {
    expect(groupedScore(known, [], { groups: 4, seed: 0 })).toBe(1)
    expect(groupedScore([-900], [-1000], { groups: 1, seed: 0 })).toBeCloseTo(1, 12)
    expect(groupedScore([900], [1000], { groups: 1, seed: 0 })).toBeCloseTo(0, 12)
  })

  test('the scores beside it', () => {
    expect(largestShare([2, 1])).toBeCloseTo(1 / (1 + Math.exp(-1)), 12)
    expect(negatedEnergy([2, 1])).toBeCloseTo(Math.log(Math.exp(2) + Math.exp(1)), 12)
  })
})

describe('how well a score tells rows apart', () => {
  test('the area is the share of pairs in order, ties half, whatever monotone scale', () => {
    expect(areaUnderCurve([3, 2], [1, 0])).toBe(1)
    expect(areaUnderCurve([0, 1], [2, 3])).toBe(0)
    expect(areaUnderCurve([1, 1], [1, 1])).toBe(0.5)
    const [known, foreign] = [[0.9, 0.4, 0.4, 0.7], [0.4, 0.1, 0.8]] // biome-ignore format: rows
    const pairs = known!.flatMap(a => foreign!.map(b => (a > b ? 1 : a === b ? 0.5 : 0)))
    expect(areaUnderCurve(known!, foreign!)).toBeCloseTo(pairs.reduce<number>((a, b) => a + b, 0) / pairs.length, 12)
    const cubed = (values: readonly number[]) => values.map(x => x ** 3)
    expect(areaUnderCurve(cubed(known!), cubed(foreign!))).toBe(areaUnderCurve(known!, foreign!))
  })

  test('95 % of the known rows reach the threshold, and foreign rows above it count', () => {
    const known = Array.from({ length: 20 }, (_, i) => i)
    expect(thresholdFor(known, 0.95)).toBe(1)
    expect(thresholdFor(known, 1)).toBe(0)
    expect(falseAt95(known, [0, 0.5, 1, 7])).toBe(0.5)
  })

  test('intervals hold the figures, and of equal scores no gain', () => {
    const known = Array.from({ length: 40 }, (_, i) => i / 40)
    const foreign = Array.from({ length: 30 }, (_, i) => i / 40 - 0.3)
    const { scores, gains } = separations({ one: { known, foreign }, same: { known, foreign } }, { seed: 1 })
    expect(scores.one.auroc.value).toBe(areaUnderCurve(known, foreign))
    expect(scores.one.auroc.low).toBeLessThan(scores.one.auroc.value)
    expect(scores.one.auroc.high).toBeGreaterThan(scores.one.auroc.value)
    expect(gains.same).toEqual({ value: 0, low: 0, high: 0 })
    expect(problem(() => separations({ one: { known, foreign: [] } }, { seed: 1 }))).toMatchObject({ code: 'no-rows' })
  })
})

test('a threshold near 1 is shown with the digits that tell it from 1', () => {
  const shown = [0.123456, 0.5, 0.99738, 0.999961, 1].map(shownThreshold)
  expect(shown).toEqual(['0.123', '0.500', '0.99738', '0.9999610', '1.00'])
})

describe('foreign labels', () => {
  const at = (label: string, ...embedding: number[]) => ({ label, embedding })

  test('are those with the smallest 95th percentile of cosines to the classes', () => {
    expect(percentile([1, 2, 3, 4], 0.95)).toBeCloseTo(3.85, 12)
    const classes = [at('sports', 1, 0), at('world', 0, 1)]
    const candidates = [at('golf', 1, 0.1), at('soup', -1, -1), at('clouds', -1, 0.2), at('maps', 0.2, 1)]
    expect(farthestLabels(candidates, classes, 2)).toEqual(['soup', 'clouds'])
  })

  test('a word of a class, one that has it and a repeated one are left out', () => {
    const candidates = [at('Sports', -1, 0), at('water sports', -1, 0), at('soup', -1, 0), at('soup ', -1, 0)]
    expect(farthestLabels(candidates, [at('sports', 1, 0)], 1)).toEqual(['soup'])
    expect(problem(() => farthestLabels(candidates, [at('sports', 1, 0)], 2))).toMatchObject({ code: 'invalid-option' })
  })

  test('there are three hundred words to choose from, none twice', () => {
    expect(topics.length).toBe(300)
    expect(new Set(topics).size).toBe(300)
    expect(topics.every(topic => /^[a-z]+$/.test(topic))).toBe(true)
  })
})
