import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { readPredictions } from '../../src/evaluate/predictions.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

let folder: string
let remove: () => void
beforeAll(() => ({ folder, remove } = temporaryFolder()))
afterAll(() => remove())

const train = { steps: 24, evaluateEvery: 5, checkpointEvery: 4, accumulate: 2, batchSize: 4 }
let count = 0
const config = (options: Partial<ConfigInput> = {}) =>
  toyConfig(folder, { ...options, train: { ...train, ...options.train }, out: join(folder, `run-${count++}`) })
const promptBytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))

/** Starts a run and stops it at the first event for which `when` holds. */
async function stopped(input: ConfigInput, when: (event: GradpromptEvent) => boolean, run?: string): Promise<string> {
  const controller = new AbortController()
  const options = {
    signal: controller.signal,
    onEvent: (event: GradpromptEvent) => {
      if (when(event)) controller.abort()
    },
  }
  const error = await problemOf(run === undefined ? tune(input, options) : resume(run, options))
  expect(error).toMatchObject({ code: 'aborted', exitCode: 1, hint: `npx gradprompt resume ${input.out}` })
  return input.out!
}

const atStep = (step: number) => (event: GradpromptEvent) => event.event === 'step' && event.step === step

describe('a run that was stopped', () => {
  let whole: Buffer
  let events: GradpromptEvent[]
  beforeAll(async () => {
    events = []
    whole = promptBytes((await tune(config(), { onEvent: event => events.push(event) })).folder)
  })

  test.each([1, 2, 5, 10, 17, 23])('at step %i goes on to the same bits', async step => {
    const run = await stopped(config(), atStep(step))
    const later: GradpromptEvent[] = []
    const { result } = await resume(run, { onEvent: event => later.push(event) })
    expect(promptBytes(run).equals(whole)).toBe(true)
    const losses = (list: GradpromptEvent[]) => list.flatMap(event => (event.event === 'step' ? [[event.step, event.loss]] : []))
    expect(losses(later)).toEqual(losses(events).slice(-losses(later).length))
    expect(result.steps).toBe(24)
    // The log reads as that of a run that never stopped.
    const logged = readFileSync(join(run, 'events.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(losses(logged)).toEqual(losses(events))
    const dev = (list: GradpromptEvent[]) => list.flatMap(event => (event.event === 'dev' ? [[event.step, event.metrics]] : []))
    expect(dev(logged)).toEqual(dev(JSON.parse(JSON.stringify(events))))
    expect(logged.filter(event => event.event === 'control')).toHaveLength(1)
  })

  test('several times over, also in the middle of a dev evaluation, ends in the same bits', async () => {
    const input = config({ evaluate: { batchSize: 2 } })
    const run = await stopped(input, event => event.event === 'loaded')
    await stopped(input, event => event.event === 'control', run)
    await stopped(input, atStep(5), run)
    await stopped(input, atStep(12), run)
    await stopped(input, event => event.event === 'dev' && event.step === 20, run)
    await resume(run)
    const other = config({ evaluate: { batchSize: 2 } })
    await tune(other)
    expect(promptBytes(run).equals(promptBytes(other.out!))).toBe(true)
  })

  test('without any checkpoint left begins anew', async () => {
    const run = await stopped(config(), atStep(9))
    rmSync(join(run, 'checkpoints'), { recursive: true })
    await resume(run)
    expect(promptBytes(run).equals(whole)).toBe(true)
  })

  test('with a torn checkpoint goes on from the one before, and says so', async () => {
    const run = await stopped(config(), atStep(14))
    const path = join(run, 'checkpoints', 'step-000014.safetensors')
    writeFileSync(path, readFileSync(path).subarray(0, 900))
    const warnings: string[] = []
    await resume(run, { onEvent: event => event.event === 'warning' && warnings.push(event.code) })
    expect(warnings).toEqual(['checkpoint-corrupt'])
    expect(promptBytes(run).equals(whole)).toBe(true)
  })

  test('after its last step, before its result, only finishes', async () => {
    const run = (await tune(config())).folder
    rmSync(join(run, 'result.json'))
    rmSync(join(run, 'prompt.safetensors'))
    const later: GradpromptEvent[] = []
    await resume(run, { onEvent: event => later.push(event) })
    expect(promptBytes(run).equals(whole)).toBe(true)
    expect(later.some(({ event }) => event === 'step')).toBe(false)
  })
})

describe('a finished run', () => {
  test('is returned at once', async () => {
    const run = await tune(config())
    const events: GradpromptEvent[] = []
    expect(await resume(run.folder, { onEvent: event => events.push(event) })).toEqual(run)
    expect(events).toEqual([])
  })

  test('goes on with more steps, over the schedule of the new total', async () => {
    const run = await tune(config())
    const rates: number[] = []
    const longer = await resume(run.folder, {
      steps: 40,
      onEvent: event => event.event === 'step' && rates.push(event.learningRate),
    })
    expect(longer.result.steps).toBe(40)
    expect(longer.config.train).toMatchObject({ steps: 40 })
    expect(readFileSync(join(run.folder, 'config.yaml'), 'utf8')).toMatch(/^ {2}steps: 40$/m)
    expect(rates).toHaveLength(16)
    expect(rates[0]).toBeCloseTo(0.1 * (16 / 38), 9)
    expect(longer.result.seconds).toBeGreaterThan(run.result.seconds)
    // And once more, stopped in between: the new total stands in the config.
    expect(await resume(run.folder)).toEqual(longer)
  })

  test('with more steps is the same whether it was stopped in between or not', async () => {
    const [a, b] = [(await tune(config())).folder, (await tune(config())).folder]
    await resume(a, { steps: 36 })
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 31 && controller.abort()
    expect((await problemOf(resume(b, { steps: 36, signal: controller.signal, onEvent }))).code).toBe('aborted')
    await resume(b)
    expect(promptBytes(a).equals(promptBytes(b))).toBe(true)
  })

  test('that stopped early goes on with a new patience', async () => {
    const input = config({
      train: { steps: 200, evaluateEvery: 2, learningRate: 0.5, earlyStopping: { patience: 2 }, accumulate: 1, batchSize: 8 },
    })
    const first = await tune(input)
    expect(first.result.steps).toBeLessThan(150)
    const second = await resume(first.folder, { steps: 200 })
    expect(second.result.steps).toBeGreaterThanOrEqual(first.result.steps + 4)
  })

  test.each([
    [10, 'more than the 24 that are done'],
    [0, 'a whole number of at least 1'],
    [2.5, 'a whole number of at least 1'],
  ])('does not go on to %s steps', async (steps, expected) => {
    const run = await tune(config())
    expect(await problemOf(resume(run.folder, { steps }))).toMatchObject({
      code: 'invalid-steps',
      found: String(steps),
      expected,
    })
    expect((await resume(run.folder)).result).toEqual(run.result)
  })
})

describe('what a resumed run must find again', () => {
  test('its data', async () => {
    const input = config()
    const run = await stopped(input, atStep(3))
    writeFileSync(input.data.train, 'the wine\t0\nthe stone\t1\n'.repeat(30))
    expect(await problemOf(resume(run))).toMatchObject({
      code: 'data-changed',
      found: expect.stringContaining('toy.tsv'),
      expected: expect.stringContaining('toy.tsv'),
    })
  })

  test('its model', async () => {
    const model = join(folder, 'model')
    cpSync(toyModel, model, { recursive: true })
    const run = await stopped(config({ model }), atStep(3))
    const path = join(model, 'model.safetensors')
    const bytes = readFileSync(path)
    bytes[bytes.length - 4]! ^= 1
    writeFileSync(path, bytes)
    expect(await problemOf(resume(run))).toMatchObject({
      code: 'model-changed',
      found: expect.stringMatching(/model, [0-9a-f]{12}$/),
      expected: expect.stringMatching(/model, [0-9a-f]{12}$/),
    })
  })

  test('its method', async () => {
    const run = await stopped(config(), atStep(3))
    const path = join(run, 'config.yaml')
    writeFileSync(path, readFileSync(path, 'utf8').replace('numVirtualTokens: 4', 'numVirtualTokens: 6'))
    expect(await problemOf(resume(run))).toMatchObject({ code: 'checkpoint-mismatch', found: 'prompt is [4,32], not [6,32]' })
  })

  test('another machine gives a warning', async () => {
    const run = await stopped(config(), atStep(3))
    const path = join(run, 'run.json')
    const details = JSON.parse(readFileSync(path, 'utf8'))
    details.environment.processor = 'Abacus'
    writeFileSync(path, JSON.stringify(details))
    const warnings: string[] = []
    await resume(run, { onEvent: event => event.event === 'warning' && warnings.push(event.message) })
    expect(warnings).toEqual([expect.stringContaining('"Abacus" before')])
  })

  test('a folder that is a run', async () => {
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    expect(await problemOf(resume(empty))).toMatchObject({ code: 'not-a-run' })
    expect(await problemOf(resume(join(folder, 'nothing')))).toMatchObject({ code: 'not-a-run', found: 'no such folder' })
  })
})

test('a run that was stopped before it had a folder leaves none', async () => {
  const input = config()
  expect(await problemOf(tune(input, { signal: AbortSignal.abort() }))).toMatchObject({ code: 'aborted' })
  expect(await problemOf(resume(input.out!))).toMatchObject({ code: 'not-a-run' })
})

describe('a run that an earlier version began', () => {
  test('goes on with the rows and the classes it was learned with', async () => {
    const before = config({ answerType: null })
    const data = { ...before.data, splitSeed: null }
    const { labels: _, ...unsaid } = data
    const input = { ...before, data: unsaid, answer: ' {label}' }
    const straight = await tune({ ...input, out: `${input.out}-straight` })
    const run = await stopped(input, atStep(13))
    const path = join(run, 'config.yaml')
    const { answerType, data: stored, ...others } = parse(readFileSync(path, 'utf8'))
    const { splitSeed, ...earlier } = stored
    expect([answerType, splitSeed]).toEqual([null, null])
    writeFileSync(path, stringify({ ...others, data: earlier }))
    const { result } = await resume(run)
    expect(promptBytes(run).equals(promptBytes(straight.folder))).toBe(true)
    expect([result.metrics, result.labels]).toEqual([straight.result.metrics, ['0', '1']])
    // Today's rule would have scored others.
    const today = await tune({ ...input, data: { ...unsaid, splitSeed: 13 }, out: `${input.out}-today` })
    const rowsOf = async (folder: string) => (await readPredictions(folder, 'dev', 'tuned'))?.map(({ row }) => row)
    expect(await rowsOf(run)).toEqual(await rowsOf(straight.folder))
    expect(await rowsOf(today.folder)).not.toEqual(await rowsOf(run))
  })

  test('runs of different seeds are scored on the same rows now', async () => {
    const rows = await Promise.all(
      [1, 2].map(async seed => {
        const { folder } = await tune(config({ seed, train: { steps: 1, evaluateEvery: 1 } }))
        return (await readPredictions(folder, 'dev', 'tuned'))?.map(({ row }) => row)
      }),
    )
    expect(rows[0]).toHaveLength(12)
    expect(rows[0]).toEqual(rows[1])
  })
})
