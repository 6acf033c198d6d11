import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate, exportPrompt, type LanguageModel, loadModel, predict, search, tune } from '../../src/index.js'
import { toySearch, toySearchRows } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** What answers are is a matter of what a prompt was learned on, whatever the rows at hand happen to hold. */

const { folder, remove } = temporaryFolder()
afterAll(remove)
const at = (...names: string[]) => join(folder, ...names)
const rowsIn = (lines: readonly string[]) =>
  lines.map(line => {
    const [text, label] = line.split('\t') as [string, string]
    return { text, label }
  })
const rows = rowsIn(toySearchRows(24))
const ones = rows.filter(({ label }) => label === '1')

let model: LanguageModel
let found: Awaited<ReturnType<typeof search>>
const words = (out: string) => {
  mkdirSync(at(out), { recursive: true })
  const config = toySearch(at(out), { search: { steps: 1, searchWidth: 4, topk: 4 } })
  return { ...config, data: { ...config.data, labels: undefined }, out: at(out, 'run') }
}
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  found = await search(words('found'))
})
afterAll(() => model.dispose())

describe('a search that read its classes from its training rows', () => {
  test('chooses between all of them where the scored rows have one', async () => {
    for (const prompt of [found, found.folder]) {
      const warnings: string[] = []
      const { predictions, labels } = await evaluate({
        model,
        prompt,
        data: ones,
        onWarning: ({ code }) => warnings.push(code),
      })
      expect(labels).toEqual(['0', '1'])
      expect(predictions![0]!.logLikelihoods).toHaveLength(2)
      expect(warnings).toContain('absent-labels')
      expect(warnings).not.toContain('labels')
    }
  })

  test('says where the rows that were set aside have been scored', async () => {
    expect(await problemOf(evaluate({ model, prompt: found.folder }))).toMatchObject({
      code: 'missing-option',
      hint: expect.stringContaining(`inspect ${found.folder}`),
    })
  })

  test('refuses a class that it does not know', async () => {
    const data = [...rows, { text: 'wine', label: '2' }, { text: 'ale', label: '2' }]
    expect(await problemOf(evaluate({ model, prompt: found, data }))).toMatchObject({
      code: 'unknown-label',
      expected: 'one of "0", "1"',
    })
  })

  test('knows them without its data, and says them in exports', async () => {
    const moved = await search(words('moved'))
    rmSync(at('moved', 'toy.tsv'))
    expect((await evaluate({ model, prompt: moved.folder, data: ones })).labels).toEqual(['0', '1'])
    const predicted: unknown[] = []
    for await (const { probabilities } of predict({ model, prompt: moved.folder, data: [{ text: 'wine' }] }))
      predicted.push(Object.keys(probabilities!))
    expect(predicted).toEqual([['0', '1']])
    await exportPrompt(moved.folder, { to: 'text', out: at('words') })
    expect(JSON.parse(readFileSync(at('words', 'prompt.json'), 'utf8'))).toMatchObject({ labels: ['0', '1'] })
  })

  test('of an earlier version is asked for its training rows', async () => {
    const path = join(found.folder, 'run.json')
    const details = readFileSync(path, 'utf8')
    const { labels, ...before } = JSON.parse(details) as Record<string, unknown>
    expect(labels).toEqual({ 0: '0', 1: '1' })
    writeFileSync(path, JSON.stringify(before))
    expect((await evaluate({ model, prompt: found.folder, data: ones })).labels).toEqual(['0', '1'])
    writeFileSync(path, details)
  })
})

test('a config without a prompt says them by its training rows', async () => {
  const { search: _, ...config } = words('found') as Record<string, unknown>
  const plain = { ...config, template: '{text} -' } as never
  const { labels } = await evaluate({ model, config: plain, data: ones })
  expect(labels).toEqual(['0', '1'])
  const other = ones.map(({ text }) => ({ text, other: 'x' }))
  expect((await evaluate({ model, config: plain, answer: ' {other}', columns: ['text', 'other'], data: other })).labels).toEqual([
    'x',
  ])
})

describe('free text', () => {
  test('that was learned is free text where its rows have few answers, generated or not', async () => {
    const texts = Array.from({ length: 24 }, (_, i) => ({ text: `wine ${i}`, label: `it is ${i} of ${i * 7} on the way.` }))
    const { data: _, ...config } = toyConfig(folder, { train: { steps: 1 }, threads: 1 })
    const run = await tune({ ...config, data: { train: texts }, out: at('texts') } as never)
    const likely = await evaluate({ model, prompt: run, data: rows })
    expect(likely.metrics).not.toHaveProperty('accuracy')
    const { generated } = await evaluate({ model, prompt: run, data: rows.slice(0, 6), generate: true, maxNewTokens: 2 })
    expect(generated!.task).toBe('free-text')
  })

  test('or classes are said aloud where generated answers are judged by rows alone', async () => {
    const warnings: string[] = []
    const task = { template: '{text} -', answer: ' {label}', generate: true, maxNewTokens: 1 } as const
    const { generated } = await evaluate({ model, ...task, data: rows, limit: 2, onWarning: ({ code }) => warnings.push(code) })
    expect([generated!.task, warnings]).toEqual(['classification', ['labels']])
    const free = await evaluate({ model, ...task, data: rows, limit: 2, answerType: 'text' })
    expect(free.generated!.task).toBe('free-text')
  })
})
