import { readFileSync } from 'node:fs'
import * as tf from '@tensorflow/tfjs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LanguageModel, type LayerHook, loadModel } from '../../src/index.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { difference, random, relativeError } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { methodConfig } from '../support/prompt-fixtures.js'

interface Inspected {
  readonly ids: number[]
  readonly hiddenStates: number[][]
  readonly attentions: number[][]
}

const models = 'test/fixtures/models'
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(`${models}/llama-gqa`, { threads: 1 })
})
afterAll(() => model.dispose())

const rows = [
  [5, 17, 3, 60, 22],
  [8, 2],
]
const soft = async () => ({ data: await model.embeddingRows([5, 6, 7]), shape: [3, 32] as const })

describe('forward', () => {
  test.each(['llama-gqa', 'gpt2', 'mistral-window'])('%s: hidden states and attention are those of transformers', async name => {
    const known = JSON.parse(readFileSync(`test/fixtures/inspection/${name}.json`, 'utf8')) as Inspected
    await using own = await loadModel(`${models}/${name}`, { threads: 1 })
    const [pass] = await own.forward([known.ids], { hiddenStates: true, attentions: true })
    expect(pass!.hiddenStates).toHaveLength(own.config.numLayers + 1)
    for (const [i, states] of pass!.hiddenStates!.entries())
      expect(relativeError(states, Float32Array.from(known.hiddenStates[i]!)), `states ${i}`).toBeLessThan(1e-4)
    expect(pass!.attentions).toHaveLength(own.config.numLayers)
    for (const [i, seen] of pass!.attentions!.entries())
      expect(difference(seen, Float32Array.from(known.attentions[i]!)), `attention ${i}`).toBeLessThan(1e-5)
  })

  test('logits are those of `logits`, under vectors as well', async () => {
    for (const prompt of [undefined, await soft()]) {
      const passes = await model.forward([...rows, []], { prompt })
      const logits = await model.logits([...rows, []], prompt)
      for (const [i, pass] of passes.entries()) {
        expect(pass).not.toHaveProperty('hiddenStates')
        expect(difference(pass.logits, logits[i]!)).toBeLessThan(1e-5)
      }
    }
  })

  test('under a prompt its virtual tokens are the first keys', async () => {
    const keys = methodConfig({ type: 'prefix-tuning', numVirtualTokens: 2 })
    const method = promptMethods.get('prefix-tuning')!
    const [parameter] = method.parameters(keys, model.config)
    const { data } = random(3, parameter!.shape)
    const prefix = { method, config: keys, parameters: new Map([['prefix', data]]) }
    for (const [prompt, virtual] of [[await soft(), 3] as const, [prefix, 2] as const]) {
      const [pass] = await model.forward([rows[0]!], { prompt, hiddenStates: true, attentions: true })
      const width = virtual + 5
      expect(pass!.hiddenStates![0]).toHaveLength(5 * 32)
      for (const seen of pass!.attentions!) {
        expect(seen).toHaveLength(4 * 5 * width)
        for (let row = 0; row < 4 * 5; row++) {
          const own = seen.subarray(row * width, (row + 1) * width)
          expect(own.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 5)
          // No token sees those behind it; each sees every virtual one.
          expect([...own.subarray(virtual + (row % 5) + 1)].every(x => x === 0)).toBe(true)
          expect([...own.subarray(0, virtual)].every(x => x > 0)).toBe(true)
        }
      }
    }
  })

  test('a hook changes what a layer takes, and another vector needs no new program', async () => {
    let traced = 0
    const hook = (shift: Float32Array): LayerHook => ({ inputs: { shift: { data: shift, shape: [32] } }, rows: shifted })
    const shifted: LayerHook['rows'] = (layer, x, { shift }) => {
      traced++
      return layer === 1 ? tf.add(x, shift!) : undefined
    }
    const [plain] = await model.forward(rows, { hiddenStates: true })
    const [none] = await model.forward(rows, { hiddenStates: true, hook: hook(new Float32Array(32)) })
    expect(difference(none!.logits, plain!.logits)).toBeLessThan(1e-6)
    const once = traced
    expect(once).toBeGreaterThan(0)
    const vector = random(7, [32]).data
    const [changed] = await model.forward(rows, { hiddenStates: true, hook: hook(vector) })
    expect(traced).toBe(once)
    expect(changed!.hiddenStates![0]).toEqual(plain!.hiddenStates![0])
    const expected = plain!.hiddenStates![1]!.map((x, i) => x + vector[i % 32]!)
    expect(difference(changed!.hiddenStates![1]!, expected)).toBeLessThan(1e-6)
    expect(difference(changed!.logits, plain!.logits)).toBeGreaterThan(1e-3)
    // Other code of the same inputs is another program.
    const doubled: LayerHook = { ...hook(vector), rows: (layer, x) => (layer === 1 ? tf.mul(x, 2) : undefined) }
    const [other] = await model.forward(rows, { hiddenStates: true, hook: doubled })
    expect(
      difference(
        other!.hiddenStates![1]!,
        plain!.hiddenStates![1]!.map(x => 2 * x),
      ),
    ).toBeLessThan(1e-6)
  })

  test('what it cannot show, and what would not fit', async () => {
    await using small = await loadModel(`${models}/llama-gqa`, { threads: 1, memory: 0.2805e9 })
    const large = small.forward([Array(120).fill(3)], { attentions: true, hiddenStates: true })
    expect(await problemOf(large)).toMatchObject({ code: 'not-enough-memory' })
    const config = methodConfig({ type: 'lpt', numVirtualTokens: 2, insertionLayer: 1 })
    const method = promptMethods.get('lpt')!
    const lpt = { method, config, parameters: new Map() }
    expect(await problemOf(model.forward(rows, { prompt: lpt, attentions: true }))).toMatchObject({ code: 'unsupported-prompt' })
  })
})

test('log-probabilities of tokens are those of the logits', async () => {
  const { vocabSize } = model.config
  for (const prompt of [undefined, await soft()]) {
    const found = await model.logProbabilities(rows, prompt)
    const logits = await model.logits(rows, prompt)
    for (const [i, ids] of rows.entries()) {
      if (prompt === undefined) expect(found[i]![0]).toBeNaN()
      else expect(found[i]![0]).toBeLessThan(0)
      for (let j = 1; j < ids.length; j++) {
        const before = logits[i]!.subarray((j - 1) * vocabSize, j * vocabSize)
        const total = Math.log(before.reduce((sum, x) => sum + Math.exp(x), 0))
        expect(found[i]![j]).toBeCloseTo(before[ids[j]!]! - total, 4)
      }
    }
  }
})

test('gradients of single rows add up to that of the batch', async () => {
  const softPrompt = await soft()
  const labelled = rows.map(ids => ({ ids, labels: ids.map((id, i) => (i === 0 ? -100 : id)) }))
  const each = await model.rowGradients({ softPrompt, rows: labelled })
  const { loss, gradient } = await model.lossAndGradient({ softPrompt, rows: labelled })
  const weights = [4 / 5, 1 / 5]
  expect(each[0]!.loss * weights[0]! + each[1]!.loss * weights[1]!).toBeCloseTo(loss, 5)
  const sum = gradient.map((_, i) => each[0]!.gradient[i]! * weights[0]! + each[1]!.gradient[i]! * weights[1]!)
  expect(relativeError(sum, gradient)).toBeLessThan(1e-5)
})

describe('rows beyond the context', () => {
  // The model has 128 positions.
  const long = Array<number>(129).fill(3)
  const fits = long.slice(1)

  test.each(['llama-gqa', 'gpt2'])('%s refuses them in every call', async name => {
    await using own = await loadModel(`${models}/${name}`, { threads: 1 })
    const most = own.config.maxPositionEmbeddings
    const longer = Array<number>(most + 1).fill(3)
    const prompt = { data: await own.embeddingRows([5, 6, 7]), shape: [3, own.config.hiddenSize] as const }
    const calls = {
      logits: own.logits([[3], longer]),
      prompted: own.logits([longer.slice(3)], prompt),
      gradient: own.lossAndGradient({ softPrompt: prompt, rows: [{ ids: longer, labels: longer }] }),
      likelihood: own.tokenLogProbabilities(undefined, [{ context: longer.slice(2), candidates: [{ ids: [3, 3, 3, 3] }] }]),
      forward: own.forward([longer]),
      each: own.logProbabilities([longer.concat(3)]),
    }
    for (const [call, running] of Object.entries(calls))
      expect(await problemOf(running), call).toMatchObject({ code: 'context-exceeded', expected: `at most ${most} in all` })
  })

  test('the longest that fit are computed', async () => {
    expect(await model.logits([fits])).toHaveLength(1)
    const softPrompt = await soft()
    // The last label is predicted, and not fed.
    const ids = fits.slice(2)
    expect((await model.lossAndGradient({ softPrompt, rows: [{ ids, labels: ids }] })).loss).toBeGreaterThan(0)
    expect(await problemOf(model.logits([fits.slice(2)], softPrompt))).toMatchObject({
      found: '126 tokens behind 3 of a soft prompt',
    })
  })
})

test('a model that was disposed of says so, and may be disposed of again', async () => {
  const own = await loadModel(`${models}/llama-gqa`, { threads: 1 })
  await own.logits([[1, 2]])
  await own.dispose()
  await own.dispose()
  const calls = [
    () => own.logits([[1, 2]]),
    () => own.embeddingRows([1]),
    () => own.embeddingTable(),
    () => own.forward([[1]]),
    () => own.logProbabilities([[1, 2]]),
    () => own.tokenLogProbabilities(undefined, [{ context: [1], candidates: [{ ids: [2] }] }]),
  ]
  for (const call of calls) expect(await problemOf(call())).toMatchObject({ code: 'disposed', exitCode: 2 })
})
