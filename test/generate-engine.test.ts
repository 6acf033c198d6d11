import { afterAll, describe, expect, test } from 'vitest'
import { GenerationEngine } from '../src/generate/engine.js'
import { LanguageModel } from '../src/model/language-model.js'

/** Greedy tokens by running the whole text anew for every one, and the smallest lead of a chosen logit over the next. */
async function plainLoop(model: LanguageModel, ids: readonly number[], count: number): Promise<{ ids: number[]; lead: number }> {
  const all = [...ids]
  let lead = Number.POSITIVE_INFINITY
  for (let i = 0; i < count; i++) {
    const [logits] = await model.logits([all])
    const last = logits!.subarray(-model.config.vocabSize)
    let best = 0
    for (let id = 1; id < last.length; id++) if (last[id]! > last[best]!) best = id
    lead = Math.min(lead, last[best]! - last.reduce((most, x, id) => (id === best ? most : Math.max(most, x)), Number.NEGATIVE_INFINITY))
    all.push(best)
  }
  return { ids: all.slice(ids.length), lead }
}

const prompts = [[3, 7, 11, 5], [9], [3, 7, 11, 5, 2, 8], Array.from({ length: 45 }, (_, i) => (i * 7) % 50)]

describe.each(['llama-gqa', 'gpt2', 'mistral-window', 'llama-untied-bias'])('%s', name => {
  const opened = LanguageModel.load(`test/fixtures/models/${name}`)
  afterAll(async () => (await opened).dispose())

  test('greedy tokens equal those of running the whole text for each', async () => {
    const model = await opened
    const engine = await GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [] })
    const found = await Promise.all(prompts.map(ids => engine.generate({ ids, maxNewTokens: 40 })))
    for (const [i, ids] of prompts.entries()) {
      const { ids: wanted, lead } = await plainLoop(model, ids, 40)
      if (lead > 1e-4) expect(found[i]!.ids).toEqual(wanted)
    }
    await engine.dispose()
  })
})
