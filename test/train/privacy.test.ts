import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { exportPrompt } from '../../src/api/export.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { ConfigInput } from '../../src/train/config.js'
import { epsilonOf, noiseFor, plainEpsilonOf, stepDivergence } from '../../src/train/privacy/accountant.js'
import { clipFactor, privateGradient } from '../../src/train/privacy/private-gradient.js'
import { normals, poissonSample } from '../../src/train/privacy/secret.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig } from './toy.js'

/** Differential privacy: the account by published and computed values, the mechanism by its moments, and a run by what it keeps and refuses. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

describe('the account', () => {
  test('is the published one of DP-SGD on 60,000 rows', () => {
    // compute_dp_sgd_privacy of TensorFlow Privacy: batches of 256, 60 epochs, delta 1e-5.
    const run = { rate: 256 / 60000, steps: 14063, delta: 1e-5 }
    expect(plainEpsilonOf({ ...run, noise: 1.12 })).toBeCloseTo(2.92, 2)
    expect(plainEpsilonOf({ ...run, noise: 1.1 })).toBeCloseTo(3.01, 2)
    expect(epsilonOf({ ...run, noise: 1.12 })).toBeCloseTo(2.5216, 3)
  })

  test('the divergence of a step is its integral', () => {
    // E of the density ratio to the power a, over the Gaussian without the record.
    const integral = (order: number, rate: number, noise: number) => {
      let sum = 0
      const width = 0.001
      for (let x = -30; x < 40; x += width) {
        const density = Math.exp(-(x * x) / (2 * noise ** 2)) / (noise * Math.sqrt(2 * Math.PI))
        sum += width * density * (1 - rate + rate * Math.exp((2 * x - 1) / (2 * noise ** 2))) ** order
      }
      return Math.log(sum) / (order - 1)
    }
    for (const [order, rate, noise] of [[2, 0.1, 1], [5, 0.02, 1.5], [17, 0.3, 2.5]] as const) // biome-ignore format: cases
      expect(stepDivergence(order, rate, noise)).toBeCloseTo(integral(order, rate, noise), 6)
    expect(stepDivergence(8, 1, 2)).toBe(1)
    // Near a rate of one it comes to the mechanism without sampling; far orders do not overflow.
    expect(stepDivergence(8, 1 - 1e-12, 2)).toBeCloseTo(1, 6)
    expect(Number.isFinite(stepDivergence(512, 0.01, 0.3))).toBe(true)
  })

  test('noise is the least that stays within epsilon, and what cannot be met is refused', () => {
    const run = { rate: 0.05, steps: 200, delta: 1e-3 }
    const noise = noiseFor({ ...run, epsilon: 2 })
    expect(epsilonOf({ ...run, noise })).toBeLessThanOrEqual(2)
    expect(epsilonOf({ ...run, noise: noise / 1.002 })).toBeGreaterThan(2)
    expect(epsilonOf({ ...run, noise, steps: 0 })).toBe(0)
    // At a large delta there is always noise enough.
    expect(epsilonOf({ ...run, noise: noiseFor({ ...run, epsilon: 1e-6 }) })).toBeLessThanOrEqual(1e-6)
    expect(problem(() => noiseFor({ ...run, delta: 1e-9, epsilon: 1e-6 }))).toMatchObject({ code: 'privacy-unreachable' })
  })
})

describe('the mechanism', () => {
  const key = Uint8Array.from({ length: 32 }, (_, i) => i)
  const of = (...values: number[]) => new Map([['prompt', Float32Array.from(values)]])

  test('no record moves the sum by more than the clipping norm, however large its gradient', async () => {
    expect(clipFactor(of(3, 4), 1)).toBeCloseTo(0.2, 12)
    expect(clipFactor(of(0.3, 0.4), 1)).toBe(1)
    expect(clipFactor(of(Number.NaN, 1), 1)).toBe(0)
    const record =
      (...values: number[]) =>
      async () => ({ loss: 1, gradients: of(...values) })
    const sum = async (records: Parameters<typeof privateGradient>[1], noise = 0) =>
      privateGradient(new Map([['prompt', 2]]), records, { clip: 1, noise, expected: 4 }, { key, step: 3 })
    const both = await sum([record(30, 40), record(0.1, 0)])
    expect(both.figures).toEqual({ records: 2, clipped: 0.5 })
    for (const [i, wanted] of [(0.6 + 0.1) / 4, 0.8 / 4].entries())
      expect(both.gradients.get('prompt')![i]).toBeCloseTo(wanted, 6)
    // Without a record there is noise alone, and the sum is divided by the same number.
    const [none, one] = [await sum([], 2), await sum([record(30, 40)], 2)]
    const drawn = normals(2, key, 3)
    expect(none.gradients.get('prompt')![0]).toBeCloseTo((2 * drawn[0]!) / 4, 6)
    expect(one.gradients.get('prompt')![0]! - none.gradients.get('prompt')![0]!).toBeCloseTo(0.6 / 4, 6)
  })

  test('noise is normal, its own in every step, and under another key another', () => {
    const values = normals(20_001, key, 0)
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    const square = values.reduce((a, b) => a + b * b, 0) / values.length
    const beyond = values.filter(x => Math.abs(x) > 1.96).length / values.length
    expect(Math.abs(mean)).toBeLessThan(0.03)
    expect(Math.abs(square - 1)).toBeLessThan(0.04)
    expect(Math.abs(beyond - 0.05)).toBeLessThan(0.006)
    expect(normals(3, key, 1)).not.toEqual(normals(3, key, 0))
    expect(normals(3, key.map(x => x + 1), 0)).not.toEqual(normals(3, key, 0)) // biome-ignore format: one call
  })

  test('each record is in a step by its own chance: steps differ in how many they have', () => {
    const steps = Array.from({ length: 400 }, (_, step) => poissonSample(50, 0.1, key, step))
    const sizes = steps.map(({ length }) => length)
    expect(new Set(sizes).size).toBeGreaterThan(5)
    expect(Math.abs(sizes.reduce((a, b) => a + b, 0) / 400 - 5)).toBeLessThan(0.4)
    // Whether one is there says nothing of another.
    const [first, both] = [steps.filter(own => own.includes(0)), steps.filter(own => own.includes(0) && own.includes(1))]
    expect(Math.abs(both.length / first.length - 0.1)).toBeLessThan(0.12)
    expect(poissonSample(5, 1, key, 0)).toEqual([0, 1, 2, 3, 4])
  })
})

describe('a run', () => {
  const privacy = { epsilon: 4, delta: 0.01 }
  const config = (train: ConfigInput['train'] = {}, options: Partial<ConfigInput> = {}) =>
    toyConfig(folder, {
      train: { steps: 6, batchSize: 4, checkpointEvery: 2, privacy, ...train },
      threads: 1,
      ...options,
    })

  test('keeps what it has spent with the prompt, goes on after a stop, and forgets its key', async () => {
    const controller = new AbortController()
    const out = join(folder, 'private')
    const sizes: number[] = []
    const stopped = tune(
      { ...config(), out },
      {
        signal: controller.signal,
        onEvent(event) {
          if (event.event !== 'step') return
          sizes.push(event.records as number)
          if (event.step === 3) controller.abort()
        },
      },
    )
    expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
    const key = join(out, 'privacy.key')
    expect(statSync(key).mode & 0o77).toBe(0)
    const run = await resume(out)
    expect(existsSync(key)).toBe(false)
    const { privacy: spent } = await readPrompt(join(out, 'prompt.safetensors'))
    expect(spent).toEqual(run.result.privacy)
    expect(spent).toMatchObject({ delta: 0.01, steps: 6, clip: 0.1, rate: 4 / 32 })
    expect(spent!.epsilon).toBeLessThanOrEqual(4)
    expect(spent!.epsilon).toBeGreaterThan(3.9)
    expect(spent!.epsilon).toBeCloseTo(epsilonOf({ rate: 4 / 32, noise: spent!.noise, steps: 6, delta: 0.01 }), 9)
    expect(sizes.every(size => size >= 0 && size <= 32)).toBe(true)
    expect(await problemOf(resume(out, { steps: 12 }))).toMatchObject({ code: 'breaks-privacy' })
    for (const to of ['gradprompt', 'peft', 'text']) {
      await exportPrompt(out, { to, out: join(folder, `told-${to}`) })
      const page = readFileSync(join(folder, `told-${to}`, 'README.md'), 'utf8')
      expect(page).toContain(`a factor of e^${spent!.epsilon.toPrecision(3)} at most, but for a chance of 0.0100 `)
    }
    // What is exported shows what the prompt does beside the columns' names, and beside no row.
    await exportPrompt(out, { to: 'gradprompt', out: join(folder, 'exported') })
    const tested = JSON.parse(readFileSync(join(folder, 'exported', 'self-test.json'), 'utf8')) as { cases: { text: string }[] }
    expect(tested.cases.map(({ text }) => text)).toEqual([expect.stringContaining('text')])
    // Two runs of one seed have other noise.
    const again = await tune({ ...config(), out: join(folder, 'again') })
    expect(readFileSync(join(again.folder, 'prompt.safetensors')).equals(readFileSync(join(out, 'prompt.safetensors')))).toBe(
      false,
    )
  })

  test('what shows records beside the noise is refused before a folder is made', async () => {
    const out = join(folder, 'refused')
    const of = (train: ConfigInput['train'], options: Partial<ConfigInput> = {}) =>
      problemOf(tune({ ...config(train, options), out }))
    const broken = { code: 'breaks-privacy' }
    expect(await of({ batchSize: 40 })).toMatchObject(broken)
    expect(await of({ accumulate: 2 })).toMatchObject(broken)
    expect(await of({ bucket: true })).toMatchObject(broken)
    const { labels: _, ...data } = config().data as { labels: unknown }
    expect(await of({}, { data: data as never, answerType: 'classes' })).toMatchObject(broken)
    expect(await of({}, { method: { type: 'cpt', examples: 2 } as never })).toMatchObject(broken)
    expect(await of({}, { method: { type: 'iapt', numVirtualTokens: 4, bilevel: true } as never })).toMatchObject(broken)
    // The probe would be tokens of training rows.
    const gated = { type: 'adept', numVirtualTokens: 4, init: { type: 'vocabulary' }, gate: { lambda: 0.1 } } as never
    expect(await of({}, { method: gated })).toMatchObject({ ...broken, found: 'method.type: adept, with its options' })
    const pairs = {
      method: { type: 'steering', init: { type: 'pairs' } } as never,
      rejected: ' at',
      data: data as never,
      answerType: 'text' as const,
    }
    expect(await of({}, pairs)).toMatchObject({ ...broken, found: 'method.init.type: pairs' })
    expect(await of({ privacy: { epsilon: 1e-9, delta: 1e-9 } })).toMatchObject({ code: 'privacy-unreachable' })
    expect(await of({ privacy: { epsilon: 1, noise: 1 } })).toMatchObject({ code: 'invalid-config' })
    expect(await of({ privacy: {} })).toMatchObject({ code: 'invalid-config' })
    expect(existsSync(out)).toBe(false)
  })
})
