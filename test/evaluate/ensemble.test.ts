import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { predict } from '../../src/api/prediction/predict.js'
import { tune } from '../../src/api/tune.js'
import { domainOffsets } from '../../src/sources/ensemble.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** Several prompts in the place of one: what they say is the mean of their shares, and what has none is refused. */

let folder: string
let remove: () => void
let run: string
const rows = [
  { text: 'the wine', label: '0' },
  { text: 'at stone', label: '1' },
  { text: 'it wine', label: '0' },
]
const runOf = async (name: string, options: object) =>
  (await tune({ ...toyConfig(folder, { train: { steps: 8, batchSize: 4 }, threads: 1, ...options }), out: join(folder, name) }))
    .folder
beforeAll(async () => {
  ;({ folder, remove } = temporaryFolder())
  run = await runOf('domain', { domain: { dimensions: 3, iterations: 20 } })
})
afterAll(() => remove())

const softmax = (logs: readonly number[]) => {
  const weights = logs.map(Math.exp)
  return weights.map(x => x / weights.reduce((a, b) => a + b, 0))
}

describe('an ensemble', () => {
  test('says the mean of the shares of its members, which are the prompt moved by draws of the domain', async () => {
    const file = await readPrompt(join(run, 'prompt.safetensors'))
    const offsets = domainOffsets(file, 3)
    expect(offsets).toHaveLength(3)
    expect(domainOffsets(file, 5).slice(0, 3)).toEqual(offsets)
    expect(offsets[0]).not.toEqual(offsets[1])
    const { data, shape } = file.tensors.find(({ name }) => name === 'prompt')!
    const shares = await Promise.all(
      offsets.map(async offset => {
        const moved = { data: data.map((x, i) => x + offset[i % offset.length]!), shape: shape as [number, number] }
        const { template, answer } = file as { template: string; answer: string }
        const own = await evaluate({ model: toyModel, data: rows, prompt: moved, template, answer, labels: { 0: 'the', 1: 'of' }, threads: 1 }) // biome-ignore format: a call
        return own.predictions!.map(({ logLikelihoods }) => softmax(logLikelihoods))
      }),
    )
    const whole = await evaluate({ prompt: run, data: rows, ensemble: 3, control: true, threads: 1 })
    const plain = await evaluate({ prompt: run, data: rows, control: true, threads: 1 })
    // What stands there is named, in the column and in the verdict.
    expect([whole.condition, plain.condition]).toEqual(['ensemble of 3', 'tuned'])
    expect(whole.verdict!.text).toContain('the ensemble of 3')
    expect(plain.verdict!.text).toContain('the tuned prompt')
    for (const [i, { confidence }] of whole.results.entries()) {
      const mean = [0, 1].map(j => shares.reduce((sum, own) => sum + own[i]![j]! / 3, 0))
      expect(confidence).toBeCloseTo(Math.max(...mean), 5)
      expect(confidence).not.toBe(plain.results[i]!.confidence)
    }
    const predicted: number[] = []
    for await (const { probability } of predict({ prompt: run, data: rows, ensemble: 3, threads: 1 }))
      predicted.push(probability!)
    for (const [i, { confidence }] of whole.results.entries()) expect(predicted[i]).toBeCloseTo(confidence!, 5)
  })

  test('of one particle alone is the prompt itself', async () => {
    const alone = await runOf('alone', { domain: { dimensions: 3, particles: 1 } })
    const [whole, plain] = [await evaluate({ prompt: alone, data: rows, ensemble: 4, threads: 1 }), await evaluate({ prompt: alone, data: rows, threads: 1 })] // biome-ignore format: both
    for (const [i, { confidence }] of whole.results.entries()) expect(confidence).toBeCloseTo(plain.results[i]!.confidence!, 6)
  })

  test('of a prompt that knows no inputs, of none, beside other ways of answering, and of no members is refused', async () => {
    const plain = await runOf('plain', {})
    expect(await problemOf(evaluate({ prompt: plain, data: rows, ensemble: 2 }))).toMatchObject({ code: 'no-domain' })
    expect(await problemOf(evaluate({ prompt: run, data: rows, ensemble: 0 }))).toMatchObject({ code: 'invalid-option' })
    expect(await problemOf(evaluate({ prompt: run, data: rows, ensemble: 2, generate: true }))).toMatchObject({
      code: 'invalid-option',
    })
    expect(await problemOf(evaluate({ prompt: run, data: rows, ensemble: 2, testTime: true }))).toMatchObject({
      code: 'invalid-option',
    })
    const { labels: _, ...data } = toyConfig(folder).data as { labels: unknown }
    const text = await runOf('text', { domain: { dimensions: 2 }, data, answerType: 'text', train: { steps: 1, samples: 0 } })
    expect(await problemOf(evaluate({ prompt: text, data: rows, ensemble: 2 }))).toMatchObject({ code: 'invalid-option' })
    const prefix = await runOf('prefix', { domain: { dimensions: 2 }, method: { type: 'prefix-tuning', numVirtualTokens: 2 } })
    expect(await problemOf(evaluate({ prompt: prefix, data: rows, ensemble: 2 }))).toMatchObject({ code: 'not-static' })
  })
})
