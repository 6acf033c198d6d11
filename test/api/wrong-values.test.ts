import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import {
  evaluate,
  exportPrompt,
  extend,
  generate,
  type LanguageModel,
  labelNext,
  loadModel,
  predict,
  readRun,
  resume,
  serve,
  tune,
} from '../../src/index.js'
import { ownCache } from '../support/cache.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

/** What JavaScript hands over where TypeScript would have said that it does not fit: a typed error, before anything is computed. */

ownCache()
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const inputs = ['a delight']
const soft = { data: new Float32Array(64).fill(0.1), shape: [2, 32] as const }
// Whatever is given here is of another type than the calls declare.
const other = <Value>(value: unknown) => value as Value

async function drained(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

describe('options', () => {
  test.each<[string, () => Promise<unknown>]>([
    ['generate', () => generate(other(undefined))],
    ['generate.stream', () => drained(generate.stream(other(undefined)))],
    ['evaluate', () => evaluate(other(null))],
    ['predict', () => drained(predict(other(undefined)))],
    ['labelNext', () => labelNext(other('x'))],
    ['exportPrompt', () => exportPrompt('runs/x', other(undefined))],
    ['serve', () => serve(other(5))],
    ['tune', () => tune(other({}), other(null))],
    ['extend', () => extend(other([]))],
  ])('%s without an object of them', async (call, calling) => {
    expect(await problemOf(calling())).toMatchObject({
      code: 'invalid-option',
      message: `${call} takes its options as an object`,
    })
  })

  test.each([
    [{ limit: -1 }, 'the number -1'],
    [{ limit: '3' }, 'the string 3'],
    [{ limit: 0 }, 'the number 0'],
    [{ threads: 0 }, 'the number 0'],
    [{ batchSize: 1.5 }, 'the number 1.5'],
    [{ seed: '13' }, 'the string 13'],
    [{ shots: -1 }, 'the number -1'],
    [{ temperature: '1' }, 'the string 1'],
    [{ maxNewTokens: NaN }, 'the number NaN'],
    [{ memory: -4 }, 'the number -4'],
    [{ task: 5 }, 'the number 5'],
    [{ onProgress: true }, 'the boolean true'],
    [{ signal: new AbortController() }, 'a AbortController'],
  ])('%j', async (options, found) => {
    const [name] = Object.keys(options)
    expect(await problemOf(evaluate({ model, data: [{ text: 'a' }], ...other<object>(options) }))).toMatchObject({
      code: 'invalid-option',
      message: `evaluate: ${name} is not valid`,
      found,
    })
  })

  test('of extend: a name that nothing reads, and what is no list', async () => {
    expect(await problemOf(extend(other({ metods: [] })))).toMatchObject({
      code: 'unknown-option',
      hint: 'did you mean methods?',
    })
    expect(await problemOf(extend(other({ methods: {} })))).toMatchObject({ code: 'invalid-option', expected: 'methods: [ … ]' })
  })
})

test.each([5, {}, undefined])('the model %j', async given => {
  expect(await problemOf(loadModel(other(given)))).toMatchObject({ code: 'invalid-option', message: 'this is no model' })
  if (given !== undefined) expect((await problemOf(generate({ model: other(given), inputs }))).message).toBe('this is no model')
})

test('a model that was disposed of is one nowhere', async () => {
  const gone = await loadModel(toyModel, { threads: 1 })
  await gone.dispose()
  expect((await problemOf(generate({ model: gone, inputs, maxNewTokens: 1 }))).code).toBe('disposed')
  expect((await problemOf(serve({ model: gone, port: 0 }))).code).toBe('disposed')
})

test.each([5, {}, new Float32Array(64), [[1, 2]]])('the prompt %j', async prompt => {
  for (const call of [
    () => generate({ model, inputs, prompt: other(prompt) }),
    () => exportPrompt(other(prompt), { to: 'peft', out: 'x' }),
  ])
    expect(await problemOf(call())).toMatchObject({ code: 'not-a-prompt', message: 'this stands for no prompt' })
})

test('runs, data and inputs', async () => {
  expect((await problemOf(readRun(other(5)))).code).toBe('not-a-run')
  expect((await problemOf(resume(other(5)))).code).toBe('not-a-run')
  expect((await problemOf(generate({ model, inputs: other('a delight') }))).message).toBe('inputs are no list')
  const data = other<never>({ train: 'a.tsv' })
  const task = { model, template: '{text}', answer: ' {label}' }
  for (const call of [
    () => evaluate({ ...task, data }),
    () => drained(predict({ ...task, data })),
    () => labelNext({ ...task, data, prompt: soft }),
  ])
    expect(await problemOf(call())).toMatchObject({ code: 'invalid-data', found: 'an object with train' })
})

describe("a model's calls", () => {
  const ids = [40, 41, 42, 43]

  test('rows', async () => {
    const calls = [
      (rows: never) => model.logits(rows),
      (rows: never) => model.logProbabilities(rows),
      (rows: never) => model.forward(rows),
    ]
    for (const call of calls) {
      expect(await problemOf(call(other(undefined)))).toMatchObject({ code: 'invalid-rows', found: 'nothing' })
      expect(await problemOf(call(other(['abc'])))).toMatchObject({ code: 'invalid-rows', found: 'the string abc' })
      expect(await problemOf(call(other([Int32Array.from(ids)])))).toMatchObject({
        hint: '[...ids] makes a list of a typed array',
      })
    }
  })

  test('vectors, and labels outside the vocabulary', async () => {
    const rows = [{ ids, labels: [-100, -100, -100, 43] }]
    for (const softPrompt of [undefined, soft.data, { data: [1, 2], shape: [1, 2] }, { data: soft.data }])
      expect((await problemOf(model.lossAndGradient({ softPrompt: other(softPrompt), rows }))).code).toBe('shape-mismatch')
    const beyond = [{ ids, labels: [-100, -100, 1e6, 43] }]
    expect((await problemOf(model.lossAndGradient({ softPrompt: soft, rows: beyond }))).code).toBe('invalid-token-id')
  })

  test.each([
    ['no object', () => undefined, 'a function'],
    ['a number', { rows: () => 5 }, 'the number 5'],
    ['a promise', { rows: async () => undefined }, 'a Promise'],
    ['fewer rows', { rows: (_: number, x: tf.Tensor2D) => tf.slice(x, [0, 0], [1, -1]) }, 'a tensor of shape [1, 32]'],
  ])('a hook: %s', async (_, hook, found) => {
    expect(await problemOf(model.forward([ids], { hook: other(hook) }))).toMatchObject({ code: 'invalid-hook', found })
  })
})
