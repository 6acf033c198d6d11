import { expect, test } from 'vitest'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'

test('greedy tokens of the bundled model are those of running the whole text for each; stored weights are near', async () => {
  const model = await LanguageModel.load('models/smollm2-135m-instruct')
  const texts = ['The capital of France is', 'Question: What is 2 + 3?\nAnswer:', 'Once upon a time']
  const prompts = texts.map(text => model.tokenizer.encode(text))
  const engine = await GenerationEngine.open(model, { weights: 'fp32', batchSize: 3 })
  const requests = prompts.map(ids => ({ ids, maxNewTokens: 8, logProbabilities: true }))
  const found = await Promise.all(requests.map(request => engine.generate(request)))
  await engine.dispose()

  const { vocabSize } = model.config
  const logits = await model.logits(prompts.map((ids, i) => [...ids, ...found[i]!.ids]))
  for (const [i, { ids, text, logProbabilities }] of found.entries()) {
    expect(text).toBe(model.tokenizer.decode(ids))
    for (const [j, id] of ids.entries()) {
      const at = prompts[i]!.length + j - 1
      const row = logits[i]!.subarray(at * vocabSize, (at + 1) * vocabSize)
      const most = row.reduce((a, b) => Math.max(a, b))
      expect(most - row[id]!).toBeLessThan(1e-4)
      expect(logProbabilities![j]).toBeCloseTo(row[id]! - most - Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)), 3)
    }
  }

  const stored = await GenerationEngine.open(model, { weights: 'stored', batchSize: 3 })
  const near = await Promise.all(requests.map(request => stored.generate(request)))
  await stored.dispose()
  await model.dispose()
  expect(near[0]!.text).toContain('Paris')
  for (const [i, { logProbabilities }] of near.entries())
    expect(Math.abs(logProbabilities![0]! - found[i]!.logProbabilities![0]!)).toBeLessThan(0.3)
})
