import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../../src/api/evaluation/evaluate.js'
import { resumeTune as resume, tune } from '../../../src/api/tune.js'
import type { ConfigInput } from '../../../src/train/config.js'
import type { GradpromptEvent } from '../../../src/train/events.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder, toyModel } from '../toy.js'
import { pairsFile, rowsFile, thumbRows } from './data.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

type Steps = (GradpromptEvent & { event: 'step' })[]
const configOf = (name: string, { train, ...options }: Partial<ConfigInput> = {}): ConfigInput => ({
  model: toyModel,
  data: { train: pairsFile(folder, 24), split: { dev: 8 } },
  template: '{text} -',
  answer: ' {chosen}',
  method: { type: 'prompt-tuning', numVirtualTokens: 4 },
  train: { steps: 12, batchSize: 4, learningRate: 0.1, loss: { type: 'dpo', beta: 0.5 }, ...train },
  threads: 1,
  out: join(folder, name),
  ...options,
})

/** Stops a run behind a step. */
async function stoppedAt(step: number, config: ConfigInput): Promise<string> {
  const controller = new AbortController()
  const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === step && controller.abort()
  expect(await problemOf(tune(config, { onEvent, signal: controller.signal }))).toMatchObject({ code: 'aborted' })
  return config.out!
}
const bytes = (run: string, name = 'prompt.safetensors') => readFileSync(join(run, name))

describe('a run over pairs', () => {
  test('starts at ln 2 with no rewards, and learns what was preferred, on dev as well', async () => {
    const steps: Steps = []
    const warnings: string[] = []
    const run = await tune(configOf('pairs', { train: { steps: 60, batchSize: 8 } }), {
      onEvent(event) {
        if (event.event === 'step') steps.push(event)
        if (event.event === 'warning') warnings.push(event.message)
      },
    })
    expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 4)
    for (const name of ['chosenReward', 'rejectedReward', 'rewardMargin']) expect(steps[0]![name]).toBeCloseTo(0, 4)
    expect(warnings).toContain('rows are pairs: " {chosen}" was preferred to " {rejected}"')
    expect(steps.at(-1)!.loss).toBeLessThan(0.3)
    expect(steps.at(-1)!.rewardAccuracy).toBe(1)
    const { metrics, control } = run.result
    expect(metrics.rewardAccuracy!.value).toBe(1)
    expect(metrics.accuracy!.value).toBeGreaterThanOrEqual(control.metrics.accuracy!.value)
    expect(metrics.rewardMargin!.low).toBeGreaterThan(0)
    const again = await evaluate({ prompt: run.folder, data: run.config.data.train, threads: 1 })
    const right = again.results.filter(({ correct }) => correct).length
    expect(again.metrics.accuracy!.value).toBe(right / 24)
    expect(right).toBeGreaterThanOrEqual(12)
    expect(again.results[0]).toMatchObject({ rule: 'likelier answer', answer: 'the' })
  })

  test.each(['dpo', 'kto'] as const)(
    'with %s that was stopped goes on to the same bits, and hears the reference from its file',
    async type => {
      const config = (name: string) => configOf(`${type}-${name}`, { train: { loss: { type }, checkpointEvery: 3 } })
      const whole = await tune(config('whole'))
      const stopped = await stoppedAt(7, config('stopped'))
      const known = bytes(stopped, 'reference.jsonl').toString()
      // A kill may tear its last line.
      writeFileSync(join(stopped, 'reference.jsonl'), known.slice(0, -9))
      await resume(stopped)
      expect(bytes(stopped).equals(bytes(whole.folder))).toBe(true)
      expect(bytes(stopped, 'reference.jsonl').toString()).toBe(bytes(whole.folder, 'reference.jsonl').toString())
      expect(known.startsWith(known.split('\n')[0]!)).toBe(true)
    },
  )

  test('with a cross entropy is scored by pairs all the same', async () => {
    const run = await tune(configOf('sft', { rejected: ' {rejected}', train: { loss: { type: 'cross-entropy' } } }))
    expect(Object.keys(run.result.metrics)).toEqual(['accuracy', 'logLikelihood'])
  })

  test('says where its reference is not where it starts', async () => {
    const steps: Steps = []
    const codes: string[] = []
    await tune(configOf('none', { train: { steps: 2, loss: { type: 'dpo', beta: 0.5, reference: 'none' } } }), {
      onEvent(event) {
        if (event.event === 'step') steps.push(event)
        if (event.event === 'warning') codes.push(event.code)
      },
    })
    expect(codes).toContain('reference-not-start')
    expect(Math.abs(steps[0]!.loss - Math.LN2)).toBeGreaterThan(1e-3)
  })

  test('whose start is no longer the one that its reference is of is refused', async () => {
    const source = await tune(configOf('source', { train: { loss: undefined, steps: 3 } }))
    const method = { type: 'prompt-tuning' as const, numVirtualTokens: 4, init: { type: 'runs' as const, from: [source.folder] } }
    const stopped = await stoppedAt(5, configOf('moved', { method, train: { checkpointEvery: 2 } }))
    await resume(source.folder, { steps: 5 })
    expect(await problemOf(resume(stopped))).toMatchObject({ code: 'reference-changed' })
  })
})

test('a run over thumbs starts at a half and parts what was liked from what was not', async () => {
  const steps: Steps = []
  const data = { train: rowsFile(folder, thumbRows(24)), split: { dev: 12 } }
  const train = { steps: 60, batchSize: 8, learningRate: 0.1, loss: { type: 'kto', beta: 0.5 } } as const
  const run = await tune(configOf('thumbs', { data, answer: ' {completion}', train }), {
    onEvent: event => event.event === 'step' && steps.push(event),
  })
  expect(run.config.thumbs).toBe('label')
  expect(steps[0]!.loss).toBeCloseTo(0.5, 4)
  expect(steps[0]!.klDivergence).toBeCloseTo(0, 4)
  expect(steps.at(-1)!.loss).toBeLessThan(0.35)
  expect(run.result.metrics.accuracy!.value).toBeGreaterThan(0.6)
  expect(run.result.metrics.rewardMargin!.low).toBeGreaterThan(0)
})
