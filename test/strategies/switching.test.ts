import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Generation } from '../../src/generate/request.js'
import { generate, loadModel } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { strategyOf } from '../../src/strategies/index.js'
import type { Asking } from '../../src/strategies/strategy.js'
import { random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const inputs = ['the wine', 'on stone']
const type = 'switching'

test('one control changes nothing, however short its pieces are', async () => {
  const plain = await generate({ model, inputs, maxNewTokens: 10 })
  const options = { model, inputs, maxNewTokens: 10 }
  for (const segment of [1, 3, 10]) {
    const answers = await generate({ ...options, strategy: { type, controls: [''], segment, pieces: 10 } })
    expect(answers.map(({ ids, text }) => ({ ids, text }))).toEqual(plain.map(({ ids, text }) => ({ ids, text })))
    expect(answers[0]!.severally!.calls).toBe(Math.ceil(10 / segment))
  }
  // No more than its pieces.
  const [short] = await generate({ ...options, strategy: { type, controls: [''], segment: 3, pieces: 2 } })
  expect(short!.ids).toEqual(plain[0]!.ids.slice(0, 6))
})

test('token by token, where fluency weighs all, it is what the model writes by itself', async () => {
  const controls = ['', 'of the and in', 'a a a']
  const options = { model, inputs, maxNewTokens: 8 }
  const plain = await generate(options)
  const given = { type, controls, segment: 1, pieces: 8, yes: ' the', no: ' of' }
  const fluent = await generate({ ...options, strategy: { ...given, fluency: 1e6 } })
  expect(fluent.map(({ ids }) => ids)).toEqual(plain.map(({ ids }) => ids))
  // The controls have something else to say.
  const told = await generate({ ...options, strategy: { ...given, controls: controls.slice(1), fluency: 0 } })
  expect(told.map(({ ids }) => ids)).not.toEqual(plain.map(({ ids }) => ids))
})

test('a judge that sees no answer, or cannot tell, is refused', async () => {
  for (const given of [{ judge: 'Is this good?' }, { yes: 'no' }])
    expect(await problemOf(generate({ model, inputs, strategy: { type, ...given } }))).toMatchObject({ code: 'invalid-option' })
})

test('answers that are limited are refused', async () => {
  const answers = generate({ model, inputs, choices: ['a', 'the'], strategy: { type } })
  expect(await problemOf(answers)).toMatchObject({ code: 'invalid-option' })
})

/** A model whose controls write a good token (1) and a bad one (0) in turn, the bad one always being the likelier. */
function toy(pieces: number) {
  const gains = random(3, [pieces], 1).data.map(Math.abs)
  const model: Asking = {
    answer: async (input, { begun = [] } = {}) => {
      const isGood = 'prompt' in input && input.prompt.startsWith('good')
      const ids = [...begun, isGood ? 1 : 0]
      const answer: Generation = { ids, text: ids.join(''), finishReason: 'length', promptTokens: 1 }
      return answer
    },
    instruct: async () => '',
    rate: async () => 5,
    likelihood: async (input, text, { begun = [] } = {}) => {
      if (typeof text !== 'string') return text[0] === 1 ? -1 - gains[begun.length]! : -1
      const judged = 'messages' in input ? input.messages[0]!.content : ''
      return (judged.endsWith('1') === (text === 'yes') ? -0.25 : -0.75) as number
    },
  }
  return model
}

test('the rate of an attribute falls with the weight of fluency', async () => {
  const rates: number[] = []
  for (const fluency of [0, 0.5, 1, 2, 5, 1000]) {
    const given = { type, controls: ['good', 'bad'], segment: 1, pieces: 40, judge: '{text}', fluency }
    const { strategy, options } = (await strategyOf(given))!
    const asked = { input: { prompt: 'x' }, question: 'x', read: (text: string) => text }
    const { answer, figures } = await strategy.answer(asked, toy(40), options as never)
    const rate = answer.ids.filter(id => id === 1).length / 40
    expect(figures).toMatchObject({ pieces: 40, 'control 1': rate })
    rates.push(rate)
  }
  expect(rates).toEqual([...rates].sort((a, b) => b - a))
  expect([rates[0], rates.at(-1)]).toEqual([1, 0])
  expect(new Set(rates).size).toBeGreaterThan(3)
})
