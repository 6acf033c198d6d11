import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { type TuneRun, tune } from '../../src/api/tune.js'
import { readPredictions } from '../../src/evaluate/predictions.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { GradpromptEvent, StepEvent } from '../../src/train/events.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

async function tuned(config: ConfigInput): Promise<{ run: TuneRun; events: GradpromptEvent[]; losses: number[] }> {
  const events: GradpromptEvent[] = []
  const run = await tune(config, { onEvent: event => events.push(event) })
  return { run, events, losses: steps(events).map(({ loss }) => loss) }
}

const steps = (events: readonly GradpromptEvent[]) => events.filter((event): event is StepEvent => event.event === 'step')
const stepsOf = (events: readonly GradpromptEvent[], name: string) =>
  events.flatMap(event => (event.event === name && 'step' in event ? [event.step] : []))

describe('learning', () => {
  test('a task that the input decides is learned', async () => {
    const { run, losses, events } = await tuned(toyConfig(folder, { train: { steps: 150, learningRate: 0.05 } }))
    expect(losses[0]).toBeGreaterThan(5)
    expect(Math.max(...losses.slice(-10))).toBeLessThan(0.3)
    expect(run.result.metrics.accuracy).toMatchObject({ value: 1, high: 1 })
    expect(run.result.test?.metrics.accuracy?.value).toBe(1)
    expect(run.result.control.metrics.accuracy?.value).toBeLessThan(0.9)
    expect(run.result).toMatchObject({
      rows: 12,
      labels: ['the', 'of'],
      parameters: 4 * 32,
      steps: 150,
      folder: join(folder, 'run'),
      control: { instruction: 'Classify the text. Answer with one word: the or of.' },
    })
    expect(run.result.confusion?.flat().reduce((sum, n) => sum + n, 0)).toBe(12)
    // The toy's few sentences stand in every part.
    expect(events.slice(0, 3)).toMatchObject([
      { event: 'warning', code: 'overlapping-rows', message: expect.stringMatching(/^12 of 12 rows in dev ask/) },
      { event: 'warning', code: 'overlapping-rows' },
      { event: 'warning', code: 'overlapping-rows' },
    ])
    expect(events[3]).toMatchObject({
      event: 'loaded',
      parameters: 128,
      rows: { train: 32, dev: 12, test: 4 },
      model: 'llama-gqa',
    })
    expect(events[4]).toMatchObject({ event: 'control', rows: 12 })
    expect(events.at(-1)).toMatchObject({ event: 'result', steps: 150 })
  })

  test('the folder holds the config, the events, the prompt and the result', async () => {
    const { run, events } = await tuned(toyConfig(folder))
    const read = (name: string) => readFileSync(join(run.folder, name), 'utf8')
    expect(readdirSync(run.folder).sort()).toEqual([
      'checkpoints',
      'config.yaml',
      'events.jsonl',
      'predictions',
      'prompt.safetensors',
      'report.html',
      'result.json',
      'run.json',
      'start.safetensors',
    ])
    expect(parse(read('config.yaml'))).toEqual(run.config)
    expect(JSON.parse(read('result.json'))).toEqual(run.result)
    expect(
      read('events.jsonl')
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line)),
    ).toEqual(JSON.parse(JSON.stringify(events)))
    expect(await readPrompt(join(run.folder, 'prompt.safetensors'))).toEqual(run.prompt)
    const start = await readPrompt(join(run.folder, 'start.safetensors'))
    expect(start).toEqual({ ...run.prompt, tensors: expect.any(Array) })
    expect(start.tensors[0]!.data).not.toEqual(run.prompt.tensors[0]!.data)
    const { result } = run
    for (const [scoredWith, { accuracy }] of [
      ['tuned', result.metrics],
      ['control', result.control.metrics],
      ['plain', result.control.plain.metrics],
    ] as const) {
      const rows = (await readPredictions(run.folder, 'dev', scoredWith))!
      expect(rows).toHaveLength(result.rows)
      expect(rows.filter(({ correct }) => correct).length / rows.length).toBeCloseTo(accuracy!.value, 12)
      expect(rows[0]!.input).not.toBe('')
    }
    expect(run.prompt).toMatchObject({ numVirtualTokens: 4, hiddenSize: 32, labels: { 0: 'the', 1: 'of' }, template: '{text} -' })
    expect(JSON.parse(read('run.json'))).toMatchObject({ model: { name: toyModel }, data: { train: { rows: 32 } } })
  })

  test('every step tells its loss, rate, gradient and pace', async () => {
    const { events } = await tuned(toyConfig(folder, { train: { steps: 6, warmup: 2 } }))
    const all = steps(events)
    expect(all.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6])
    expect(all.map(({ learningRate }) => learningRate.toFixed(4))).toEqual([
      '0.0500',
      '0.1000',
      '0.1000',
      '0.0750',
      '0.0500',
      '0.0250',
    ])
    for (const event of all) {
      expect(event.gradientNorm).toBeGreaterThan(0)
      expect(event.rowsPerSecond).toBeGreaterThan(0)
      expect(event.tokens).toBeGreaterThan(8)
    }
    const seconds = all.map(event => event.seconds)
    expect(seconds).toEqual([...seconds].sort((a, b) => a - b))
  })

  test('the same config gives the same prompt, another seed another', async () => {
    const bytes = async (seed: number, name: string) => {
      const run = await tune(toyConfig(folder, { seed, out: join(folder, name), train: { steps: 5 } }))
      return readFileSync(join(run.folder, 'prompt.safetensors'))
    }
    const first = await bytes(1, 'a')
    expect((await bytes(1, 'b')).equals(first)).toBe(true)
    expect((await bytes(2, 'c')).equals(first)).toBe(false)
  })

  test('accumulated batches learn as one large batch does', async () => {
    // Four batches of 8 make an epoch of 32 rows, so both sides take the same rows.
    const { losses: large } = await tuned(toyConfig(folder, { train: { steps: 8, batchSize: 16 }, out: join(folder, 'large') }))
    const { losses: small } = await tuned(
      toyConfig(folder, { train: { steps: 8, batchSize: 8, accumulate: 2 }, out: join(folder, 'small') }),
    )
    for (const [i, loss] of large.entries()) expect(small[i]).toBeCloseTo(loss, 4)
  })

  test('batches that the memory budget cuts learn as whole ones do', async () => {
    const { losses: whole, run } = await tuned(toyConfig(folder, { train: { steps: 8 }, out: join(folder, 'whole') }))
    const { memory } = JSON.parse(readFileSync(join(run.folder, 'run.json'), 'utf8'))
    expect(memory).toBeGreaterThan(1e9)
    const { losses: cut } = await tuned(toyConfig(folder, { train: { steps: 8 }, memory: 0.2803, out: join(folder, 'cut') }))
    for (const [i, loss] of whole.entries()) expect(cut[i]).toBeCloseTo(loss, 3)
    expect(cut).not.toEqual(whole)
  })

  test('label smoothing, Adafactor, buckets and no clipping', async () => {
    const train = { labelSmoothing: 0.1, optimizer: 'adafactor', bucket: true, maxGradientNorm: null, learningRate: 0.3 } as const
    const { losses } = await tuned(toyConfig(folder, { train }))
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 2)
  })

  test('epochs: a partial batch is left for another shuffle', async () => {
    const config = toyConfig(folder, { train: { steps: undefined, epochs: 1.5, batchSize: 10 } })
    const { run } = await tuned(config)
    // 32 rows hold 3 batches of 10: ceil(1.5 * 3) steps.
    expect(run.result.steps).toBe(5)
  })
})

describe('evaluations and what is kept', () => {
  test('dev is scored about five times, never more often than every 20 steps, and at the end', async () => {
    const { events } = await tuned(toyConfig(folder, { train: { steps: 50 } }))
    expect(stepsOf(events, 'dev')).toEqual([20, 40, 50])
  })

  test('evaluateEvery and evaluate.limit', async () => {
    const { events, run } = await tuned(toyConfig(folder, { train: { steps: 7, evaluateEvery: 3 }, evaluate: { limit: 5 } }))
    expect(stepsOf(events, 'dev')).toEqual([3, 6, 7])
    expect(run.result.rows).toBe(5)
  })

  test('the best and the last are kept as asked', async () => {
    // Dev rows that contradict the training rows: the more is learned, the worse they are answered.
    const dev = join(folder, 'dev.tsv')
    writeFileSync(
      dev,
      toyRows(12)
        .map(row => (row.endsWith('0') ? row.replace(/0$/, '1') : row.replace(/1$/, '0')))
        .join('\n'),
    )
    const kept = async (keep: 'best' | 'last') => {
      const config = toyConfig(folder, { train: { steps: 40, evaluateEvery: 1, keep }, out: join(folder, keep) })
      return tuned({ ...config, data: { ...config.data, split: undefined, dev } })
    }
    const best = await kept('best')
    const last = await kept('last')
    const scores = best.events.flatMap(event => (event.event === 'dev' ? [event] : []))
    // Equal accuracies are decided by the likelihood.
    const rank = ({ metrics }: (typeof scores)[number]) => metrics.accuracy!.value * 1e6 + metrics.logLikelihood!.value
    const expected = scores.reduce((a, b) => (rank(b) > rank(a) ? b : a))
    expect(best.run.result.bestStep).toBe(expected.step)
    expect(best.run.result.metrics).toEqual(expected.metrics)
    expect(expected.step).toBeLessThan(40)
    expect(last.run.result.metrics).toEqual(scores.at(-1)!.metrics)
    expect(await values(best.run)).not.toEqual(await values(last.run))
    const checkpoint = await openSafetensors(
      join(best.run.folder, 'checkpoints', `step-${String(expected.step).padStart(6, '0')}.safetensors`),
    )
    expect(await values(best.run)).toEqual(await checkpoint.read('parameter:prompt'))
    await checkpoint.close()
  })

  test('early stopping ends the run when dev no longer improves', async () => {
    const { run, events } = await tuned(
      toyConfig(folder, {
        train: { steps: 500, learningRate: 0.3, evaluateEvery: 5, earlyStopping: { patience: 3, metric: 'accuracy' } },
      }),
    )
    expect(run.result.steps).toBeLessThan(200)
    expect(run.result.metrics.accuracy?.value).toBe(1)
    const scores = events.flatMap(event => (event.event === 'dev' ? [event.metrics.accuracy!.value] : []))
    // The first of the best, and three more.
    expect(scores.indexOf(1)).toBe(scores.length - 4)
  })

  test('without dev and test rows there are no figures, and the last prompt is kept', async () => {
    const config = toyConfig(folder)
    const { run, events } = await tuned({ ...config, data: { ...config.data, split: undefined } })
    expect(run.result).toMatchObject({ metrics: {}, rows: 0, bestStep: null, control: { metrics: {} } })
    expect(run.config.train.keep).toBe('last')
    expect(stepsOf(events, 'dev')).toEqual([])
  })

  test('free-text answers are scored by their likelihood', async () => {
    const config = toyConfig(folder, { answer: ' {text} {label}', template: '-', train: { steps: 60 } })
    const { run } = await tuned({ ...config, data: { ...config.data, labels: undefined } })
    expect(run.prompt.labels).toEqual(undefined)
    expect(Object.keys(run.result.metrics)).toEqual(['logLikelihood', 'tokenLogLikelihood', 'perplexity'])
    const { metrics, control } = run.result
    expect(metrics.logLikelihood!.value).toBeGreaterThan(control.metrics.logLikelihood!.value + 1)
    expect(metrics.perplexity!.value).toBeCloseTo(Math.exp(-metrics.tokenLogLikelihood!.value), 9)
    expect(control.instruction).toBeNull()
    expect(control.metrics).toEqual(control.plain.metrics)
  })

  test('a template may leave everything to the soft prompt', async () => {
    const { run } = await tuned(toyConfig(folder, { template: '', train: { steps: 3 } }))
    expect(run.result.control.plain.metrics).toEqual({})
    expect(run.result.control.metrics.accuracy?.value).toBeGreaterThan(0)
  })

  test('the control takes the instruction it is given', async () => {
    const { run } = await tuned(toyConfig(folder, { control: { instruction: 'Say {it} {{well}}' }, train: { steps: 2 } }))
    expect(run.result.control.instruction).toBe('Say {it} {{well}}')
    expect(run.result.control.metrics).not.toEqual(run.result.control.plain.metrics)
  })
})

test('without a name a new folder is made for every run', async () => {
  const working = process.cwd()
  const config = toyConfig(folder, { model: join(working, toyModel), out: undefined, train: { steps: 1 } })
  process.chdir(folder)
  try {
    expect((await tune(config)).folder).toBe(join('runs', 'toy'))
    expect((await tune(config)).folder).toBe(join('runs', 'toy-2'))
    expect(existsSync(join(folder, 'runs', 'toy-2', 'result.json'))).toBe(true)
  } finally {
    process.chdir(working)
  }
})

const values = async (run: TuneRun) => run.prompt.tensors[0]!.data
