import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { exportPrompt } from '../../src/api/export.js'
import { resumeSearch, search } from '../../src/api/search.js'
import { resumeTune as resume } from '../../src/api/tune.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { parseSearchConfig, type SearchConfigInput } from '../../src/search/config.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { readLearnedRun } from '../../src/sources/run.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'
import { toySearch, toySearchRows } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

const file = (name: string, lines: readonly string[]) => {
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`)
  return join(folder, name)
}

/** Refused as the user's mistake, with nothing written. */
async function refused(config: SearchConfigInput) {
  const error = await problemOf(search(config))
  expect(error.exitCode).toBe(2)
  expect(existsSync(join(folder, 'run'))).toBe(false)
  return error
}

describe('the config', () => {
  test('is filled in, and parses to itself', () => {
    const config = parseSearchConfig({ ...toySearch(folder), search: { type: 'gcg' } })
    expect(config.search).toMatchObject({
      type: 'gcg',
      steps: 250,
      questions: 32,
      vocabulary: 'ascii',
      drift: 'drop',
      prompt: ' x'.repeat(20),
    })
    expect(parseSearchConfig(config)).toEqual(config)
  })

  test.each([
    [{ type: 'gcq' }, 'invalid-config', /search\.type/],
    [{ type: 'gcg', searchWith: 3 }, 'unknown-option', /searchWith/],
    [{ type: 'gcg', questions: 4, batchSize: 8 }, 'invalid-config', /batchSize/],
    [{ type: 'gcg', budget: { generatedTokens: 0 } }, 'invalid-config', /generatedTokens/],
    [{ type: 'autoprompt', searchWidth: 3 }, 'unknown-option', /searchWidth/],
  ])('refuses %j', (options, code, message) => {
    const error = problem(() => parseSearchConfig({ ...toySearch(folder), search: options }))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })
})

describe('before anything is written', () => {
  test('a template without a place for the prompt', async () => {
    expect((await refused(toySearch(folder, { template: '{text} -' }))).code).toBe('no-prompt-place')
  })

  test('a row that train and dev share, and one that train and test share: both are named', async () => {
    const train = file('train.tsv', toySearchRows(12))
    const dev = file('dev.tsv', ['wine 100\t0', ...toySearchRows(3).slice(2)])
    const test = file('test.tsv', toySearchRows(5).slice(4))
    const data = { train, dev, test, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
    const error = await refused(toySearch(folder, { data, search: { questions: 12 } }))
    expect(error.code).toBe('overlapping-rows')
    expect(error.found).toMatch(/dev \S*dev\.tsv:2 = train \S*train\.tsv:3; test \S*test\.tsv:1 = train \S*train\.tsv:5/)
  })

  test('a row that a split file holds twice counts for the part that is judged', async () => {
    const train = file('twice.tsv', [...toySearchRows(24), ...toySearchRows(24)])
    const data = { train, split: { dev: 12, test: 8 }, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
    const config = parseSearchConfig(toySearch(folder, { data, search: { questions: 48 } }))
    const task = await readSearchTask(config)
    const texts = (rows: readonly { text?: string }[]) => rows.map(({ text }) => text)
    const [questions, dev, tested] = [texts(task.questions), texts(task.dev), texts(task.test)]
    expect(new Set([...questions, ...dev, ...tested]).size).toBe(24)
    expect(questions.some(text => dev.includes(text) || tested.includes(text))).toBe(false)
    expect(dev.some(text => tested.includes(text))).toBe(false)
    expect(task.repeated).toBe(48 - questions.length - dev.length - tested.length)
  })

  test('an answer without a token', async () => {
    const data = { train: file('empty.tsv', ['wine 1\t']), columns: ['text', 'label'] }
    expect((await refused(toySearch(folder, { data, answer: '{label}' }))).code).toBe('empty-answer')
  })

  test('a row longer than the context', async () => {
    const data = { train: file('long.tsv', [`wine ${'x '.repeat(300)}\tthe`]), columns: ['text', 'label'] }
    expect((await refused(toySearch(folder, { data }))).code).toBe('row-too-long')
  })

  test('a vocabulary of what is no token', async () => {
    expect((await refused(toySearch(folder, { search: { vocabulary: [' Shakespeare'] } }))).code).toBe('not-a-token')
  })

  test('a run to start from that is none', async () => {
    const options = { type: 'pez', from: join(folder, 'no-run') }
    expect((await refused(toySearch(folder, { search: options }))).code).toBe('not-a-run')
  })
})

test("pseudo-labels are the model's own, whatever the file says; where it is sure of none there is nothing to search for", async () => {
  const rows = toySearchRows(12)
  const flipped = rows.map(row => row.replace(/\d$/, label => String(1 - Number(label))))
  const options = { questions: 12, pseudoLabels: { perClass: 4 }, steps: 3, searchWidth: 8 }
  const prompts = await Promise.all(
    [rows, flipped].map(async (lines, i) => {
      const data = { train: file(`train${i}.tsv`, lines), columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
      const { result } = await search(toySearch(folder, { data, out: join(folder, `run${i}`), search: options }))
      return [result.prompt, result.objective]
    }),
  )
  expect(prompts[1]).toEqual(prompts[0])
  const unsure = { ...options, pseudoLabels: { confidence: 1 } }
  expect((await refused(toySearch(folder, { search: unsure }))).code).toBe('no-confident-answers')
})

test('measures that compare labels need labels', async () => {
  const data = { train: file('free.tsv', ['wine 1\tthe', 'stone 2\tof']), columns: ['text', 'label'] }
  for (const options of [{ measure: 'gap' }, { pseudoLabels: {} }])
    expect((await refused(toySearch(folder, { data, search: options }))).code).toBe('invalid-config')
  const { result } = await search(toySearch(folder, { search: { measure: 'mistakes', steps: 3, searchWidth: 8, rerank: 2 } }))
  expect(result.ranking.length).toBeLessThanOrEqual(3)
  expect((result.objective * 8) % 1).toBe(0)
})

test('without dev and test rows the loss chooses', async () => {
  const data = { train: file('few.tsv', ['wine 1\tthe', 'stone 2\tof']), columns: ['text', 'label'] }
  const { result } = await search(toySearch(folder, { data, search: { steps: 3, searchWidth: 8 } }))
  expect(result.metrics).toEqual({})
  expect(result.test).toBeUndefined()
  expect(result.objective).toBeLessThan(result.initial.objective)
})

test('batches of questions: a step takes some, the end judges on all', async () => {
  const { result } = await search(
    toySearch(folder, { search: { type: 'gcg', bufferSize: 3, questions: 8, batchSize: 2, steps: 6, searchWidth: 12 } }),
  )
  expect(result.metrics.accuracy!.value).toBeGreaterThanOrEqual(result.initial.metrics.accuracy!.value)
  expect(result.test?.comparison?.difference.value).toBeTypeOf('number')
})

test('a buffer, mellowmax, several swaps at once, fluency, and an early end', async () => {
  const options = { bufferSize: 4, replace: 2, mellowmax: 1, fluency: 0.1, steps: 4, searchWidth: 12 }
  const { result } = await search(toySearch(folder, { search: options }))
  expect(result.objective).toBeLessThan(result.initial.objective)
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  // What the model says after one of the prompts that the search can come to.
  const [logits] = await model.logits([model.tokenizer.encode('wine 1 of t and -')])
  const last = logits!.subarray(-model.config.vocabSize)
  const answer = model.tokenizer.token(last.indexOf(Math.max(...last)))
  await model.dispose()
  const easy = { train: file('easy.tsv', ['wine 1\tx']), columns: ['text', 'label'] }
  const { result: early } = await search(
    toySearch(folder, {
      out: join(folder, 'early'),
      data: easy,
      answer,
      search: { earlyStop: true, steps: 40, searchWidth: 64 },
    }),
  )
  expect(early.steps).toBeLessThan(40)
})

test('a search holds no soft prompt', async () => {
  const { folder: run } = await search(toySearch(folder, { search: { steps: 1, searchWidth: 8 } }))
  for (const use of [resume, readLearnedRun])
    expect(await problemOf(use(run))).toMatchObject({ code: 'not-a-soft-prompt', exitCode: 2 })
  const exported = exportPrompt(run, { to: 'peft', out: join(folder, 'out') })
  expect(await problemOf(exported)).toMatchObject({ code: 'not-exportable', exitCode: 2, expected: 'one of text' })
})

test('more steps go on from the end; fewer are refused', async () => {
  const { folder: run } = await search(toySearch(folder, { search: { steps: 3, searchWidth: 8 } }))
  expect((await problemOf(resumeSearch(run, { steps: 2 }))).code).toBe('invalid-steps')
  const { result } = await resumeSearch(run, { steps: 5 })
  expect(result.steps).toBe(5)
  const whole = await search(toySearch(folder, { out: join(folder, 'whole'), search: { steps: 5, searchWidth: 8 } }))
  expect(result.ids).toEqual(whole.result.ids)
  expect((await resumeSearch(run)).result).toEqual(result)
})
