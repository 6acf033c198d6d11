import { afterAll, describe, expect, test } from 'vitest'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'

// A window and capped scores; two rotations; layers that do not turn; parts of heads; norms behind alone; learned positions.
describe.each(['gemma2', 'gemma3-pattern', 'smollm3', 'phi3-longrope', 'qwen2-window', 'falcon-40b', 'olmo2', 'opt', 'granite'])(
  'new tokens of %s',
  name => {
    const opened = LanguageModel.load(`test/fixtures/models/${name}`, { threads: 1 })
    const engine = opened.then(model => GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [] }))
    afterAll(async () => {
      await (await engine).dispose()
      await (await opened).dispose()
    })

    test('are the likeliest ones by a pass over the whole text', async () => {
      const model = await opened
      const { vocabSize } = model.config
      const prompts = [[3, 7, 11, 5], [9], [3, 7, 11, 5, 2, 8], Array.from({ length: 40 }, (_, i) => (i * 7 + 3) % 90)]
      const answers = await Promise.all(prompts.map(async (ids, i) => (await engine).generate({ ids, maxNewTokens: 6 + 4 * i })))
      for (const [i, { ids }] of answers.entries()) {
        const before = prompts[i]!.length
        const [logits] = await model.logits([[...prompts[i]!, ...ids]])
        for (const [j, id] of ids.entries()) {
          const row = logits!.subarray((before + j - 1) * vocabSize, (before + j) * vocabSize)
          expect(row.reduce((most, x) => Math.max(most, x)) - row[id]!, `prompt ${i}, token ${j}`).toBeLessThan(1e-4)
        }
      }
    })
  },
)
