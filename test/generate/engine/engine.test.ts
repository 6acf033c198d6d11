import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { tf } from '../../../kernels/tf.js'
import type { GenerationRequest } from '../../../src/generate/request.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import type { PromptMethod } from '../../../src/prompts/method.js'
import { dept, deptSchema } from '../../../src/prompts/methods/dept.js'
import { promptTuning, promptTuningSchema } from '../../../src/prompts/methods/prompt-tuning.js'
import { random } from '../../support/numbers.js'
import { count, engines, FOLDER, failure, likelihood, open, plainLoop, tiny, total } from '../support/engines.js'

describe.each(['llama-gqa', 'llama-untied-bias', 'llama3-rope', 'mistral-window', 'gpt2'])('%s', name => {
  const opened = LanguageModel.load(`${FOLDER}/${name}`, { threads: 1 })
  afterAll(async () => (await opened).dispose())

  test('greedy tokens equal those of running the whole text for each', async () => {
    const model = await opened
    const engine = await open(model)
    const prompts = [[3, 7, 11, 5], [9], [3, 7, 11, 5, 2, 8], count(45)]
    const found = await Promise.all(prompts.map(ids => engine.generate({ ids, maxNewTokens: 40 })))
    for (const [i, ids] of prompts.entries()) {
      const wanted = await plainLoop(model, ids, 40)
      expect(wanted.length).toBeGreaterThan(5)
      expect(found[i]!.ids.slice(0, wanted.length)).toEqual(wanted)
      expect(found[i]).toMatchObject({ finishReason: 'length', promptTokens: ids.length })
      expect(found[i]!.ids.length).toBe(40)
    }
    await engine.dispose()
  })
})

describe('what else runs changes nothing', () => {
  test('nor does a prompt that is in the cache in part while others decode', async () => {
    const [model, engine] = await Promise.all([tiny, engines])
    // More rows than one run of prefill takes: it ends within a prompt, and then the first ones decode.
    const requests = Array.from(
      { length: 30 },
      (_, i): GenerationRequest => ({
        ids: Array.from({ length: 60 }, (_, j) => (i * 31 + j * (i + 5)) % 90),
        maxNewTokens: 4,
        logProbabilities: true,
      }),
    )
    const crowded = await open(model)
    const together = await Promise.all(requests.map(one => crowded.generate(one)))
    await crowded.dispose()
    for (const i of [0, 1, 16]) {
      const alone = await engine.generate(requests[i]!)
      expect(together[i]!.ids).toEqual(alone.ids)
      for (const [j, x] of alone.logProbabilities!.entries()) expect(together[i]!.logProbabilities![j]).toBeCloseTo(x, 4)
    }
  })

  const beginnings = [count(70), count(40, 11), [5], count(130, 13)]
  const request = fc.record({
    beginning: fc.nat(beginnings.length - 1),
    rest: fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 40 }),
    maxNewTokens: fc.integer({ min: 1, max: 50 }),
    temperature: fc.constantFrom(0, 0, 1),
    seed: fc.nat(100),
  })

  test('answers of a batch are those of each request alone', async () => {
    const [model, engine] = await Promise.all([tiny, engines])
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 2, maxLength: 12 }),
        fc.integer({ min: 1, max: 8 }),
        async (list, batchSize) => {
          const requests = list.map(
            ({ beginning, rest, ...other }): GenerationRequest => ({
              ids: [...beginnings[beginning]!, ...rest],
              logProbabilities: true,
              ...other,
            }),
          )
          const crowded = await open(model, { batchSize })
          const together = await Promise.all(requests.map(one => crowded.generate(one)))
          expect(crowded.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
          await crowded.dispose()
          for (const [i, one] of requests.entries()) {
            const alone = await engine.generate(one)
            expect(together[i]!.ids).toEqual(alone.ids)
            for (const [j, x] of alone.logProbabilities!.entries()) expect(together[i]!.logProbabilities![j]).toBeCloseTo(x, 3)
            expect(total(alone)).toBeCloseTo(await likelihood(model, one.ids, alone.ids), 2)
          }
        },
      ),
      { numRuns: 8, seed: 4 },
    )
  })

  test('nor does a beginning that many have, long enough to be decoded from together', async () => {
    const [model, engine] = await Promise.all([tiny, engines])
    const crowded = await open(model, { batchSize: 8 })
    // Longer than a run of prefill beside others: the sequences must stay together across runs.
    const beginning = count(300)
    const requests = Array.from({ length: 20 }, (_, i) => ({ ids: [...beginning, i + 1, ...count(i)], maxNewTokens: 10 + i }))
    const together = await Promise.all(requests.map(one => crowded.generate(one)))
    expect(crowded.state.keptBytes).toBeGreaterThan(0)
    for (const [i, one] of requests.entries()) {
      expect(together[i]!.ids).toEqual((await engine.generate(one)).ids)
      if (i % 7 === 0) {
        const wanted = await plainLoop(model, one.ids, 8)
        expect(together[i]!.ids.slice(0, wanted.length)).toEqual(wanted)
      }
    }
    await crowded.dispose()
  })

  test('samples of one prompt differ by their seeds alone', async () => {
    const engine = await engines
    const ids = count(80)
    const sample = (seed: number) => engine.generate({ ids, maxNewTokens: 12, temperature: 1.5, seed })
    const samples = await Promise.all([1, 2, 3, 4, 1].map(sample))
    expect(samples[4]!.ids).toEqual(samples[0]!.ids)
    expect(new Set(samples.map(({ ids }) => ids.join())).size).toBe(4)
    expect((await sample(3)).ids).toEqual(samples[2]!.ids)
  })
})

const rows = random(8, [4, 32]).data
const active = (method: unknown, config: { type: string }, parameters: Record<string, Float32Array>): ActivePrompt => ({
  method: method as PromptMethod,
  config,
  parameters: new Map(Object.entries(parameters)),
})
const tuned = (position: 'before-bos' | 'after-bos') =>
  active(promptTuning, promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 4, position }), { prompt: rows })
const decomposed = (offset: 'text' | 'all') =>
  active(dept, deptSchema.parse({ type: 'dept', numVirtualTokens: 4, maxTextLength: 64, rank: 2, offset }), {
    prompt: rows,
    offsetA: random(3, [64, 2]).data,
    offsetB: random(4, [2, 32]).data,
  })

const plain = { paper: '', learningRate: 0.1, initialise: () => Promise.resolve(new Map()) }
/** Learned keys and values of two virtual tokens in every layer. */
const prefixes = active(
  {
    ...plain,
    type: 'test-prefix',
    placement: () => ({ numVirtualTokens: 2, position: 'before-bos', as: 'keys' }),
    parameters: (_, model) => [{ name: 'keys', shape: [2 * model.numLayers * model.numKeyValueHeads, 2, model.headDim] }],
    prefix: (_, { keys }, model) =>
      Array.from({ length: model.numLayers }, (_, layer) => {
        const at = (part: number) =>
          tf.slice(keys as tf.Tensor3D, [(2 * layer + part) * model.numKeyValueHeads, 0, 0], [model.numKeyValueHeads, -1, -1])
        return { key: at(0), value: at(1) }
      }),
  } satisfies PromptMethod,
  { type: 'test-prefix' },
  { keys: random(5, [64, 2, 32]).data },
)
/** A learned vector beside the attention of one layer. */
const beside = active(
  {
    ...plain,
    type: 'test-beside',
    placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),
    parameters: (_, { headDim, numAttentionHeads }) => [{ name: 'bias', shape: [numAttentionHeads, 1, headDim] }],
    attention: (_, { bias }, { query, layer }) => (layer === 1 ? tf.mul(tf.tanh(query), bias!) : undefined),
  } satisfies PromptMethod,
  { type: 'test-beside' },
  { bias: random(6, [64, 1, 32]).data },
)
/** Two virtual tokens that join the text at the second layer, the same for all texts. */
const late = active(
  {
    ...plain,
    type: 'test-late',
    placement: () => ({ numVirtualTokens: 2, position: 'before-bos', insertionLayer: 1 }),
    parameters: (_, { hiddenSize }) => [{ name: 'rows', shape: [2, hiddenSize] }],
    layerRows: (_, { rows }, { layer }) => (layer === 1 ? rows : undefined),
  } satisfies PromptMethod,
  { type: 'test-late' },
  { rows: random(7, [2, 32]).data },
)
/** One virtual token a sequence, the mean of what its instruction is. */
const pooled = active(
  {
    ...plain,
    type: 'test-pooled',
    placement: () => ({ numVirtualTokens: 1, position: 'before-bos', perSequence: true }),
    parameters: (_, { hiddenSize }) => [{ name: 'gate', shape: [hiddenSize] }],
    sequenceRows: (_, { gate }, { hidden, instruction, instructionMask }) => {
      const real = tf.expandDims(instructionMask, 2)
      const mean = tf.div(tf.sum(tf.mul(instruction(hidden), real), 1), tf.sum(real, 1))
      return tf.mul(mean, gate!)
    },
  } satisfies PromptMethod,
  { type: 'test-pooled' },
  { gate: random(9, [32]).data },
)

describe('soft prompts', () => {
  const prompts = {
    before: tuned('before-bos'),
    after: tuned('after-bos'),
    everywhere: decomposed('all'),
    instruction: decomposed('text'),
    prefixes: sized(prefixes),
    beside: sized(beside),
    late: sized(late),
    pooled: sized(pooled),
  }
  const opened = tiny.then(model => open(model, { prompts, batchSize: 6, defaultPrompt: 'before' }))
  afterAll(async () => (await opened).dispose())

  test.each(Object.keys(prompts) as (keyof typeof prompts)[])(
    '%s: answers have the likelihood that scoring gives them',
    async name => {
      const [model, engine] = await Promise.all([tiny, opened])
      const contexts = [
        [9, 4],
        [9, 5, 6],
        [9, ...count(40)],
        [9, ...count(40), 5],
        [9, ...count(75)],
      ]
      const requests = contexts.map((ids, seed) => ({
        ids,
        maxNewTokens: 12,
        temperature: 1,
        seed,
        logProbabilities: true,
        prompt: name,
      }))
      for (const found of [
        await Promise.all(requests.map(one => engine.generate(one))),
        await Promise.all(requests.map(one => engine.generate(one))),
      ])
        for (const [i, ids] of contexts.entries()) {
          expect(total(found[i]!)).toBeCloseTo(await likelihood(model, ids, found[i]!.ids, prompts[name]), 4)
          expect(Math.abs(total(found[i]!) - (await likelihood(model, ids, found[i]!.ids)))).toBeGreaterThan(1e-3)
        }
    },
  )

  test('of several names run side by side', async () => {
    const engine = await opened
    const names = Object.keys(prompts)
    const requests = names.flatMap(prompt => [6, 9].map(n => ({ ids: [9, ...count(n)], maxNewTokens: 9, prompt })))
    const together = await Promise.all(requests.map(one => engine.generate(one)))
    for (const [i, one] of requests.entries()) expect(together[i]!.ids).toEqual((await engine.generate(one)).ids)
    const byDefault = await engine.generate({ ids: [9, ...count(6)], maxNewTokens: 9 })
    expect(byDefault.ids).toEqual(together[0]!.ids)
  })

  test('an unknown name is refused with the nearest one', async () => {
    const error = await failure((await opened).generate({ ids: [1], maxNewTokens: 1, prompt: 'befor' }))
    expect(error).toMatchObject({ code: 'unknown-prompt', hint: 'did you mean before?' })
    expect(await failure(open(await tiny, { defaultPrompt: 'none' }))).toMatchObject({ code: 'unknown-prompt' })
  })
})

/** Parameters cut to the sizes that the tiny model's shapes ask for. */
function sized(prompt: ActivePrompt): ActivePrompt {
  const config = { numLayers: 3, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8, hiddenSize: 32 }
  const shapes = prompt.method.parameters(prompt.config, config as LanguageModel['config'])
  const cut = shapes.map(
    ({ name, shape }) =>
      [
        name,
        prompt.parameters.get(name)!.slice(
          0,
          shape.reduce((a, b) => a * b, 1),
        ),
      ] as const,
  )
  return { ...prompt, parameters: new Map(cut) }
}
