import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GradpromptError } from '../../../src/errors.js'
import { type EngineOptions, GenerationEngine } from '../../../src/generate/engine/engine.js'
import type { Generation } from '../../../src/generate/request.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { LanguageModel } from '../../../src/model/language-model.js'

export const FOLDER = 'test/fixtures/models'
export const open = (model: LanguageModel, options: EngineOptions = {}) =>
  GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [], ...options })

/** The tiny model with a longer context: positions are angles, so it has no table of them. */
export const folder = mkdtempSync(join(tmpdir(), 'gradprompt-test-'))
cpSync(`${FOLDER}/llama-gqa`, folder, { recursive: true })
export const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object
writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 600 }))
export const tiny = LanguageModel.load(folder, { threads: 1 })
export const engines = tiny.then(model => open(model))

/** Greedy tokens by running the whole text anew for every one, up to where two logits tie. */
export async function plainLoop(
  model: LanguageModel,
  ids: readonly number[],
  count: number,
  prompt?: ActivePrompt,
): Promise<number[]> {
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
export async function likelihood(
  model: LanguageModel,
  context: readonly number[],
  ids: readonly number[],
  prompt?: ActivePrompt,
) {
  const [[sum]] = (await model.logLikelihoods(prompt, [{ context, candidates: [{ ids }] }])) as [[number]]
  return sum
}

export const total = ({ logProbabilities }: Generation) => logProbabilities!.reduce((sum, x) => sum + x, 0)
export const failure = async (promise: Promise<unknown>) => (await promise.catch((error: unknown) => error)) as GradpromptError
export const count = (length: number, step = 7) => Array.from({ length }, (_, i) => (i * step + 3) % 90)
