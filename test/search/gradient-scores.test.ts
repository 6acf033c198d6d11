import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { rankCorrelation } from '../../src/search/moves/drift.js'
import type { ScoredCandidate } from '../../src/search/moves/method.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import { lowest, substituted, substitutionScores } from '../../src/search/space/candidates.js'

interface Expected {
  prompt: number[]
  rows: { before: number[]; after: number[]; answer: number[] }[]
  loss64: number
  scores64: number[][]
}

test('gradient scores of every token at every position rank as those of torch', async () => {
  const { prompt, rows, loss64, scores64 } = JSON.parse(readFileSync('test/fixtures/search/gradients.json', 'utf8')) as Expected
  const model = await LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
  const programs = new SearchPrograms(model)
  const objective = new Objective(model, programs, new Budget({}, () => 0), { free: [], fluency: 0 })
  const own = rows.map((row, index) => ({ ...row, index, text: { before: '', after: '' }, extractor: [] }))
  const { loss, gradient } = await objective.gradient([prompt], own)
  expect(loss).toBeCloseTo(loss64, 5)
  const positions = [...prompt.keys()]
  const scores = substitutionScores(await programs.project(gradient), prompt, positions, 96)
  const pairs = positions.flatMap(position =>
    scores64[position]!.map((wanted, v): ScoredCandidate => {
      const found = scores[position * 96 + v]!
      expect(found).toBeCloseTo(wanted, 4)
      return { ...substituted(prompt, [{ position, to: v }], found), loss: wanted, rowLosses: [], exact: false, exactRows: 0 }
    }),
  )
  expect(rankCorrelation(pairs)).toBeGreaterThan(0.9999)
  await programs.dispose()
  await model.dispose()
})

test('the lowest scores are taken among the allowed ids, equal ones by id', () => {
  const scores = Float32Array.from([5, 1, 1, -2, 0, 1, Number.NaN])
  expect(lowest(scores, Int32Array.from([0, 1, 2, 4, 5]), 3)).toEqual([4, 1, 2])
  expect(lowest(scores, Int32Array.from([0, 1, 2, 4, 5]), 9, 4)).toEqual([1, 2, 5, 0])
  expect(lowest(scores, Int32Array.from([3]), 1, 3)).toEqual([])
})

test('rank correlation: ties share their rank, few or equal scores say nothing', () => {
  const of = (pairs: [number, number][]) =>
    rankCorrelation(
      pairs.map(([gradientScore, loss]) => ({
        ids: [],
        swaps: [],
        gradientScore,
        loss,
        rowLosses: [],
        exact: false,
        exactRows: 0,
      })),
    )
  expect(
    of([
      [1, 2],
      [2, 4],
      [3, 9],
    ]),
  ).toBe(1)
  expect(
    of([
      [1, 9],
      [2, 4],
      [3, 2],
    ]),
  ).toBe(-1)
  expect(
    of([
      [1, 2],
      [2, 4],
    ]),
  ).toBeNull()
  expect(
    of([
      [1, 2],
      [1, 4],
      [1, 9],
    ]),
  ).toBeNull()
  // scipy.stats.spearmanr([1, 2, 2, 3], [1, 3, 2, 4])
  expect(
    of([
      [1, 1],
      [2, 3],
      [2, 2],
      [3, 4],
    ]),
  ).toBeCloseTo(0.9486832980505138, 12)
})
