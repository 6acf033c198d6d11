import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { partsOf } from '../../src/api/hints/asked.js'
import { evaluate, hints, loadModel } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { parseConfig } from '../../src/train/config.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** A folder of hints that is damaged, or of another call. */

const { folder, remove } = temporaryFolder()
const small = { instruction: 'say', samples: 3, maxHintTokens: 3, fixedTexts: 2, temperature: 1 }
const configIn = (out: string) => {
  const { model: _, data, ...config } = toyConfig(folder, { train: { steps: 6 } })
  return { ...config, model, data: { ...data, limit: { train: 6 } }, out }
}
let model: LanguageModel
const whole = join(folder, 'whole')
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  await hints(configIn(whole), small)
})
afterAll(async () => {
  await model.dispose()
  remove()
})

type Result = { conditions: { policy: { score?: object; accuracy?: object } } }

/** A copy of the whole folder with one file changed. */
function damaged(name: string, file: string, change: (text: string) => string): string {
  const copy = join(folder, name)
  cpSync(whole, copy, { recursive: true })
  writeFileSync(join(copy, file), change(readFileSync(join(copy, file), 'utf8')))
  return copy
}
const withJson = (change: (value: Record<string, unknown>) => object) => (text: string) =>
  JSON.stringify(change(JSON.parse(text)))
const saidOf = (out: string, options: object = small) => problemOf(hints(configIn(out), options))

test('a damaged file of a folder is named, and what it held is measured anew when it is removed', async () => {
  const torn = await saidOf(damaged('torn', 'asked.json', text => text.slice(0, 20)))
  expect(torn).toMatchObject({ code: 'run-corrupt', message: expect.stringContaining('asked.json') })
  expect((await saidOf(damaged('numbers', 'asked.json', () => '3'))).code).toBe('run-corrupt')

  const unmeasured = damaged(
    'empty',
    'hints.json',
    withJson(file => ({ ...file, result: {} })),
  )
  expect(await saidOf(unmeasured)).toMatchObject({ code: 'run-corrupt', found: expect.stringContaining('result') })
  rmSync(join(unmeasured, 'hints.json'))
  const [before, anew] = [await hints(configIn(whole), small), await hints(configIn(unmeasured), small)]
  expect(anew.conditions).toEqual(before.conditions)
  const partly = (change: (result: Result) => void) =>
    withJson(file => {
      change(file.result as Result)
      return file
    })
  const noFigure = damaged(
    'figure',
    'hints.json',
    partly(({ conditions }) => delete conditions.policy.score),
  )
  expect((await saidOf(noFigure)).code).toBe('run-corrupt')

  const halfAccurate = damaged(
    'accuracy',
    'hints.json',
    partly(({ conditions }) => delete conditions.policy.accuracy),
  )
  expect((await saidOf(halfAccurate)).code).toBe('run-corrupt')

  const texts = (name: string, change: (text: string) => string) => {
    const copy = damaged(name, 'round-1-texts.jsonl', change)
    rmSync(join(copy, 'hints.json'))
    return saidOf(copy)
  }
  expect((await texts('torn-texts', text => text.slice(0, -5))).code).toBe('run-corrupt')
  expect((await texts('few-texts', text => text.split('\n').slice(2).join('\n'))).code).toBe('run-corrupt')
})

test('how a hint stands before a text is looked at when it is read', async () => {
  for (const [i, say] of ['Hint:', 'Hint: {other}', '{hint} {text}', 'Hint: {'].entries()) {
    const from = damaged(
      `say-${i}`,
      'hints.json',
      withJson(file => ({ ...file, say })),
    )
    const answered = evaluate({
      model,
      data: [{ text: 'the wine', answer: 'a' }],
      template: '{text} -',
      answer: ' {answer}',
      answerType: 'text',
      maxNewTokens: 4,
      strategy: { type: 'hints', from, write: 'fixed' },
    })
    expect(await problemOf(answered)).toMatchObject({ code: 'run-corrupt', found: expect.stringContaining('say') })
  }
})

test('the domain and the trackers of a config are those of each round', async () => {
  const out = join(folder, 'followed')
  const domain = { dimensions: 3, iterations: 50 }
  await hints({ ...configIn(out), domain, track: ['csv'] }, { ...small, rounds: 2 })
  for (const round of ['round-1', 'round-2']) {
    expect(parse(readFileSync(join(out, round, 'config.yaml'), 'utf8'))).toMatchObject({ domain, track: ['csv'] })
    expect(readdirSync(join(out, round)).filter(name => name.endsWith('.csv'))).not.toEqual([])
  }
})

test('a call says what it would change, and may change where it computes and who follows it', async () => {
  const found = async (given: object, options: object = {}) =>
    (await problemOf(hints({ ...configIn(whole), ...given } as never, { ...small, ...options }))).found
  expect(await found({}, { samples: 4 })).toBe('another samples')
  expect(await found({ seed: 3 }, { temperature: 0.5 })).toMatch(/^another seed, another temperature/)
  expect(await found({ data: { ...configIn(whole).data, limit: { train: 5 } } })).toContain('another training rows')
  const before = await hints(configIn(whole), small)
  expect(await hints({ ...configIn(whole), track: ['csv'] }, small)).toEqual(before)
  const opened = { device: 'cpu', threads: 2, memory: 4 } as const
  expect(partsOf(parseConfig({ ...toyConfig(folder), ...opened, out: 'x' }), {}, {})).toEqual(
    partsOf(parseConfig(toyConfig(folder)), {}, {}),
  )
})

test('a call that fails on a row claims no folder', async () => {
  const out = join(folder, 'claimed')
  const rows = ['the wine', 'on stone', 'at wine', 'it stone'].map((text, i) => ({ text, label: String(i % 2) }))
  const { data, ...config } = configIn(out)
  const of = (train: object[]) => hints({ ...config, data: { train, test: rows, labels: data.labels! } } as never, small)
  expect((await problemOf(of([...rows, { text: 'wine '.repeat(5000), label: '0' }]))).code).toBe('row-too-long')
  expect((await of(rows)).trainingRows).toBe(4)
})

test('progress is told before the model is there, and while rows are scored', async () => {
  const heard: string[] = []
  const onProgress = ({ what, done, total }: { what: string; done: number; total: number }) =>
    heard.push(`${what} ${done}/${total}`)
  await hints({ ...configIn(join(folder, 'told')), evaluate: { batchSize: 1 } }, { ...small, rounds: 1, onProgress })
  expect(heard[0]).toBe('loading 0/1')
  expect(heard.filter(line => line.startsWith('base-scores'))).toContain('base-scores 1/6')
  expect(heard).toContain('base-scores 6/6')
})
