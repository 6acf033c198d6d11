import { describe, expect, test } from 'vitest'
import { pairedComparison } from '../../src/evaluate/comparison.js'
import type { RowResult } from '../../src/evaluate/row-results.js'
import { verdictAgainst, verdictOf, verdictTexts } from '../../src/evaluate/verdict.js'

/** Rows of which the first so many are right. */
const rows = (right: number, count = 40): RowResult[] =>
  Array.from({ length: count }, (_, index) => ({ index, score: Number(index < right), correct: index < right }))
const likely = (scores: readonly number[]): RowResult[] => scores.map((score, index) => ({ index, score, logProbability: score }))
const options = { seed: 13, rowsOf: 'test' }
const judge = (own: RowResult[], base: RowResult[]) =>
  verdictOf({ name: 'the tuned prompt', rows: own }, { name: 'the base model', rows: base }, options)

describe('a verdict', () => {
  test('of right and wrong answers is by McNemar, both ways round', () => {
    const better = judge(rows(35), rows(20))!
    expect(better).toMatchObject({ outcome: 'better', test: 'mcnemar', measure: 'accuracy', rows: 40 })
    expect(better.difference.value).toBeCloseTo(15 / 40)
    // Fifteen rows that all fell one way: 2 / 2^15.
    expect(better.p).toBeCloseTo(2 ** -14, 8)
    expect(better.text).toMatch(
      /^the tuned prompt is better than the base model: \+37\.5 points \[.*\] on 40 test rows \(by McNemar/,
    )
    expect(judge(rows(20), rows(35))!.outcome).toBe('worse')
  })

  test('of a small difference is that none can be told, and how many rows it would take', () => {
    const verdict = judge(rows(22), rows(20))!
    expect(verdict.outcome).toBe('not distinguishable')
    expect(verdict.text).toMatch(/is not distinguishable from the base model: \+5\.0 points .* takes about \d+ rows/)
    const same = judge(rows(20), rows(20))!
    expect(same).toMatchObject({ outcome: 'not distinguishable', difference: { value: 0, low: 0, high: 0 }, p: 1 })
  })

  test('of five rows that all gained is that none can be told: no exact test could', () => {
    expect(judge(rows(5, 5), rows(0, 5))!.outcome).toBe('not distinguishable')
    expect(judge(rows(6, 6), rows(0, 6))!.outcome).toBe('better')
  })

  test('of free text is by the interval of the paired bootstrap, in nats', () => {
    const base = Array.from({ length: 20 }, (_, i) => -5 - i)
    const verdict = judge(likely(base.map((x, i) => x + 1 + (i % 3))), likely(base))!
    expect(verdict).toMatchObject({ outcome: 'better', test: 'bootstrap', measure: 'logLikelihood' })
    expect(verdict).not.toHaveProperty('p')
    expect(verdict.text).toContain('nats an answer')
    expect(judge(likely(base.map((x, i) => x + (i % 2 ? 1 : -1))), likely(base))!.outcome).toBe('not distinguishable')
  })

  test('of free text needs six rows as well, though the bootstrap of fewer has an interval without zero', () => {
    const of = (count: number) => judge(likely(Array.from({ length: count }, (_, i) => i / 10)), likely(Array(count).fill(-5)))!
    for (const count of [1, 2, 5]) {
      expect(of(count)).toMatchObject({ outcome: 'not distinguishable', test: 'bootstrap' })
      expect(of(count).text).toContain('fewer than 6 rows show no difference')
      expect(of(count).text).not.toMatch(/takes about [1-5] rows/)
    }
    expect(of(6).outcome).toBe('better')
    expect(of(6).text).not.toContain('fewer than')
  })

  test('says a second sentence where another baseline is stronger, and none where it is not', () => {
    const own = { name: 'the tuned prompt', rows: rows(30) }
    const told = { name: 'the base model with its instruction', rows: rows(10) }
    const alone = (right: number) => ({ name: 'the base model on the template alone', rows: rows(right) })
    const stronger = verdictAgainst(own, [told, alone(29)], options)!
    expect(stronger).toMatchObject({ outcome: 'better', stronger: { outcome: 'not distinguishable' } })
    expect(verdictTexts(stronger)).toHaveLength(2)
    expect(verdictAgainst(own, [told, alone(5)], options)).not.toHaveProperty('stronger')
  })

  test('needs the same rows', () => {
    expect(judge(rows(3, 10), rows(3, 9))).toBeUndefined()
    expect(judge([], [])).toBeUndefined()
    const moved = rows(3, 10).map(row => ({ ...row, index: row.index + 1 }))
    expect(pairedComparison({ before: rows(3, 10), after: moved }, 1)).toBeUndefined()
  })
})
