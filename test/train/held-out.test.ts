import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig } from './toy.js'

let folder: string
let remove: () => void
beforeAll(() => ({ folder, remove } = temporaryFolder()))
afterAll(() => remove())

let count = 0
function config(bilevel: boolean, train: ConfigInput['train'] = {}): ConfigInput {
  const input = toyConfig(folder, {
    // At these rates the coefficients move far enough to tell.
    method: { type: 'iapt', bottleneck: 4, bilevel, activationLearningRate: 0.001 },
    train: { learningRate: 0.01, batchSize: 4, maxGradientNorm: null, checkpointEvery: 2, ...train },
    out: join(folder, `run-${count++}`),
  })
  return { ...input, threads: 1 }
}

async function learned(input: ConfigInput): Promise<ReadonlyMap<string, Float32Array>> {
  const { folder: run } = await tune(input)
  const { tensors } = await readPrompt(join(run, 'prompt.safetensors'))
  return new Map(tensors.map(({ name, data }) => [name, data]))
}

describe('parameters that are learned on held-out rows', () => {
  test('take their gradients there, and the others from training rows', async () => {
    // In the first step `up` is zero, so that the coefficients have no gradient; in the second both runs still agree on all the rest.
    const joint = await learned(config(false, { steps: 2, warmup: 0, keep: 'last', epsilon: 1 }))
    const apart = await learned(config(true, { steps: 2, warmup: 0, keep: 'last', epsilon: 1 }))
    expect(apart.get('numerator')).not.toEqual(joint.get('numerator'))
    for (const name of ['up', 'bias', 'down', 'pool']) expect(apart.get(name)).toEqual(joint.get(name))
  })

  test('without a dev set they are learned on a part of the training rows', async () => {
    const without = (input: ConfigInput): ConfigInput => ({ ...input, data: { ...input.data, split: undefined } })
    const joint = await learned(without(config(false, { steps: 2, warmup: 0 })))
    const apart = await learned(without(config(true, { steps: 2, warmup: 0 })))
    // What is held out is not trained on.
    expect(apart.get('up')).not.toEqual(joint.get('up'))
  })

  test('a run that was stopped goes on to the same bits', async () => {
    const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))
    const whole = await tune(config(true, { steps: 8 }))
    const input = config(true, { steps: 8 })
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => {
      if (event.event === 'step' && event.step === 3) controller.abort()
    }
    expect(await problemOf(tune(input, { signal: controller.signal, onEvent }))).toMatchObject({ code: 'aborted' })
    await resume(input.out!)
    expect(bytes(input.out!).equals(bytes(whole.folder))).toBe(true)
  })
})
