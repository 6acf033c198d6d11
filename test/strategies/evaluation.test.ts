import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { evaluate, generate, loadModel, type OwnStrategy, tune } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { type AskingOptions, answerBy } from '../../src/strategies/asking.js'
import type { Strategy } from '../../src/strategies/strategy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** Rows answered with several calls of a tiny model: what is counted, what is held against it, and that it goes on. */

const { folder, remove } = temporaryFolder()
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const data = ['the wine', 'on stone', 'at the wine', 'it on'].map((text, i) => ({ text, answer: ['a', 'the', 'of', 'it'][i]! }))
const base = { data, template: '{text} -', answer: ' {answer}', answerEnd: 'none', maxNewTokens: 4, seed: 5 }

test('every row says what it took; one answer, or samples of as many tokens, is what it is held against', async () => {
  const voted = await evaluate({ model, ...base, strategy: { type: 'self-consistency', samples: 3 }, control: true })
  expect(voted.condition).toBe('base model by self-consistency')
  expect(voted.control!.name).toBe('one answer')
  expect(voted.verdict!.text).toContain('the base model by self-consistency')
  for (const { scores } of voted.results) expect(scores).toMatchObject({ calls: 3, tokens: 12 })
  expect(voted.generated!.generatedTokens).toBe(48)
  expect(Object.keys(voted.metrics)).toEqual(expect.arrayContaining(['agreement', 'calls', 'first answer', 'mended', 'spoiled']))

  const retried = await evaluate({ model, ...base, strategy: { type: 'retries', turns: 2 }, control: true })
  expect(retried.control!.name).toBe('samples of as many tokens')
  for (const [i, { scores }] of retried.results.entries()) {
    expect(scores).toMatchObject({ calls: 2, turns: 2 })
    expect(retried.control!.results[i]!.scores!.tokens).toBeLessThanOrEqual(scores!.tokens!)
  }
  // The same seed, the same answers.
  const again = await evaluate({ model, ...base, strategy: { type: 'retries', turns: 2 } })
  expect(again.results).toEqual(retried.results)
})

test('what a strategy adds is named where it has no room, and what limits reject is kept', async () => {
  const long = { type: 'long', paper: 'none', answer: async (_: unknown, asked: { answer(input: object): Promise<unknown> }) => asked.answer({ prompt: 'the '.repeat(5000) }) } // biome-ignore format: one line
  const problem = await problemOf(evaluate({ model, ...base, strategy: { type: long as never } }))
  expect([problem.code, problem.message]).toEqual(['context-exceeded', expect.stringContaining('adds to it does not fit')])
  const limits = { choices: ['a', 'the'], rejectedMass: true }
  const voted = await evaluate({ model, ...base, ...limits, strategy: { type: 'retries', turns: 1 } })
  const plain = await evaluate({ model, ...base, ...limits })
  expect(voted.metrics.rejectedMass).toEqual(plain.metrics.rejectedMass)
})

test('finished rows are not done again; other options are another evaluation', async () => {
  const rows = join(folder, 'rows.jsonl')
  const strategy = { type: 'self-consistency', samples: 2 }
  const first = await evaluate({ model, ...base, strategy, rows })
  const second = await evaluate({ model, ...base, strategy, rows })
  expect(second.generated).toMatchObject({ resumed: 4, generatedTokens: 0 })
  expect(second.metrics).toEqual(first.metrics)
  expect((await evaluate({ model, ...base, strategy: { ...strategy, samples: 3 }, rows })).generated!.resumed).toBe(0)
})

test('answers are given under the prompt, and instructions under none', async () => {
  const run = await tune({ ...toyConfig(folder, { train: { steps: 6 }, threads: 1 }), out: join(folder, 'run') })
  const text = 'the wine'
  const said: string[] = []
  const looks: OwnStrategy = {
    type: 'looks-at-both',
    paper: 'none',
    async answer({ input }, asking) {
      const answer = await asking.answer(input)
      said.push(answer.text, await asking.instruct(text, { maxNewTokens: 4 }))
      return { answer, answers: [answer] }
    },
  }
  await generate({ model, prompt: run, inputs: [text], strategy: { type: looks }, maxNewTokens: 4 })
  const under = await generate({ model, prompt: run, inputs: [text], maxNewTokens: 4 })
  const without = await generate({ model, inputs: [`${text}\n`], maxNewTokens: 4 })
  expect(said).toEqual([under[0]!.text, without[0]!.text])
  // The same instruction under the prompt would be something else.
  const instructed = await generate({ model, prompt: run, raw: true, inputs: [`${text}\n`], maxNewTokens: 4 })
  expect(instructed[0]!.text).not.toBe(without[0]!.text)
})

test('mistakes are told before a model is loaded', async () => {
  const options = { ...base, model: 'no-such-model' }
  expect((await problemOf(evaluate({ ...options, strategy: 'retris' }))).code).toBe('unknown-strategy')
  expect((await problemOf(evaluate({ ...options, strategy: { type: 'retries', turns: 0 } }))).code).toBe('invalid-option')
})

test('likelihoods are those of the model; calls are counted', async () => {
  await using engine = await GenerationEngine.open(model, { weights: 'fp32' })
  const { tokenizer } = model
  const asking: AskingOptions = {
    ...{ engine, tokenizer, seed: 1, origin: 'it' },
    room: { contextLength: model.config.maxPositionEmbeddings, numVirtualTokens: 0 },
    request: () => {
      throw new Error('no answer is asked for')
    },
  }
  const figures: Record<string, number> = {}
  const looks: Strategy = {
    type: 'looks',
    paper: 'none',
    async answer(_, asked) {
      figures.likelihood = await asked.likelihood({ prompt: 'the wine' }, ' on it')
      return { answer: { ids: [], text: '', finishReason: 'stop', promptTokens: 0 }, answers: [] }
    },
  }
  const { spent } = await answerBy(
    { strategy: looks, options: { type: 'looks' } },
    { input: { prompt: '' }, question: '', read: () => undefined },
    asking,
  )
  expect(spent).toEqual({ calls: 1, tokens: 0 })
  const [text, more] = [tokenizer.encode('the wine'), tokenizer.encode(' on it', { addSpecialTokens: false })]
  const width = model.config.vocabSize
  const logProbabilitiesOf = async (ids: readonly number[], position: number) => {
    const [logits] = await model.logits([[...ids]])
    const row = [...logits!.subarray(position * width, (position + 1) * width)]
    const most = Math.max(...row)
    const sum = Math.log(row.reduce((total, x) => total + Math.exp(x - most), 0))
    return row.map(x => x - most - sum)
  }
  const parts = await Promise.all(
    more.map(async (id, i) => (await logProbabilitiesOf([...text, ...more], text.length - 1 + i))[id]!),
  )
  expect(figures.likelihood).toBeCloseTo(parts.reduce((sum, x) => sum + x, 0) / more.length, 4)
})

test('a rating is the mean of the digits by their probability, whatever else is likely', async () => {
  const { tokenizer } = model
  const alternatives = [['stone', 0.4], ['2', 0.3], [' 9', 0.1], ['0', 0.1], ['12', 0.05]] as const // biome-ignore format: one line
  const ids = new Map(alternatives.map(([text], i) => [i, text]))
  const found: number[] = []
  const rates: Strategy = {
    type: 'rates',
    paper: 'none',
    async answer(_, asking) {
      found.push(await asking.rate('how hard?'))
      return { answer: said, answers: [said] }
    },
  }
  const said = { ids: [0], text: '', finishReason: 'stop', promptTokens: 0 } as const
  const answering = (likely: readonly (readonly [string, number])[]) =>
    answerBy(
      { strategy: rates, options: { type: 'rates' } },
      { input: { prompt: '' }, question: '', read: () => undefined },
      {
        tokenizer: {
          ...{ encode: tokenizer.encode.bind(tokenizer), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer) },
          chatTemplate: undefined,
          decode: ([id]) => ids.get(id!)!,
        },
        engine: {
          generate: async () => ({
            ...said,
            alternatives: [likely.map(([, share], id) => ({ id, logProbability: Math.log(share) }))],
          }),
        },
        ...{ seed: 1, origin: 'it', room: { contextLength: 100, numVirtualTokens: 0 } },
        request: () => {
          throw new Error('no answer is asked for')
        },
      },
    )
  await answering(alternatives)
  expect(found[0]).toBeCloseTo((2 * 0.3 + 9 * 0.1) / 0.4, 6)
  await answering(alternatives.slice(0, 1))
  expect(found[1]).toBe(5)
})
