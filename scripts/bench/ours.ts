/** gradprompt's side of the `tune` benchmark: one process, JSON lines, as the peer prints them. Options are JSON on the command line. */
import { readFileSync, writeFileSync } from 'node:fs'
import { writeSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { scheduleFactor } from '../../src/train/schedule.js'
import { createOptimizer } from '../../src/train/steps/optimizers.js'
import { modelFile } from './peer.js'
import { median } from './processes.js'
import { Sst2Rows, sst2, startingPrompt, VIRTUAL_TOKENS } from './protocol.js'

export interface OursOptions {
  mode: 'train' | 'evaluate' | 'ready'
  /** JSON file: the batches, lists of row indices. */
  order?: string
  steps?: number
  learningRate?: number
  fixedLength?: number
  evaluateRows?: number
  initFrom?: string
  losses?: string
  save?: string
  batchSize?: number
}

const options = JSON.parse(process.argv[2]!) as OursOptions
const say = (event: object) => console.log(JSON.stringify(event))
const model = await LanguageModel.load(modelFile())
const method = promptMethods.get('prompt-tuning')!
const config = { type: 'prompt-tuning', numVirtualTokens: VIRTUAL_TOKENS, position: 'before-bos' }
const prompt = await startingPrompt(model, options.initFrom)
const parameters = new Map([['prompt', prompt]])
const active = { method, config, parameters }
const rows = new Sst2Rows(model, options.fixedLength)

if (options.mode === 'ready') {
  await model.prepareGradient(active)
  // Since the process began: what a user waits for.
  say({ event: 'ready', seconds: process.uptime() })
}

if (options.mode === 'train') {
  const train = sst2('train.tsv')
  const order = JSON.parse(readFileSync(options.order!, 'utf8')) as number[][]
  const steps = options.steps ?? order.length
  const optimizer = createOptimizer({ type: 'adamw', weightDecay: 0 }, [
    { name: 'prompt', shape: [VIRTUAL_TOKENS, model.config.hiddenSize] },
  ])
  const seconds: number[] = []
  const losses: number[] = []
  let computed = 0
  for (let step = 0; step < steps; step++) {
    const batch = order[step]!.slice(0, options.batchSize).map(i => train[i]!)
    const start = performance.now()
    const result = await model.promptGradient(
      active,
      batch.map(row => rows.training(row)),
    )
    optimizer.step(
      parameters,
      result.gradients,
      (options.learningRate ?? 1e-2) * scheduleFactor({ schedule: 'linear', warmup: 0.05, steps }, step),
    )
    seconds.push((performance.now() - start) / 1000)
    losses.push(result.loss)
    computed += result.rows
  }
  if (options.losses) writeFileSync(options.losses, JSON.stringify(losses))
  if (options.save)
    await writeSafetensors(options.save, [{ name: 'prompt', shape: [VIRTUAL_TOKENS, model.config.hiddenSize], data: prompt }])
  // The first step reads the weights from disk for the first time.
  const timed = seconds.slice(1)
  const size = options.batchSize ?? order[0]!.length
  say({
    event: 'result',
    medianStep: median(timed),
    rowsPerSecond: size / median(timed),
    tokenRows: computed / steps,
    first: seconds[0],
  })
}

if (options.mode === 'evaluate') {
  const dev = sst2('dev.tsv').slice(0, options.evaluateRows)
  // The first run reads the weights from disk; PEFT's are in memory by now, too.
  await model.logLikelihoods(active, [rows.scoring(dev[0]!.text)])
  const start = performance.now()
  const scored = dev
    .map(({ text, label }) => ({ ...rows.scoring(text), label }))
    .sort((a, b) => a.context.length - b.context.length)
  const likelihoods = await model.logLikelihoods(active, scored)
  const right = scored.filter(({ label }, i) => (likelihoods[i]![1]! > likelihoods[i]![0]! ? 1 : 0) === label).length
  const seconds = (performance.now() - start) / 1000
  say({ event: 'result', accuracy: right / dev.length, rowsPerSecond: dev.length / seconds, seconds })
}

await model.dispose()
