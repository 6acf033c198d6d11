import { expect, test } from 'vitest'
import { generate } from '../../src/api/generation/generate.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'

test('answers in the order of the inputs, as the model continues each alone', async () => {
  const model = await LanguageModel.load('models/smollm2-135m-instruct')
  try {
    const told: number[] = []
    const inputs = ['The capital of France is', { messages: [{ role: 'user', content: 'Say hello.' }] }]
    const answers = await generate({ model, inputs, maxNewTokens: 6, weights: 'fp32', onAnswer: (_, i) => told.push(i) })
    expect(told.sort()).toEqual([0, 1])
    expect(answers[0]!.text).toContain('Paris')
    const alone = await generate({ model, inputs: inputs.slice(1), maxNewTokens: 6, weights: 'fp32' })
    expect(alone[0]).toEqual(answers[1])

    const ids = model.tokenizer.encode('The capital of France is')
    for (const id of answers[0]!.ids) {
      const [logits] = await model.logits([ids])
      const last = logits!.subarray(-model.config.vocabSize)
      expect(id).toBe(last.indexOf(Math.max(...last)))
      ids.push(id)
    }
    const wrong = await problemOf(generate({ model, inputs: ['x', { prompts: 'y' } as never] }))
    expect(wrong).toMatchObject({ message: expect.stringContaining('inputs[1]') })
  } finally {
    await model.dispose()
  }
})
