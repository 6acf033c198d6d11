import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { evaluate, type LanguageModel, loadModel } from '../../src/index.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'

/** Generated answers that are limited, beside those that are not. */

let model: LanguageModel
const { folder, remove } = temporaryFolder()
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const data = ['wine', 'stone', 'wine of it', 'the stone', 'on', 'at the'].map((text, i) => ({
  text,
  answer: ['the', 'of'][i % 2]!,
}))
const task = { data, template: '{text} -', answer: ' {answer}', answerType: 'text' } as const

test('the free accuracy and the mass that the limit rejects stand beside the accuracy', async () => {
  const rows = join(folder, 'rows.jsonl')
  const limited = await evaluate({
    model,
    ...task,
    choices: ['the', 'of'],
    rejectedMass: true,
    control: true,
    maxNewTokens: 8,
    rows,
  })
  expect(limited.metrics.rejectedMass!.value).toBeGreaterThan(0)
  expect(limited.metrics.rejectedMass!.value).toBeLessThanOrEqual(1)
  expect(limited.results.every(({ text }) => text === 'the' || text === 'of')).toBe(true)
  const free = await evaluate({ model, ...task, generate: true, maxNewTokens: 8 })
  expect(limited.control).toMatchObject({ name: 'free answer', metrics: free.metrics })
  expect(limited.control!.results.map(({ text }) => text)).toEqual(free.results.map(({ text }) => text))
  expect(limited.verdict).toBeDefined()
  // What is kept says the mass as well, and is taken from there.
  const kept = readFileSync(rows, 'utf8').trim().split('\n')
  expect(JSON.parse(kept.at(-1)!)).toMatchObject({ scores: { rejectedMass: expect.any(Number) } })
  const again = await evaluate({ model, ...task, choices: ['the', 'of'], rejectedMass: true, maxNewTokens: 8, rows })
  expect([again.generated!.resumed, again.metrics]).toEqual([6, limited.metrics])
})

test('a regular expression limits what is read', async () => {
  const { results } = await evaluate({ model, ...task, regex: 'the|of|and', maxNewTokens: 8 })
  for (const { text } of results) expect(text!.trim()).toMatch(/^(the|of|and)$/)
  expect(await problemOf(evaluate({ model, ...task, regex: '(', maxNewTokens: 8 }))).toMatchObject({ code: 'invalid-regex' })
})
