import { describe, expect, test } from 'vitest'
import {
  compareConditions,
  mcnemarExact,
  measureOf,
  pairedComparison,
  rowsForDiscordance,
  rowsForMean,
} from '../../src/evaluate/comparison.js'
import type { RowResult } from '../../src/evaluate/row-results.js'
import { problem } from '../support/problem.js'

/** What is compared with what, and when it is refused; the figures themselves are held in statistics.test.ts. */

const rowsOf = (scores: readonly number[]): RowResult[] => scores.map((score, index) => ({ index, score }))
const one = (name: string, ...seeds: readonly (readonly number[])[]) => ({ name, seeds: seeds.map(rowsOf) })
const seed = 3

describe('two sides', () => {
  const [before, after] = [rowsOf([1, 0, 0, 1, 0]), rowsOf([1, 1, 0, 1, 1])]

  test('are compared as two conditions of these names', () => {
    const [wanted] = compareConditions([one('before', [1, 0, 0, 1, 0]), one('after', [1, 1, 0, 1, 1])], { seed }).comparisons
    expect(pairedComparison({ before, after }, seed)).toEqual(wanted)
    expect(wanted).toMatchObject({ name: 'after', baseline: 'before', mcnemar: { onlyBaseline: 0, onlyOther: 2 } })
  })

  test('are not where their rows are others, or there are none', () => {
    expect(pairedComparison({ before: [], after: [] }, seed)).toBeUndefined()
    expect(pairedComparison({ before, after: after.slice(0, 4) }, seed)).toBeUndefined()
    const moved = after.map((row, i) => (i === 4 ? { ...row, index: 9 } : row))
    expect(pairedComparison({ before, after: moved }, seed)).toBeUndefined()
  })
})

test('nothing to compare is refused', () => {
  for (const conditions of [[], [{ name: 'a', seeds: [] }], [one('a', [])]])
    expect(problem(() => compareConditions(conditions, { seed })).code).toBe('no-rows')
})

test('one score in between is enough that they are no accuracies', () => {
  const right = [1, 0, 1]
  expect(compareConditions([one('a', right), one('b', [0, 1, 1])], { seed }).binary).toBe(true)
  for (const conditions of [
    [one('a', right), one('b', [0, 0.5, 1])],
    [one('a', [0, 0.5, 1]), one('b', right)],
    [one('a', right, [0, 0.5, 1])],
  ])
    expect(compareConditions(conditions, { seed }).binary).toBe(false)
})

describe('several seeds', () => {
  const several = one('several', [1, 0, 1, 1], [0, 0, 1, 1])

  test('have a deviation, one has none', () => {
    const { conditions } = compareConditions([one('single', [1, 0, 1, 1]), several], { seed })
    expect(conditions[0]).not.toHaveProperty('seedDeviation')
    expect(conditions[1]!.seedDeviation).toBeCloseTo(Math.sqrt(2 * 0.125 ** 2), 12)
  })

  test('have no test by rows, whichever side has them, and the rows that are needed are those of a mean', () => {
    const single = one('single', [0, 0, 0, 1])
    for (const pair of [
      [single, several],
      [several, single],
      [several, several],
    ]) {
      const [found] = compareConditions(pair, { seed }).comparisons
      expect(found).not.toHaveProperty('mcnemar')
    }
    const differences = [0.5, 0, 1, 0]
    expect(compareConditions([single, several], { seed }).comparisons[0]!.rowsNeeded).toBe(
      rowsForMean(Float64Array.from(differences)),
    )
  })

  test('are drawn as well: with one that is right throughout and one that is wrong, the mean may be either', () => {
    const { low, high } = compareConditions([one('a', [1, 1, 1, 1], [0, 0, 0, 0])], { seed }).conditions[0]!.mean
    expect([low, high]).toEqual([0, 1])
    const same = compareConditions([one('a', [0.25, 0.25], [0.75, 0.75], [0.5, 0.5])], { seed }).conditions[0]!.mean
    expect(same.low).toBeGreaterThanOrEqual(0.25)
    expect(same.low).toBeLessThan(0.4)
    expect(same.high).toBeGreaterThan(0.6)
  })
})

test('of right and wrong answers the rows that are needed are those of the shares of rows that differ', () => {
  const [found] = compareConditions([one('a', [1, 1, 0, 0, 1]), one('b', [1, 0, 1, 1, 1])], { seed }).comparisons
  expect(found!.mcnemar).toMatchObject({ onlyBaseline: 1, onlyOther: 2 })
  expect(found!.rowsNeeded).toBe(rowsForDiscordance(1 / 5, 2 / 5))
})

test('an even split is no difference at all', () => {
  expect([mcnemarExact(0, 0), mcnemarExact(1, 1), mcnemarExact(40, 40)]).toEqual([1, 1, 1])
  expect(mcnemarExact(0, 1)).toBe(1)
  expect(mcnemarExact(0, 2)).toBeCloseTo(0.5, 12)
})

describe('other rows are refused', () => {
  const base = one('base', [1, 0])

  test('of several seeds the one is named, by its place', () => {
    const other = { name: 'new', seeds: [rowsOf([1, 0]), rowsOf([1, 0, 1])] }
    const error = problem(() => compareConditions([base, other], { seed }))
    expect(error).toMatchObject({
      ...{ code: 'different-rows', found: 'row 2 in new (2 of 2) alone (2 rows and 3)' },
      ...{ hint: 'score both on the same file, with the same --limit and --seed' },
    })
    expect(error.message).toContain('base and new (2 of 2) were scored on different rows')
  })

  test('by what a row held and what its answer was, where both sides tell it', () => {
    const side = (name: string, more: Partial<RowResult>) => ({ name, seeds: [[{ index: 0, score: 1, ...more }]] })
    const refused = (a: Partial<RowResult>, b: Partial<RowResult>) =>
      problem(() => compareConditions([side('a', a), side('b', b)], { seed }))
    expect(refused({ row: 'x' }, { row: 'y' })).toMatchObject({
      found: 'row 0 holds other text',
      hint: 'score both on the same file',
    })
    expect(refused({ answer: 'x' }, { answer: 'y' }).found).toBe('the answer of row 0 is "x" in one and "y" in the other')
    for (const [a, b] of [
      [{ row: 'x', answer: 'x' }, {}],
      [{}, { row: 'x', answer: 'x' }],
      [{ row: 'x' }, { answer: 'y' }],
      [
        { row: 'x', answer: 'y' },
        { row: 'x', answer: 'y' },
      ],
    ] as const)
      expect(compareConditions([side('a', a), side('b', b)], { seed }).rows).toBe(1)
  })
})

describe('scorers', () => {
  const scored = (name: string, scores: readonly number[], more: Partial<RowResult>) => ({
    name,
    seeds: [rowsOf(scores).map(row => ({ ...row, ...more }))],
  })
  const judged = (name: string, scores: readonly number[], scorer?: string) => ({
    name,
    seeds: [rowsOf(scores).map(row => ({ ...row, correct: row.score === 1, ...(scorer !== undefined && { scorer }) }))],
  })
  const compared = (...conditions: Parameters<typeof compareConditions>[0]) => compareConditions(conditions, { seed })

  test('name the mean, and a graded score that is 0 or 1 in every row is no accuracy', () => {
    const bleu = compared(scored('a', [1, 0, 1], { scorer: 'bleu' }), scored('b', [0, 0, 1], { scorer: 'bleu' }))
    expect([bleu.binary, bleu.scorer, measureOf(bleu)]).toEqual([false, 'bleu', 'bleu'])
    expect(bleu).not.toHaveProperty('unnamed')
    const exact = compared(judged('a', [1, 0, 1], 'exact-match'), judged('b', [0, 0, 1], 'exact-match'))
    expect([exact.binary, measureOf(exact)]).toEqual([true, 'exact-match'])
  })

  test('that rows do not name leave right and wrong answers an accuracy, and others a mean score', () => {
    const right = compared(judged('a', [1, 0, 1]), judged('b', [0, 0, 1]))
    expect([right.binary, measureOf(right)]).toEqual([true, 'accuracy'])
    expect(right).not.toHaveProperty('scorer')
    expect(right.comparisons[0]).toHaveProperty('mcnemar')
    expect(measureOf(compared(one('a', [0.5]), one('b', [0.25])))).toBe('mean score')
  })

  test('that differ are refused, each by its name', () => {
    const bleu = scored('a', [0.5, 0.25], { scorer: 'bleu' })
    for (const [other, said] of [
      [scored('b', [0.5, 1], { scorer: 'rouge-l' }), 'a: bleu, b: rouge-l'],
      [judged('b', [1, 0]), 'a: bleu, b: right or wrong'],
    ] as const)
      expect(problem(() => compared(bleu, other))).toMatchObject({ code: 'different-scorers', found: said })
  })

  test('that one side does not name are taken for those of the other, and that is said', () => {
    const old = scored('old', [0.5, 0.25], {})
    expect(compared(scored('new', [0.5, 1], { scorer: 'bleu' }), old)).toMatchObject({ scorer: 'bleu', unnamed: ['old'] })
    expect(compared(judged('new', [1, 0], 'exact-match'), judged('old', [1, 1]))).toMatchObject({
      ...{ binary: true, scorer: 'exact-match', unnamed: ['old'] },
    })
  })
})
