import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { evaluate, loadModel, synthesize } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'

/** Rows that a tiny random model writes: what it says means nothing, but how it is asked, kept, and gone on with is the same. */

const { folder, remove } = temporaryFolder()
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const base = { task: 'Sort {these} words', rows: 6, maxNewTokens: 8, seed: 5 }
const classes = ['wine', 'stone', 'the']
const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, string>)

test('as many rows of each class, which other commands read; nothing else is left', async () => {
  const output = join(folder, 'rows.jsonl')
  const result = await synthesize({ ...base, model, labels: classes, output })
  expect(result).toMatchObject({ rows: 6, counts: { wine: 2, stone: 2, the: 2 } })
  const rows = linesOf(output)
  expect(new Set(rows.map(({ text }) => text)).size).toBe(6)
  expect(rows.map(({ label }) => label).sort()).toEqual(['stone', 'stone', 'the', 'the', 'wine', 'wine'])
  // Every text is a row, or is counted among those that are none.
  expect(result.written).toBe(6 + Object.values(result.rejected).reduce((sum, count) => sum + count, 0))
  expect(readdirSync(folder)).toEqual(['rows.jsonl'])
  // How many are taken for what they were to be is what an evaluation says.
  const { metrics } = await evaluate({
    model,
    data: rows,
    template: `Sort {{these}} words\nAnswers: wine, stone, the\n\nText: {text}\nAnswer:`,
    answer: ' {label}',
    labels: Object.fromEntries(classes.map(name => [name, name])),
    calibrate: true,
  })
  expect(result.fidelity!.value).toBeCloseTo(metrics.accuracy!.value, 6)
})

test('a call that was stopped goes on with what was written, to the same rows', async () => {
  const [whole, stopped] = ['whole.csv', 'stopped.csv'].map(name => join(folder, name)) as [string, string]
  const options = { ...base, model, labels: classes }
  await synthesize({ ...options, output: whole })
  const ending = new AbortController()
  const first = synthesize({ ...options, output: stopped, signal: ending.signal, onProgress: () => ending.abort() })
  expect((await problemOf(first)).code).toBe('aborted')
  expect(existsSync(stopped)).toBe(false)
  // A call that asks for something else in the same place takes nothing of it.
  const anew = join(folder, 'anew.csv')
  await synthesize({ ...options, rows: 9, output: anew })
  await synthesize({ ...options, rows: 9, output: stopped })
  expect(readFileSync(stopped, 'utf8')).toBe(readFileSync(anew, 'utf8'))
  rmSync(stopped)
  await synthesize({ ...options, output: stopped })
  expect(readFileSync(stopped, 'utf8')).toBe(readFileSync(whole, 'utf8'))
})

test('with onlyAgreed every row is of the class that the model takes it for; the share is of all that were judged', async () => {
  const output = join(folder, 'agreed.jsonl')
  const result = await synthesize({ ...base, model, labels: classes, onlyAgreed: true, output })
  const { rows, rejected, fidelity } = result
  expect(fidelity!.value).toBeCloseTo(rows / (rows + rejected.disagreed), 6)
  const { metrics } = await evaluate({
    ...{ model, data: linesOf(output), answer: ' {label}', calibrate: true },
    template: 'Sort {{these}} words\nAnswers: wine, stone, the\n\nText: {text}\nAnswer:',
    labels: Object.fromEntries(classes.map(name => [name, name])),
  })
  expect(metrics.accuracy!.value).toBe(1)
})

test('own rows are not written again; without classes rows have answers', async () => {
  const own = join(folder, 'own.csv')
  const written = readFileSync(join(folder, 'whole.csv'), 'utf8')
  writeFileSync(own, written)
  const output = join(folder, 'others.csv')
  await synthesize({ ...base, model, labels: classes, examples: own, output })
  const texts = written.split('\n').slice(1).filter(Boolean)
  for (const text of texts) expect(readFileSync(output, 'utf8')).not.toContain(text)

  const free = join(folder, 'free.jsonl')
  const result = await synthesize({ ...base, model, rows: 2, output: free })
  expect(result.fidelity).toBeUndefined()
  expect(linesOf(free).map(row => Object.keys(row))).toEqual([
    ['text', 'answer'],
    ['text', 'answer'],
  ])
})

test.each([
  [{ task: ' ' }, 'invalid-option'],
  [{ labels: ['one'] }, 'invalid-option'],
  [{ labels: ['one', 'one'] }, 'invalid-option'],
  [{ labels: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] }, 'invalid-option'],
  [{ labels: { a: 1, b: 'two' } }, 'invalid-option'],
  [{ similar: 2 }, 'invalid-option'],
  [{ output: 'rows.parquet' }, 'unknown-format'],
  [{ examples: [{ text: 'a', label: 'other' }] }, 'unknown-label'],
  [{ examples: [{ words: 'a' }] }, 'missing-column'],
  [{ temprature: 1 }, 'unknown-option'],
])('%j is refused before a model is opened', async (wrong, code) => {
  const given = { ...base, model: 'no-such-model', labels: classes, output: join(folder, 'new.csv'), ...wrong }
  expect((await problemOf(synthesize(given as never))).code).toBe(code)
})
