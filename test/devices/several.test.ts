import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { MemoryPlan } from '../../src/model/memory.js'
import { inOrder } from '../../src/program/runtime/in-order.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** A run on several devices: the processor named more than once has as many processes. */

// The process of a further device is the built one.
const { generate, loadModel, tune, resume }: typeof import('../../src/index.js') = await import(
  pathToFileURL(resolve('dist/src/index.js')).href
)

const { folder, remove } = temporaryFolder()
afterAll(remove)

/** Batches of 40 rows of some 60 tokens, which are computed in three parts. */
const config = (device: string) =>
  toyConfig(folder, {
    device: device as 'cpu',
    threads: 1,
    template: `${'the wine at '.repeat(10)}{text} -`,
    train: { steps: 3, batchSize: 32, evaluateEvery: 1 },
    out: join(folder, device),
  })

const bits = (run: string, name: string) => readFileSync(join(run, name), 'utf8')
const children = () =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)

/** What a run's dev evaluations and its result say, without how long they took. */
const scores = (run: string) =>
  bits(run, 'events.jsonl')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
    .flatMap(({ event, loss, metrics }) => (event === 'step' || event === 'dev' ? [{ loss, metrics }] : []))

test('has the bits of one, losses and scores too, and leaves no process behind', async () => {
  const before = process.platform === 'linux' ? children() : []
  let most = 0
  for (const device of ['cpu', 'cpu,cpu', 'cpu,cpu,cpu'])
    await tune(config(device), {
      onEvent: () => {
        if (process.platform === 'linux') most = Math.max(most, children().length - before.length)
      },
    })
  if (process.platform === 'linux') expect(most).toBe(2)
  for (const device of ['cpu,cpu', 'cpu,cpu,cpu']) {
    expect(bits(join(folder, device), 'prompt.safetensors')).toBe(bits(join(folder, 'cpu'), 'prompt.safetensors'))
    expect(scores(join(folder, device))).toEqual(scores(join(folder, 'cpu')))
  }
  // A process that was ended is gone a moment later.
  if (process.platform === 'linux') await expect.poll(() => children().length).toBe(before.length)
})

test.runIf(process.platform === 'linux')('goes on from its checkpoint when a process is killed, elsewhere too', async () => {
  const before = new Set(children())
  const out = join(folder, 'killed')
  const run = tune(
    { ...config('cpu,cpu'), out },
    {
      onEvent: event => {
        if (event.event !== 'step' || event.step !== 2) return
        for (const child of children()) if (!before.has(child)) process.kill(child, 'SIGKILL')
      },
    },
  )
  expect(await run.catch((error: unknown) => error)).toMatchObject({
    code: 'run-failed',
    message: 'The process of the device cpu is gone',
    found: 'it ended with SIGKILL',
    hint: expect.stringContaining('checkpoint'),
  })
  await resume(out, { device: 'cpu' })
  expect(bits(out, 'prompt.safetensors')).toBe(bits(join(folder, 'cpu'), 'prompt.safetensors'))
})

test('a model says once what its further devices have no share in', async () => {
  const told: string[] = []
  const listen = ({ message, name }: Error) => name === 'GradpromptWarning' && told.push(message)
  process.on('warning', listen)
  for (const device of ['cpu', 'cpu,cpu'] as const) {
    await using model = await loadModel(toyModel, { device, threads: 1 })
    for (let i = 0; i < 2; i++) await generate({ model, inputs: ['the'], raw: true, maxNewTokens: 1 })
  }
  await expect
    .poll(() => told)
    .toEqual(['texts that the model writes are computed on cpu alone, the first of the devices cpu, cpu, with 1 thread'])
  process.off('warning', listen)
})

test('is of one kind, and what its processes take together is planned', async () => {
  expect(await problemOf(LanguageModel.load(toyModel, { device: 'cpu,webgpu' }))).toMatchObject({
    code: 'invalid-option',
    found: 'cpu,webgpu',
    hint: expect.stringContaining('--devices'),
  })
  await using model = await LanguageModel.load(toyModel, { device: 'cpu,cpu' })
  const plan = (...devices: ['cpu', ...'cpu'[]]) => new MemoryPlan(model.checkpoint, 1e9, 'fp32', devices)
  const [one, two] = [plan('cpu'), plan('cpu', 'cpu')].map(memory => memory.estimate(100, 10, true) - memory.weights)
  expect(two).toBeCloseTo(2 * one!, 0)
  expect(model.devices).toEqual(['cpu', 'cpu'])
})

test('results are taken in the order of what was asked for, some at a time, and all that began are waited for', async () => {
  const ends: ((value: number) => void)[] = []
  const begun: number[] = []
  const taken: number[] = []
  const jobs = [0, 1, 2].map(i => () => {
    begun.push(i)
    return new Promise<number>(resolve => {
      ends[i] = resolve
    })
  })
  const done = inOrder(jobs, 2, result => taken.push(result))
  expect(begun).toEqual([0, 1])
  ends[1]!(11)
  await Promise.resolve()
  expect(taken).toEqual([])
  ends[0]!(10)
  await expect.poll(() => begun).toEqual([0, 1, 2])
  ends[2]!(12)
  await done
  expect(taken).toEqual([10, 11, 12])

  let late = false
  const failing = inOrder(
    [
      () => Promise.reject(new Error('first')),
      () =>
        new Promise(resolve => setTimeout(resolve, 20)).then(() => {
          late = true
        }),
      () => {
        throw new Error('not begun')
      },
    ],
    2,
    () => {},
  )
  await expect(failing).rejects.toThrow('first')
  expect(late).toBe(true)
})
