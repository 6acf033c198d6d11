import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exactMatch, rougeL, squadExactMatch, squadF1 } from '../../src/evaluate/answers/text-metrics.js'
import { compareConditions, mcnemarExact, rowsForDiscordance, rowsForMean } from '../../src/evaluate/comparison.js'
import type { RowResult } from '../../src/evaluate/row-results.js'
import { problem } from '../support/problem.js'

const read = (name: string) => JSON.parse(readFileSync(`test/fixtures/evaluate/${name}.json`, 'utf8'))
const statistics = read('statistics') as {
  mcnemar: [number, number, number][]
  discordance: [number, number, number][]
  means: { differences: number[]; rows: number }[]
  bootstrap: { baseline: number[]; other: number[]; difference: number; low: number; high: number }[]
}

const rowsOf = (scores: readonly number[]): RowResult[] => scores.map((score, index) => ({ index, score }))
const one = (name: string, ...seeds: readonly (readonly number[])[]) => ({ name, seeds: seeds.map(rowsOf) })
const random = (seed: number) => {
  let state = seed * 7919 + 1
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

describe('McNemar’s exact test', () => {
  test.each(statistics.mcnemar)('%d against %d as statsmodels has it', (b, c, p) => {
    expect(Math.abs(mcnemarExact(b, c) / p - 1)).toBeLessThan(1e-10)
    expect(mcnemarExact(c, b)).toBe(mcnemarExact(b, c))
  })

  test('lies in (0, 1] and falls as the sides part, for large counts too', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 50_000 }), fc.integer({ min: 0, max: 400 }), (fewer, more) => {
        const p = mcnemarExact(fewer, fewer + more)
        expect(p).toBeGreaterThan(0)
        expect(p).toBeLessThanOrEqual(1)
        if (more > 0) expect(p).toBeLessThanOrEqual(mcnemarExact(fewer, fewer + more - 1) + 1e-12)
      }),
      { numRuns: 50 },
    )
  })
})

describe('rows needed', () => {
  test.each(statistics.discordance)('%d and %d discordant', (b, c, rows) => {
    expect(rowsForDiscordance(b, c)).toBe(rows)
    expect(rowsForDiscordance(c, b)).toBe(rows)
  })

  test('of a mean, as statsmodels has them', () => {
    for (const { differences, rows } of statistics.means) {
      const ours = rowsForMean(Float64Array.from(differences))!
      expect(Math.abs(ours - rows)).toBeLessThan(1 + 0.002 * rows)
    }
  })

  test('none for no difference', () => {
    expect(rowsForDiscordance(0.2, 0.2)).toBeNull()
    expect(rowsForMean(Float64Array.of(1, -1))).toBeNull()
  })

  test('with that many rows about 80 of 100 experiments find the difference', () => {
    const [b, c] = [0.08, 0.2]
    const rows = rowsForDiscordance(b, c)!
    const next = random(5)
    let found = 0
    const experiments = 2000
    for (let i = 0; i < experiments; i++) {
      let [onlyBaseline, onlyOther] = [0, 0]
      for (let row = 0; row < rows; row++) {
        const x = next()
        if (x < b) onlyBaseline++
        else if (x < b + c) onlyOther++
      }
      if (mcnemarExact(onlyBaseline, onlyOther) < 0.05) found++
    }
    // The exact test is conservative.
    expect(found / experiments).toBeGreaterThan(0.72)
    expect(found / experiments).toBeLessThan(0.84)
  })
})

describe('compareConditions', () => {
  test('the paired bootstrap comes close to 200,000 resamples of numpy', () => {
    for (const { baseline, other, difference, low, high } of statistics.bootstrap) {
      const { comparisons } = compareConditions([one('a', baseline), one('b', other)], { seed: 13 })
      const found = comparisons[0]!.difference
      expect(found.value).toBeCloseTo(difference, 12)
      const tolerance = 0.06 * (high - low) + 1 / baseline.length
      expect(Math.abs(found.low - low)).toBeLessThan(tolerance)
      expect(Math.abs(found.high - high)).toBeLessThan(tolerance)
    }
  })

  test('right and wrong answers: Wilson, McNemar, each against the first', () => {
    const [a, b, c] = [
      [1, 0, 0, 0, 0, 0, 0, 0],
      [0, 1, 1, 1, 1, 1, 1, 0],
      [1, 0, 0, 0, 0, 0, 0, 0],
    ]
    const result = compareConditions([one('a', a), one('b', b), one('c', c)], { seed: 1 })
    expect(result).toMatchObject({ rows: 8, binary: true })
    expect(result.conditions.map(({ mean }) => mean.value)).toEqual([0.125, 0.75, 0.125])
    expect(result.conditions[1]!.mean.low).toBeCloseTo(0.409, 3)
    expect(result.comparisons.map(({ name, baseline }) => [name, baseline])).toEqual([
      ['b', 'a'],
      ['c', 'a'],
    ])
    expect(result.comparisons[0]!.mcnemar).toEqual({ onlyBaseline: 1, onlyOther: 6, p: expect.closeTo(0.125, 12) })
    expect(result.comparisons[1]).toMatchObject({
      difference: { value: 0, low: 0, high: 0 },
      mcnemar: { p: 1 },
      rowsNeeded: null,
    })
  })

  test('scores between 0 and 1 have no McNemar', () => {
    const { binary, comparisons } = compareConditions([one('a', [0.1, 0.5, 0.2]), one('b', [0.2, 0.9, 0.1])], { seed: 1 })
    expect(binary).toBe(false)
    expect(comparisons[0]).not.toHaveProperty('mcnemar')
    expect(comparisons[0]!.rowsNeeded).toBeGreaterThan(3)
  })

  test('seeds are pooled: their mean, their deviation, and a wider interval where they disagree', () => {
    const next = random(3)
    const answers = (accuracy: number) => Array.from({ length: 300 }, () => Number(next() < accuracy))
    const alike = one('alike', answers(0.6), answers(0.6), answers(0.6))
    const apart = one('apart', answers(0.4), answers(0.6), answers(0.8))
    const { conditions, comparisons } = compareConditions([alike, apart], { seed: 7 })
    const width = ({ low, high }: { low: number; high: number }) => high - low
    expect(width(conditions[1]!.mean)).toBeGreaterThan(2 * width(conditions[0]!.mean))
    expect(conditions[1]!.seedDeviation).toBeGreaterThan(0.15)
    expect(conditions[0]!.seedDeviation).toBeLessThan(0.06)
    expect(comparisons[0]).not.toHaveProperty('mcnemar')
    const mean = apart.seeds.flat().reduce((sum, { score }) => sum + score, 0) / 900
    expect(conditions[1]!.mean.value).toBeCloseTo(mean, 12)
  })

  test('a difference is inverted when the sides change, contains its value, and is the same for a seed', () => {
    const scores = fc.array(fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })), {
      minLength: 1,
      maxLength: 30,
    })
    fc.assert(
      fc.property(scores, fc.integer({ min: 0, max: 99 }), (pairs, seed) => {
        const [a, b] = [
          one(
            'a',
            pairs.map(([x]) => x),
          ),
          one(
            'b',
            pairs.map(([, y]) => y),
          ),
        ]
        const there = compareConditions([a, b], { seed }).comparisons[0]!.difference
        const back = compareConditions([b, a], { seed }).comparisons[0]!.difference
        expect(there.low).toBeLessThanOrEqual(there.value)
        expect(there.high).toBeGreaterThanOrEqual(there.value)
        expect(back.low).toBeCloseTo(-there.high, 12)
        expect(compareConditions([a, b], { seed }).comparisons[0]!.difference).toEqual(there)
      }),
      { numRuns: 20 },
    )
  })

  test('results over other rows are refused, naming the row', () => {
    const base = one('base', [1, 0, 1])
    const refused = (rows: RowResult[]) => problem(() => compareConditions([base, { name: 'new', seeds: [rows] }], { seed: 1 }))
    expect(refused(rowsOf([1, 0]))).toMatchObject({ code: 'different-rows', found: 'row 2 in base alone (3 rows and 2)' })
    expect(refused(rowsOf([1, 0, 1, 1]))).toMatchObject({ code: 'different-rows', found: 'row 3 in new alone (3 rows and 4)' })
    const [a, b] = [
      { index: 0, score: 1, answer: '4', row: 'x' },
      { index: 0, score: 1, answer: '5', row: 'x' },
    ]
    const compare = (other: RowResult) =>
      problem(() =>
        compareConditions(
          [
            { name: 'a', seeds: [[a]] },
            { name: 'b', seeds: [[other]] },
          ],
          { seed: 1 },
        ),
      )
    expect(compare(b).found).toBe('the answer of row 0 is "4" in one and "5" in the other')
    expect(compare({ ...a, row: 'y' }).found).toBe('row 0 holds other text')
    expect(problem(() => compareConditions([], { seed: 1 })).code).toBe('no-rows')
  })
})

describe('text metrics', () => {
  const cases = read('text-metrics') as [string, string, number, number, number][]

  test('exact match and F1 as SQuAD defines them, ROUGE-L as rouge_score has it', () => {
    for (const [prediction, reference, exact, f1, rouge] of cases) {
      expect([prediction, reference, squadExactMatch(prediction, reference)]).toEqual([prediction, reference, exact])
      expect(squadF1(prediction, reference)).toBeCloseTo(f1, 12)
      expect(rougeL(prediction, reference)).toBeCloseTo(rouge, 12)
    }
  })

  test('of several references the best counts', () => {
    expect(squadF1('an owl', ['a quail', 'the owl'])).toBe(1)
    expect(squadExactMatch('an owl', ['a quail', 'the owl'])).toBe(1)
    expect(rougeL('a b', ['c', 'a b'])).toBe(1)
    expect(rougeL('a b', [])).toBe(0)
  })

  test('what an exact match ignores', () => {
    expect(exactMatch('Owl.', 'owl')).toBe(false)
    expect(exactMatch('Owl.', 'owl', { ignoreCase: true, ignorePunctuation: true })).toBe(true)
    expect(exactMatch('1,000', '1000', { ignore: [/,/g] })).toBe(true)
  })

  test('are 1 for equal texts, symmetric, and lie between 0 and 1', () => {
    const text = fc.array(fc.constantFrom('owl', 'fig', '12', 'The', 'pear!'), { maxLength: 12 }).map(words => words.join(' '))
    fc.assert(
      fc.property(text, text, (a, b) => {
        for (const metric of [squadF1, rougeL]) {
          expect(metric(a, b)).toBeCloseTo(metric(b, a), 12)
          expect(metric(a, b)).toBeLessThanOrEqual(1)
          expect(metric(a, b)).toBeGreaterThanOrEqual(0)
        }
        expect(squadF1(a, a)).toBe(1)
        expect(rougeL(a, a)).toBe(a === '' ? 0 : 1)
      }),
    )
  })
})
