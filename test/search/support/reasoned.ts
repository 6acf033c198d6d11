import { GenerationEngine } from '../../../src/generate/engine/engine.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { Budget } from '../../../src/search/score/budget.js'
import { Objective } from '../../../src/search/score/objective.js'
import { SearchPrograms } from '../../../src/search/score/programs.js'
import { Reasoning } from '../../../src/search/score/reasoning.js'
import type { SearchRow } from '../../../src/search/space/token-space.js'

export const opened = LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 }).then(async model => ({
  model,
  programs: new SearchPrograms(model),
  engine: await GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [] }),
}))

export const rows: SearchRow[] = [
  [
    [3, 4, 5],
    [60, 61],
  ],
  [[3, 4, 9, 11], [62]],
  [[70], [63, 64, 65]],
].map(([before, answer], index) => ({
  ...{ index, before: before!, after: [50, 51], extractor: [80, 81], answer: answer! },
  text: { before: '', after: '' },
}))
export const prompt = [20, 21, 22]
export const MAX = 7

export async function reasoned(options: { fluency?: number; measure?: 'cross-entropy' | 'probability' | 'mistakes' } = {}) {
  const { model, programs, engine } = await opened
  const budget = new Budget({}, () => 0)
  const reasoning = new Reasoning(engine, model.tokenizer, { maxNewTokens: MAX, batchSize: 8 })
  const settings = { free: [0, 1, 2], fluency: 0, ...options }
  return { model, budget, reasoning, objective: new Objective(model, programs, budget, settings, undefined, reasoning) }
}

/** Greedy tokens, the whole text anew for each. */
export async function greedy(model: LanguageModel, ids: readonly number[], count: number): Promise<number[]> {
  const all = [...ids]
  for (let i = 0; i < count; i++) {
    const [logits] = await model.logits([all])
    const last = logits!.subarray(-model.config.vocabSize)
    all.push(last.indexOf(Math.max(...last)))
  }
  return all.slice(ids.length)
}
