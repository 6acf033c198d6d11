import { describe, expect, test } from 'vitest'
import { tf } from '../kernels/tf.js'
import { families } from '../models/index.js'
import { takeRows } from '../src/data/memory-rows.js'
import { dataReaders } from '../src/data/readers/index.js'
import { recordTasks } from '../src/data/task-records.js'
import { exportTargets, refuseUnheld } from '../src/export/index.js'
import { losses } from '../src/losses/index.js'
import { type Loss, lossTerm } from '../src/losses/loss.js'
import { LanguageModel } from '../src/model/language-model.js'
import type { PromptMethod } from '../src/prompts/method.js'
import { promptMethods } from '../src/prompts/methods/index.js'
import { promptTuning, promptTuningSchema } from '../src/prompts/methods/prompt-tuning.js'
import { searchMethods } from '../src/search/methods/index.js'
import { parseConfig } from '../src/train/config.js'
import { ownCache } from './support/cache.js'
import { problem, problemOf } from './support/problem.js'

/** What people's own entries throw, and give back where it is not what was asked for: always a typed error that names whose it is. */

ownCache()

const fails = () => {
  throw new RangeError('no luck')
}

const method = (members: object) =>
  promptMethods.get(
    promptMethods.add({
      type: 'mine',
      paper: '',
      learningRate: 0.1,
      placement: () => ({ numVirtualTokens: 2, position: 'before-bos' }),
      parameters: () => [{ name: 'rows', shape: [2, 4] }],
      initialise: () => new Map([['rows', new Float32Array(8)]]),
      inputRows: (_: unknown, { rows }: { rows: tf.Tensor }) => rows,
      ...members,
    }),
  )

describe('methods', () => {
  const config = { type: 'mine' }

  test.each([
    [undefined, 'nothing'],
    [Promise.resolve({}), 'a promise'],
    [{ numVirtualTokens: '4', position: 'before-bos' }, 'numVirtualTokens: the string 4'],
    [{ numVirtualTokens: 1.5, position: 'before-bos' }, 'numVirtualTokens: the number 1.5'],
    [{ numVirtualTokens: 4, position: 'first' }, 'position: the string first'],
    [{ numVirtualTokens: 4, position: 'before-bos', as: 'values' }, 'as: the string values'],
    [{ numVirtualTokens: 4, position: 'before-bos', insertionLayer: -1 }, 'insertionLayer: the number -1'],
  ])('a placement %j', (given, found) => {
    expect(problem(() => method({ placement: () => given }).placement(config, {} as never))).toMatchObject({
      code: 'invalid-method',
      message: expect.stringContaining('the method mine'),
      found,
    })
  })

  test.each([
    [5, 'the number 5'],
    [[7], 'the number 7 at place 0'],
    [[{ name: '', shape: [1] }], 'name: the string  at place 0'],
    [[{ name: 'softTokens', shape: [1] }], 'name: softTokens at place 0'],
    [
      [
        { name: 'a', shape: [2] },
        { name: 'a', shape: [2] },
      ],
      'name: a, once more at place 1',
    ],
    [[{ name: 'a', shape: [2, NaN] }], 'shape: [2, NaN] at place 0'],
    [[{ name: 'a', shape: 2 }], 'shape: the number 2 at place 0'],
    [[{ name: 'a', shape: [2], learningRate: 0 }], 'learningRate: the number 0 at place 0'],
  ])('parameters %j', (given, found) => {
    expect(problem(() => method({ parameters: () => given }).parameters(config, {} as never)).found).toBe(found)
  })

  test.each([
    [{ rows: new Float32Array(8) }, { found: 'an object with rows' }],
    [new Map([['row', new Float32Array(8)]]), { found: 'nothing for rows', hint: 'did you mean rows by row?' }],
    [new Map([['rows', new Float32Array(3)]]), { found: 'rows: a Float32Array of 3' }],
    [new Map([['rows', new Float64Array(8)]]), { found: 'rows: a Float64Array of 8' }],
    [new Map([['rows', new Float32Array(8).fill(NaN)]]), { found: 'rows: NaN at place 0' }],
    [
      new Map([
        ['rows', new Float32Array(8)],
        ['more', new Float32Array(1)],
      ]),
      { found: 'the string more, which is none of its parameters' },
    ],
  ])('values %j', async (given, details) => {
    for (const initialise of [() => given, async () => given])
      expect(await problemOf(method({ initialise }).initialise(config, { model: {} } as never))).toMatchObject({
        code: 'invalid-method',
        expected: 'a Map of rows: a Float32Array of 8',
        ...details,
      })
  })

  test('what they throw, with the line where they did', async () => {
    for (const initialise of [fails, async () => fails()])
      expect(await problemOf(method({ initialise }).initialise(config, { model: {} } as never))).toMatchObject({
        code: 'method-failed',
        message: 'the method mine failed in initialise: no luck',
        found: expect.stringMatching(/^at test[\\/]own-entries\.test\.ts:\d+:\d+$/),
        cause: expect.any(RangeError),
      })
  })

  test('options that no function of theirs gives back', async () => {
    promptMethods.add({ ...method({}), type: 'no-options', options: async () => ({}) })
    const input = { model: 'm', data: { train: 'a.tsv' }, template: '{text}', answer: '{label}', method: { type: 'no-options' } }
    expect(problem(() => parseConfig(input)).expected).toContain('gave back a Promise')
    expect(problem(() => method({ options: 5 }))).toMatchObject({ code: 'invalid-method', found: 'the number 5' })
  })

  test('rows of another shape than the prompt has', async () => {
    await using model = await LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
    const rows = [{ ids: [78, 80, 31, 14], labels: [-100, -100, -100, 14] }]
    const of = (inputRows: unknown) =>
      problemOf(
        model.promptGradient(
          {
            method: { ...promptTuning, inputRows } as unknown as PromptMethod,
            config: promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 3 }),
            parameters: new Map([['prompt', new Float32Array(96).fill(0.1)]]),
          },
          rows,
        ),
      )
    const expected = 'a tensor of shape [m, d], here [3, 32]'
    const slice = (_: unknown, { prompt }: { prompt: tf.Tensor }) => tf.slice(prompt, [0, 0], [2, 32])
    expect(await of(slice)).toMatchObject({ code: 'invalid-method', found: 'a tensor of shape [2, 32]', expected })
    expect(await of(() => undefined)).toMatchObject({ code: 'invalid-method', found: 'nothing', expected })
    expect(await of(async () => undefined)).toMatchObject({ code: 'invalid-method', found: 'a Promise', expected })
  })
})

describe('losses', () => {
  test.each([
    [
      'each row its own',
      ({ logits }: { logits: tf.Tensor }) => ({ loss: tf.max(logits, -1) }),
      /^loss: a tensor of shape \[\d+\]$/,
    ],
    ['a number', () => ({ loss: 5 }), /^an object with loss$/],
    ['nothing', () => undefined, /^nothing$/],
    ['a promise', async () => ({}), /^a Promise$/],
    [
      'a figure',
      ({ logits }: { logits: tf.Tensor }) => ({ loss: tf.sum(logits), figures: { logits } }),
      /^figures\.logits: a tensor/,
    ],
  ])('%s is no scalar', async (_, compute, found) => {
    await using model = await LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
    const prompt = {
      method: promptTuning as unknown as PromptMethod,
      config: promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 3 }),
      parameters: new Map([['prompt', new Float32Array(96).fill(0.1)]]),
    }
    const loss = { type: 'mine', paper: '', compute: (_: unknown, read: never) => compute(read) } as unknown as Loss
    const rows = [{ ids: [78, 80, 31, 14], labels: [-100, -100, 31, 14] }]
    const given = { losses: [lossTerm(loss, { type: 'mine' })] }
    expect(await problemOf(model.promptGradient(prompt, rows, given))).toMatchObject({
      code: 'invalid-loss',
      found: expect.stringMatching(found),
    })
  })

  test('inputs and answers', () => {
    const loss = (members: object) => losses.get(losses.add({ type: 'mine', paper: '', compute: () => ({}), ...members }))
    const options = { type: 'mine' }
    expect(problem(() => loss({ inputs: 5 }))).toMatchObject({ code: 'invalid-loss', expected: 'a function' })
    expect(problem(() => loss({ inputs: () => ({ a: [3] }) }).inputs!(options, {} as never)).found).toBe('a: a list of 1')
    expect(problem(() => loss({ answers: () => 'x' }).answers!(options, 'x')).found).toBe('the string x')
  })
})

test('searches', async () => {
  const search = (members: object) =>
    searchMethods.get(searchMethods.add({ type: 'mine', paper: '', steps: 2, start: () => ({}), step: () => ({}), ...members }))
  const context = { embedding: { vocabSize: 10 } } as never
  const outcome = { state: {}, prompt: [1], objective: 1, candidates: [{ ids: [1], loss: 1 }] }
  const step = (given: unknown) => search({ step: async () => given }).step({}, { type: 'mine' }, context)
  expect(await step(outcome)).toBe(outcome)
  expect((await problemOf(step({ state: {} }))).found).toBe('objective: nothing')
  expect((await problemOf(step({ ...outcome, prompt: [1, 10] }))).found).toBe('prompt: 10 among its ids')
  expect((await problemOf(step({ ...outcome, candidates: [{ ids: [-1], loss: 1 }] }))).found).toBe(
    'candidates[0].ids: -1 among its ids',
  )
  expect((await problemOf(step({ ...outcome, candidates: [{ ids: [1] }] }))).found).toBe('candidates[0].loss: nothing')
  expect((await problemOf(search({ start: async () => undefined }).start({ type: 'mine' }, context))).code).toBe('invalid-search')
  expect(problem(() => search({ steps: 0 })).expected).toBe('a whole number from 1')
  expect(problem(() => search({ needs: async () => ({}) }).needs!({ type: 'mine' })).found).toBe('a promise')
})

test('an exporter that says whether it holds a method only later, or not at all; another export knows nothing of it', () => {
  const target = (name: string, holds: unknown) =>
    exportTargets.get(exportTargets.add({ name, description: '', holds, write: async () => {} }))
  const mine = promptMethods.get('prompt-tuning')
  const options = { type: 'prompt-tuning' }
  // A promise counts as true wherever it is asked whether it is.
  expect(
    problem(() =>
      refuseUnheld(
        target('later', async () => false),
        mine,
        options,
      ),
    ),
  ).toMatchObject({
    code: 'invalid-target',
    found: 'a promise',
  })
  expect(
    problem(() =>
      refuseUnheld(
        target('perhaps', () => undefined),
        mine,
        options,
      ),
    ).expected,
  ).toBe('true or false')
  expect(problem(() => refuseUnheld(target('broken', fails), mine, options)).code).toBe('target-failed')
  expect(() => refuseUnheld(exportTargets.get('peft'), mine, options)).not.toThrow()
})

describe('readers', () => {
  const reader = (members: object) =>
    dataReaders.get(dataReaders.add({ name: 'mine', extensions: ['mine'], read: () => ({}), ...members }))

  test.each([
    [undefined, 'nothing'],
    [[{ text: 'a' }], 'a list of 1'],
    [{ records: [], columns: 'text', origins: [] }, 'columns: the string text'],
    [{ records: [{ text: 'a' }], columns: ['text'], origins: [] }, '1 records and 0 origins'],
    [{ records: [{ text: 5 }], columns: ['text'], origins: ['a'] }, 'records[0].text: the number 5'],
    [{ records: ['a'], columns: ['text'], origins: ['a'] }, 'records[0]: the string a'],
  ])('a table %j', async (given, found) => {
    expect(await problemOf((async () => reader({ read: () => given }).read({} as never, {}))())).toMatchObject({
      code: 'invalid-reader',
      found,
    })
  })

  test.each([[[]], [['.mine']], [['MINE']], [[5]]])('the endings %j', extensions => {
    expect(problem(() => reader({ extensions })).code).toBe('invalid-reader')
  })
})

test('tasks and families', () => {
  const task = recordTasks.get(recordTasks.add({ name: 'sums', record: ({ a }: { a: string }) => ({ question: Number(a) }) }))
  expect(problem(() => task.record({ a: '1' }, 'x:1'))).toMatchObject({ code: 'invalid-task', found: 'question: the number 1' })
  const family = families.get(families.add({ ...families.get('llama'), name: 'mine', parseConfig: fails }))
  expect(problem(() => family.parseConfig({} as never))).toMatchObject({ code: 'family-failed', exitCode: 1 })
})

test('rows that are none', async () => {
  expect(await problemOf(takeRows({ train: 'a.tsv' } as never, 'rows'))).toMatchObject({
    code: 'invalid-data',
    message: 'rows are neither a file nor rows',
    found: 'an object with train',
  })
})
