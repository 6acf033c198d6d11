import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../../src/api/tune.js'
import { readPrompt } from '../../../src/store/prompt-file.js'
import type { ConfigInput } from '../../../src/train/config.js'
import { parseConfig } from '../../../src/train/config.js'
import type { GradpromptEvent } from '../../../src/train/events.js'
import { metaNotices } from '../../../src/train/meta/tasks.js'
import { stepRows } from '../../../src/train/meta/words.js'
import { problem, problemOf } from '../../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../toy.js'

/** Runs that learn a start over tasks: what they keep, say and refuse, and that they go on to the same bits. */

let folder: string
let remove: () => void
beforeAll(() => ({ folder, remove } = temporaryFolder()))
afterAll(() => remove())

let count = 0
const meta = { tasks: 'kind', inner: { steps: 2, learningRate: 0.05 } }
function config(given: ConfigInput['train'] = {}, options: Partial<ConfigInput> = {}): ConfigInput {
  const base = toyConfig(folder, { ...options, out: join(folder, `run-${count++}`) })
  const path = join(folder, 'tasks.tsv')
  writeFileSync(path, `${toyRows(48).map((row, i) => `${row}\t${['first', 'second', 'third'][i % 3]}`).join('\n')}\n`) // biome-ignore format: a call
  const { learningRate: _, ...train } = { ...base.train, steps: 6, batchSize: 4, checkpointEvery: 2 } as { learningRate?: number }
  return {
    ...base,
    data: { ...base.data, train: path, columns: ['text', 'label', 'kind'], ...(options.data as object) } as never,
    train: { ...train, meta, ...given } as never,
    threads: 1,
  }
}
const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))

const kinds: readonly (readonly [string, ConfigInput['train']])[] = [
  ['reptile', {}],
  ['reptile with the filter of agreement', { meta: { ...meta, filter: 'agreement' } }],
  ['maml of two tasks, regulated', { meta: { ...meta, update: 'maml', tasksPerStep: 2, filter: 'regulated', inner: { steps: 2, learningRate: 0.1, optimizer: 'sgd' } } }],
  ['maml under a loss over classes', { meta: { ...meta, update: 'maml' }, loss: { type: 'class-cross-entropy' } }],
] // biome-ignore format: a table

describe.each(kinds)('a run of %s', (name, train) => {
  test('stopped, goes on to the same bits; its prompt is a start like any other', async () => {
    const events: GradpromptEvent[] = []
    const whole = await tune(config(train), { onEvent: event => events.push(event) })
    const controller = new AbortController()
    const input = config(train)
    const stopped = tune(input, {
      signal: controller.signal,
      onEvent: event => event.event === 'step' && event.step === 3 && controller.abort(),
    })
    expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
    expect(bytes((await resume(input.out!)).folder).equals(bytes(whole.folder))).toBe(true)
    const steps = events.filter(event => event.event === 'step')
    expect(steps).toHaveLength(6)
    for (const step of steps) expect(Number.isFinite(step.adaptedLoss)).toBe(true)
    if (name.includes('regulated')) {
      expect(steps.every(step => (step.gate as number) > 0 && (step.gate as number) < 1)).toBe(true)
      const { tensors } = await readPrompt(join(whole.folder, 'prompt.safetensors'))
      const names = ['prompt', 'regulator.down', 'regulator.gate', 'regulator.out', 'regulator.up']
      expect(tensors.map(tensor => tensor.name)).toEqual(names)
      // What began at nothing has learned.
      expect(tensors.at(-1)!.data.some(x => x !== 0)).toBe(true)
    }
    if (name.includes('agreement')) expect(steps.some(step => step.agreement !== 0)).toBe(true)
    expect(events).toContainEqual(
      expect.objectContaining({ event: 'warning', code: 'meta-tasks', message: expect.stringContaining('first') }),
    )
    const later = await tune({
      ...config(),
      train: { steps: 0 },
      method: { type: 'prompt-tuning', numVirtualTokens: 4, init: { type: 'runs', from: [whole.folder] } },
    })
    const rows = (run: string) => readPrompt(join(run, 'prompt.safetensors')).then(file => [...file.tensors[0]!.data])
    expect(await rows(later.folder)).toEqual(await rows(whole.folder))
  })
})

describe('options', () => {
  test('a start of Reptile is a step of 0.1 towards what was adapted', () => {
    expect(parseConfig(config()).train).toMatchObject({ optimizer: 'sgd', learningRate: 0.1 })
    const maml = parseConfig(config({ meta: { ...meta, update: 'maml' } }))
    expect(maml.train).toMatchObject({ optimizer: 'adamw', beta1: 0.9, learningRate: 0.01 })
    expect(parseConfig(maml)).toEqual(maml)
  })

  test.each([
    ['epochs in place of steps', { steps: undefined, epochs: 1 }],
    ['batches that are added up', { accumulate: 2 }],
    ['batches by length', { bucket: true }],
    ['privacy', { privacy: { epsilon: 3, delta: 0.01 } }],
    ['a regulator without what it learns from', { meta: { ...meta, filter: 'regulated' } }],
    ['a regulator before steps that are not proportional', { meta: { ...meta, filter: 'regulated', update: 'maml' } }],
    ['a moment of an optimiser that has none', { beta1: 0.5 }],
  ] as const)('%s are refused', (_, train) => {
    expect(problem(() => parseConfig(config(train as never)))).toMatchObject({ code: 'invalid-config' })
  })

  test('one task, and a column that is not there, are refused before a folder is made', async () => {
    expect(await problemOf(tune(config({ meta: { ...meta, tasks: 'nothing' } })))).toMatchObject({ code: 'missing-column' })
    expect(await problemOf(tune(config({ meta: { ...meta, tasks: 'kind' } }, { data: { limit: 1 } as never })))).toMatchObject({
      code: 'too-few-tasks',
    })
  })

  test('a row without a task is refused by its line, before the model is loaded', async () => {
    const input = config()
    writeFileSync(
      join(folder, 'tasks.tsv'),
      `${toyRows(48)
        .map((row, i) => `${row}\t${i === 1 ? ' ' : i % 2}`)
        .join('\n')}\n`,
    )
    const found = await problemOf(tune({ ...input, model: toyModel }))
    expect(found).toMatchObject({ code: 'no-task', message: expect.stringMatching(/tasks\.tsv:2|line 2/) })
  })

  test('a task of one row is one row, and nothing is said where no start is learned', () => {
    const records = ['first', 'first', 'second'].map(kind => ({ kind }))
    expect(metaNotices({ tasks: 'kind' }, records)[0]!.message).toMatch(/"first" \(2 rows\), "second" \(1 row\)$/)
    expect(metaNotices(undefined, records)).toEqual([])
  })

  test('a step computes the rows of all its inner steps', () => {
    const rows = (given: object) => stepRows(parseConfig(config({ meta: { ...meta, ...given } })).train)
    expect([rows({}), rows({ tasksPerStep: 2 }), rows({ update: 'maml' })]).toEqual([8, 16, 12])
    expect(stepRows(parseConfig(config({ meta: undefined, accumulate: 3 })).train)).toBe(12)
  })
})
