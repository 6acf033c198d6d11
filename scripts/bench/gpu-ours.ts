/** gradprompt's side of the `gpu` benchmark: one process, one JSON line, as the peer prints it. Options are JSON on the command line. */
import { GradpromptError } from '../../src/errors.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { adapters } from '../../src/model/devices/adapters.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { DeviceChoice } from '../../src/program/devices.js'
import type { Precision } from '../../src/program/precision.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { createOptimizer } from '../../src/train/steps/optimizers.js'
import { median } from './processes.js'

export interface GpuOptions {
  readonly folder: string
  readonly device: DeviceChoice
  readonly precision: Precision
  readonly virtualTokens: number
  readonly batch: number
  /** Tokens of each row. */
  readonly length: number
  readonly steps: number
  /** Rows that are written at once, tokens of each prompt, and tokens that are written; no rows, and nothing is. */
  readonly rows: number
  readonly promptLength: number
  readonly newTokens: number
}

/** The same ids on both sides; the peer's script says the same in Python. */
const idsOf = (row: number, length: number, vocabSize: number): number[] =>
  Array.from({ length }, (_, i) => 1 + ((row * 7919 + i * 104_729) % (vocabSize - 1)))

/** Label tokens of a row, its last ones. */
const LABELS = 4

async function run(options: GpuOptions): Promise<void> {
  const { folder, device, precision, virtualTokens, batch, length, steps, rows, promptLength, newTokens } = options
  const free = async () => (await adapters()).flatMap(({ free }) => free ?? [])
  const before = await free()
  const model = await LanguageModel.load(folder, { device, precision })
  const { vocabSize, hiddenSize } = model.config
  const method = promptMethods.get('prompt-tuning')!
  const prompt = Float32Array.from({ length: virtualTokens * hiddenSize }, (_, i) => 0.02 * Math.sin(i))
  const parameters = new Map([['prompt', prompt]])
  const active = {
    method,
    config: { type: 'prompt-tuning', numVirtualTokens: virtualTokens, position: 'before-bos' },
    parameters,
  }
  const optimizer = createOptimizer({ type: 'adamw', weightDecay: 0 }, [{ name: 'prompt', shape: [virtualTokens, hiddenSize] }])
  const seconds: number[] = []
  let loss = 0
  for (let step = 0; step < steps; step++) {
    const labelled = Array.from({ length: batch }, (_, i) => {
      const ids = idsOf(step * batch + i, length, vocabSize)
      return { ids, labels: ids.map((id, at) => (at < length - LABELS ? -100 : id)) }
    })
    const started = performance.now()
    const result = await model.promptGradient(active, labelled)
    optimizer.step(parameters, result.gradients, 1e-3)
    loss = result.loss
    seconds.push((performance.now() - started) / 1000)
  }
  const after = await free()
  const training = { tokensPerSecond: (batch * length) / median(seconds.slice(1)), first: seconds[0], loss }
  let writing: object | undefined
  if (rows > 0) {
    const engine = await GenerationEngine.open(model, { weights: 'fp32', batchSize: rows, endTokenIds: [], promptLookup: false })
    const prompts = Array.from({ length: rows }, (_, i) => idsOf(i, promptLength, vocabSize))
    const write = async (maxNewTokens: number) => {
      engine.forget()
      const started = performance.now()
      await Promise.all(prompts.map(ids => engine.generate({ ids, maxNewTokens })))
      return (performance.now() - started) / 1000
    }
    await write(2)
    const [prefill, whole] = [await write(1), await write(newTokens)]
    // So little may be written that it does not show beside the prompts.
    const tokensPerSecond = whole > prefill ? (rows * (newTokens - 1)) / (whole - prefill) : null
    writing = { tokensPerSecond, prefillSeconds: prefill }
    await engine.dispose()
  }
  const taken = before.map((bytes, i) => bytes - (after[i] ?? bytes))
  console.log(
    JSON.stringify({
      ...{ event: 'result', device: model.device, precision, training, writing },
      // What the adapter had less of after the steps than before.
      ...(taken.length > 0 && { deviceBytes: Math.max(...taken) }),
    }),
  )
  await model.dispose()
}

try {
  await run(JSON.parse(process.argv[2]!))
} catch (error) {
  if (!(error instanceof GradpromptError)) throw error
  const { code, message, found, expected, hint } = error
  console.log(JSON.stringify({ event: 'problem', code, message, found, expected, hint }))
}
