import { basename, join, resolve } from 'node:path'
import { parseConfig } from '../config/schema.js'
import { compileTemplate } from '../data/template.js'
import { evaluate, type Prediction } from '../evaluate/evaluate.js'
import { type NearestTokens, nearestTokens } from '../evaluate/nearest-tokens.js'
import { LanguageModel } from '../model/language-model.js'
import { readPrompt } from '../runs/prompt-file.js'
import { type SamplePrediction, writeReport } from '../runs/report.js'
import { openRun } from '../runs/run-folder.js'
import type { RunResult } from '../train/events.js'
import { readTask } from '../train/task.js'

const sampledRows = 64
const shownSamples = 5

/** Writes a run's `report.html`, with what the vectors read as and a few predictions once the run has ended. */
export async function reportRun(folder: string): Promise<string> {
  const run = await openRun(folder)
  const config = parseConfig(run.config, { source: join(folder, 'config.yaml') })
  const [events, result] = await Promise.all([run.readEvents(), run.readResult() as Promise<RunResult | undefined>])
  let nearest: NearestTokens[] = []
  let samples: SamplePrediction[] = []
  if (result !== undefined) {
    const prompt = await readPrompt(run.promptPath)
    const { device, threads, memory } = config
    const model = await LanguageModel.load(config.model, {
      device,
      ...(threads !== undefined && { threads }),
      ...(memory !== undefined && { memory: memory * 1e9 }),
    })
    try {
      nearest = await nearestTokens(model, prompt)
      const { scored, train } = await readTask(config)
      const records = (scored.length > 0 ? scored : train).slice(0, sampledRows)
      const { predictions = [] } = await evaluate({ model, prompt: { folder, config, prompt }, data: records, seed: config.seed })
      const { template } = config
      const templates = (typeof template === 'string' ? [template] : template.map(({ content }) => content)).map(compileTemplate)
      const columns = [...new Set(templates.flatMap(template => template.columns))]
      samples = chosen(predictions, index => columns.map(column => records[index]?.[column] ?? '').join('\n'))
    } finally {
      await model.dispose()
    }
  }
  return writeReport(folder, { name: basename(resolve(folder)), config: run.config, events, result, nearest, samples })
}

/** The first few right ones, and the wrong ones that the model is surest of. */
function chosen(predictions: readonly Prediction[], textOf: (index: number) => string): SamplePrediction[] {
  const all = predictions.map(({ index, label, predicted, logLikelihoods }) => {
    const largest = Math.max(...logLikelihoods)
    const confidence = 1 / logLikelihoods.reduce((sum, value) => sum + Math.exp(value - largest), 0)
    return { text: textOf(index), label, predicted, confidence }
  })
  const right = all.filter(({ label, predicted }) => label === predicted)
  const wrong = all.filter(({ label, predicted }) => label !== predicted).sort((a, b) => b.confidence - a.confidence)
  return [...right.slice(0, shownSamples), ...wrong.slice(0, shownSamples)]
}
