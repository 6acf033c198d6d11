import { getEventListeners } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import type { GradpromptError } from '../../src/errors.js'
import { type EngineOptions, GenerationEngine } from '../../src/generate/engine.js'
import type { Generation, GenerationRequest } from '../../src/generate/request.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { PromptMethod } from '../../src/prompts/method.js'
import { dept, deptSchema } from '../../src/prompts/methods/dept.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { random } from '../support/numbers.js'

const FOLDER = 'test/fixtures/models'
const open = (model: LanguageModel, options: EngineOptions = {}) =>
  GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [], ...options })

/** The tiny model with a longer context: positions are angles, so it has no table of them. */
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-test-'))
cpSync(`${FOLDER}/llama-gqa`, folder, { recursive: true })
const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object
writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 600 }))
const tiny = LanguageModel.load(folder, { threads: 1 })
const engines = tiny.then(model => open(model))
afterAll(async () => {
  await (await engines).dispose()
  await (await tiny).dispose()
  rmSync(folder, { recursive: true })
})

/** Greedy tokens by running the whole text anew for every one, up to where two logits tie. */
async function plainLoop(model: LanguageModel, ids: readonly number[], count: number, prompt?: ActivePrompt): Promise<number[]> {
  const all = [...ids]
  for (let i = 0; i < count; i++) {
    const [logits] = await model.logits([all], prompt)
    const last = [...logits!.subarray(-model.config.vocabSize).entries()].sort((a, b) => b[1] - a[1])
    if (last[0]![1] - last[1]![1] < 1e-4) break
    all.push(last[0]![0])
  }
  return all.slice(ids.length)
}

/** The sum of the log-probabilities that the model itself gives to an answer. */
async function likelihood(model: LanguageModel, context: readonly number[], ids: readonly number[], prompt?: ActivePrompt) {
  const [[sum]] = (await model.logLikelihoods(prompt, [{ context, candidates: [{ ids }] }])) as [[number]]
  return sum
}

const total = ({ logProbabilities }: Generation) => logProbabilities!.reduce((sum, x) => sum + x, 0)
const failure = async (promise: Promise<unknown>) => (await promise.catch((error: unknown) => error)) as GradpromptError
const count = (length: number, step = 7) => Array.from({ length }, (_, i) => (i * step + 3) % 90)

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

describe('an answer ends', () => {
  test('at the end token, which is not part of it', async () => {
    const engine = await engines
    const whole = await engine.generate({ ids: count(20), maxNewTokens: 30 })
    const end = whole.ids[7]!
    const first = whole.ids.indexOf(end)
    const found = await engine.generate({ ids: count(20), maxNewTokens: 30, stopTokenIds: [end], logProbabilities: true })
    expect(found).toMatchObject({ ids: whole.ids.slice(0, first), finishReason: 'stop', stoppedBy: end })
    expect(found.logProbabilities).toHaveLength(first)
    const own = await open(await tiny, { endTokenIds: [end] })
    expect((await own.generate({ ids: count(20), maxNewTokens: 30 })).ids).toEqual(found.ids)
    await own.dispose()
  })

  test('at a stop string, and the pieces are its text', async () => {
    const engine = await engines
    const whole = await engine.generate({ ids: count(20), maxNewTokens: 30 })
    const stop = whole.text.slice(5, 8)
    const pieces: string[] = []
    const found = await engine.generate({ ids: count(20), maxNewTokens: 30, stop: [stop], onText: piece => pieces.push(piece) })
    expect(found).toMatchObject({ text: whole.text.slice(0, whole.text.indexOf(stop)), finishReason: 'stop', stoppedBy: stop })
    expect(pieces.join('')).toBe(found.text)
    const never = await engine.generate({ ids: count(20), maxNewTokens: 30, stop: ['no such text'] })
    expect(never).toMatchObject({ text: whole.text, finishReason: 'length' })
  })

  test('when it is aborted: its place is free at once', async () => {
    const model = await tiny
    const engine = await open(model, { batchSize: 2 })
    const control = new AbortController()
    let pieces = 0
    const onText = () => {
      if (++pieces === 5) control.abort()
    }
    const long = engine.generate({ ids: count(8), maxNewTokens: 400, signal: control.signal, onText })
    const other = engine.generate({ ids: count(9), maxNewTokens: 3 })
    const waiting = engine.generate({ ids: count(10), maxNewTokens: 3, signal: control.signal })
    const found = await long
    expect(found.finishReason).toBe('aborted')
    expect(found.ids.length).toBeGreaterThan(3)
    expect(found.ids.length).toBeLessThan(40)
    expect((await other).finishReason).toBe('length')
    expect(['aborted', 'length']).toContain((await waiting).finishReason)
    const late = await engine.generate({ ids: [1], maxNewTokens: 5, signal: AbortSignal.abort() })
    expect(late).toMatchObject({ finishReason: 'aborted', ids: [] })
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
  })

  test('when all are aborted by one signal, which is listened to once', async () => {
    const engine = await open(await tiny, { batchSize: 1 })
    const control = new AbortController()
    const { signal } = control
    const requests = Array.from({ length: 12 }, (_, i) => engine.generate({ ids: [i + 1], maxNewTokens: 400, signal }))
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    control.abort()
    for (const { finishReason } of await Promise.all(requests)) expect(finishReason).toBe('aborted')
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    await engine.dispose()
  })

  test('with an error when what listens to its text fails, alone', async () => {
    const engine = await engines
    const broken = engine.generate({
      ids: count(8),
      maxNewTokens: 20,
      onText: () => {
        throw new Error('closed')
      },
    })
    const whole = engine.generate({ ids: count(8), maxNewTokens: 20 })
    await expect(broken).rejects.toThrow('closed')
    expect((await whole).finishReason).toBe('length')
    expect(engine.state).toMatchObject({ running: 0, blocks: 0 })
  })

  test('when the engine is disposed', async () => {
    const engine = await open(await tiny, { batchSize: 1 })
    let begin: () => void
    const begun = new Promise<void>(resolve => {
      begin = resolve
    })
    const requests = [1, 2, 3].map(i => engine.generate({ ids: [i], maxNewTokens: 500, onText: () => begin() }))
    await begun
    await engine.dispose()
    for (const { finishReason } of await Promise.all(requests)) expect(finishReason).toBe('aborted')
    expect(await failure(engine.generate({ ids: [1], maxNewTokens: 1 }))).toMatchObject({ code: 'disposed' })
  })

  test('at once when nothing is asked for', async () => {
    expect(await (await engines).generate({ ids: [1], maxNewTokens: 0 })).toEqual({
      ids: [],
      text: '',
      finishReason: 'length',
      promptTokens: 1,
    })
  })
})

describe('refused with what was found and expected', () => {
  test.each<[string, GenerationRequest]>([
    ['empty-prompt', { ids: [], maxNewTokens: 1 }],
    ['invalid-token-id', { ids: [1, 1e6], maxNewTokens: 1 }],
    ['invalid-token-id', { ids: [1.5], maxNewTokens: 1 }],
    ['invalid-option', { ids: [1], maxNewTokens: -1 }],
    ['invalid-option', { ids: [1], maxNewTokens: 1.5 }],
    ['invalid-option', { ids: [1], maxNewTokens: 1, stop: [''] }],
    ['invalid-option', { ids: [1], maxNewTokens: 1, temperature: -1 }],
    ['unknown-prompt', { ids: [1], maxNewTokens: 1, prompt: 'x' }],
  ])('%s: %j', async (code, request) => {
    expect(await failure((await engines).generate(request))).toMatchObject({ code })
  })

  test('a prompt and new tokens beyond the context, with the figures', async () => {
    const [model, engine] = await Promise.all([tiny, engines])
    const { maxPositionEmbeddings: most } = model.config
    const error = await failure(engine.generate({ ids: count(10), maxNewTokens: most }))
    expect(error).toMatchObject({
      code: 'context-exceeded',
      found: `10 prompt tokens + ${most} new tokens = ${most + 10}`,
      expected: `${most} at most`,
      hint: `maxNewTokens can be ${most - 10} here`,
    })
    const full = await engine.generate({ ids: count(10), maxNewTokens: most - 10 })
    expect(full.ids).toHaveLength(most - 10)
  })

  test('more keys and values than the cache may hold; what fits waits its turn', async () => {
    const model = await tiny
    const engine = await open(model, { cacheBytes: 12 * 3 * 2 * 2 * 8 * 32 * 4 })
    const error = await failure(engine.generate({ ids: count(10), maxNewTokens: 480 }))
    expect(error).toMatchObject({ code: 'not-enough-memory' })
    const found = await Promise.all(
      Array.from({ length: 12 }, (_, i) => engine.generate({ ids: count(i + 1), maxNewTokens: 40 })),
    )
    for (const { ids } of found) expect(ids).toHaveLength(40)
    await engine.dispose()
  })
})

test('memory does not grow with the number of requests', async () => {
  const engine = await open(await tiny, { batchSize: 16 })
  const round = (first: number, size: number) =>
    Promise.all(
      Array.from({ length: size }, (_, i) =>
        engine.generate({ ids: [...count(33), (first + i) % 90, (first * 7 + i) % 89], maxNewTokens: 2 }),
      ),
    )
  await round(0, 100)
  const early = engine.state
  for (let i = 1; i <= 15; i++) await round(i, 100)
  expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
  expect(engine.state.keptBytes).toBe(early.keptBytes)
  await engine.dispose()
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
