import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { evaluateByGeneration } from '../../src/evaluate/by-generation.js'
import { RowResultFile } from '../../src/evaluate/row-results.js'
import { loadScorer, type Scorer } from '../../src/evaluate/scorer.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-generated-'))
let model: LanguageModel
beforeAll(async () => {
  model = await LanguageModel.load('models/smollm2-135m-instruct')
})
afterAll(async () => {
  await model.dispose()
  rmSync(folder, { recursive: true })
})

const films = {
  data: 'examples/sst2/16-shot/test.tsv',
  template: 'Review: {sentence}\nSentiment:',
  answer: ' {label}',
  labels: { 0: 'negative', 1: 'positive' },
  examples: { file: 'examples/sst2/16-shot/seed-13/train.tsv', shots: 4 },
  limit: 12,
  maxNewTokens: 3,
  seed: 13,
}

test('rows that are finished are not done again, even when the last line was torn', async () => {
  const path = join(folder, 'films.jsonl')
  const open = await RowResultFile.open(path)
  const first = await evaluateByGeneration({ ...films, model, results: open })
  open.close()
  expect(first).toMatchObject({ task: 'classification', rows: 12, resumed: 0, unextracted: [], weights: 'fp32' })
  expect(first.metrics.accuracy!.value).toBeGreaterThan(0.4)
  expect(first.results[0]!.prompt).toMatch(/Sentiment: (negative|positive)\n\nReview: /)

  truncateSync(path, readFileSync(path).length - 20)
  const again = await RowResultFile.open(path)
  const second = await evaluateByGeneration({ ...films, model, results: again })
  again.close()
  expect(second.resumed).toBe(11)
  expect(second.results).toEqual(first.results)

  const other = await RowResultFile.open(path)
  expect((await evaluateByGeneration({ ...films, model, results: other, maxNewTokens: 2 })).resumed).toBe(0)
  other.close()

  // Rows of another file: those that are there stay.
  const before = readFileSync(path)
  const fewer = join(folder, 'fewer.tsv')
  writeFileSync(fewer, readFileSync(films.data, 'utf8').split('\n').slice(0, 3).join('\n'))
  const third = await RowResultFile.open(path)
  const refused = evaluateByGeneration({ ...films, model, data: fewer, results: third })
  expect(await problemOf(refused)).toMatchObject({ code: 'file-exists' })
  third.close()
  expect(readFileSync(path)).toEqual(before)
}, 120_000)

test('another scorer, and one that was changed, score the texts that are there', async () => {
  const [path, scorerPath] = [join(folder, 'scored.jsonl'), join(folder, 'scorer.mjs')]
  const run = async (scorer?: Scorer) => {
    const results = await RowResultFile.open(path)
    const scored = await evaluateByGeneration({ ...films, model, limit: 4, results, scorer })
    results.close()
    return scored
  }
  const first = await run()
  expect(first.generatedTokens).toBeGreaterThan(0)
  writeFileSync(scorerPath, 'export default () => 0.25')
  const quarter = await run(await loadScorer(scorerPath))
  expect(quarter).toMatchObject({ generatedTokens: 0, metrics: { score: { value: 0.25 } } })
  expect(quarter.results.map(({ text }) => text)).toEqual(first.results.map(({ text }) => text))
  const same = await loadScorer(scorerPath)
  // Node keeps a module that it has loaded: only the version tells that its file is another one now.
  const changed: Scorer = { ...same, version: 'another', score: () => 0.75 }
  expect(await run(changed)).toMatchObject({ generatedTokens: 0, metrics: { score: { value: 0.75 } } })
  const thrown = await run({
    name: 'throws',
    score: row => {
      if (row.label === '0') throw new Error('no zeros')
      return true
    },
  })
  expect(thrown.errors.length).toBe(thrown.results.filter(({ error }) => error?.includes('no zeros')).length)
  expect(thrown.errors[0]!.message).toMatch(/test\.tsv:\d+: no zeros/)
}, 120_000)

test('a benchmark brings its own prompt, stop strings and extraction', async () => {
  const path = join(folder, 'gsm.jsonl')
  const lines = [
    { question: 'Ann has 2 apples and buys 3. How many has she?', answer: '2 + 3 = <<2+3=5>>5\n#### 5' },
    { question: 'A pen costs 4 dollars. What do 2 pens cost?', answer: '2 * 4 = <<2*4=8>>8\n#### 8' },
  ]
  writeFileSync(path, lines.map(line => JSON.stringify(line)).join('\n'))
  const { results, task } = await evaluateByGeneration({ model, data: path, task: 'gsm8k', seed: 1, maxNewTokens: 24 })
  expect(task).toBe('gsm8k')
  expect(results.map(({ answer }) => answer)).toEqual(['5', '8'])
  expect(results[0]!.prompt).toContain('Ann has 2 apples')
})

test('what is missing is named', async () => {
  const { template: _, ...untold } = films
  expect(await problemOf(evaluateByGeneration({ ...untold, model }))).toMatchObject({ code: 'missing-option' })
  const few = { ...films, model, examples: { file: films.examples.file, shots: 99 } }
  expect(await problemOf(evaluateByGeneration(few))).toMatchObject({ code: 'not-enough-rows', expected: '99' })
  expect(await problemOf(evaluateByGeneration({ ...films, model, task: 'gsm9k' }))).toMatchObject({ code: 'unknown-task' })
})
