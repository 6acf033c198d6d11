import { LanguageModel } from '../../src/model/language-model.js'
import { layerOutputsOf } from '../../src/model/layer-outputs.js'
import { methodSchemas, promptMethods } from '../../src/prompts/methods/index.js'
import { readSources } from '../../src/sources/initial-prompts.js'
import { createOptimizer } from '../../src/train/steps/optimizers.js'
import { float32Folder, PEERS, python } from './peer.js'
import { measure, median, round } from './processes.js'
import { Sst2Rows, sst2 } from './protocol.js'

export const usage = `npm run bench -- methods [--rounds 5] [--only steps,dept]

Step times of the soft-prompt methods on SST-2 batches of 16, in turn in one process, and DePT beside eager torch
(GRADPROMPT_BENCH_PYTHON names a Python with torch, transformers, peft, gguf and accelerate).`

/** Given this, a run's step finds what the frozen layers make of its rows. */
const cached = ', rows kept'

/** What is compared with what: the ratio of two step times. */
const configs: Readonly<Record<string, object>> = {
  'prompt-tuning 20': { type: 'prompt-tuning', numVirtualTokens: 20 },
  'prompt-tuning 100': { type: 'prompt-tuning', numVirtualTokens: 100 },
  'dept 40 of 100': { type: 'dept', numVirtualTokens: 40, budgetTokens: 100 },
  'dept 12, rank 8': { type: 'dept', numVirtualTokens: 12, rank: 8, maxTextLength: 128, offset: 'text' },
  adept: { type: 'adept' },
  'prefix-tuning': { type: 'prefix-tuning' },
  iapt: { type: 'iapt' },
  idpg: { type: 'idpg' },
  softcot: { type: 'softcot' },
  lpt: { type: 'lpt' },
  [`lpt${cached}`]: { type: 'lpt' },
  'adaption-prompt': { type: 'adaption-prompt' },
}
const ratios: readonly (readonly [string, string])[] = [
  ['dept 40 of 100', 'prompt-tuning 100'],
  ['iapt', 'prompt-tuning 20'],
  ['lpt', 'prompt-tuning 20'],
  [`lpt${cached}`, 'prompt-tuning 20'],
]

export async function run(args: readonly string[]): Promise<object> {
  const option = (name: string, fallback: string) => (args.includes(name) ? args[args.indexOf(name) + 1]! : fallback)
  const rounds = Number(option('--rounds', '5'))
  const only = option('--only', 'steps,dept').split(',')
  return {
    ...(only.includes('steps') ? { steps: await steps(rounds) } : {}),
    ...(only.includes('dept') ? { dept: await besideTorch(Math.min(rounds, 3)) } : {}),
  }
}

async function steps(rounds: number): Promise<object> {
  const model = await LanguageModel.load('models/smollm2-135m-instruct')
  try {
    const runners = new Map<string, (batch: number) => Promise<number>>()
    for (const [name, config] of Object.entries(configs))
      runners.set(name, await runner(model, config, { keepsRows: name.endsWith(cached) }))
    const seconds = new Map([...runners.keys()].map(name => [name, [] as number[]]))
    for (let i = 0; i < rounds; i++) for (const [name, step] of runners) seconds.get(name)!.push(await step(i))
    const time = (name: string) => median(seconds.get(name)!)
    return {
      seconds: Object.fromEntries([...runners.keys()].map(name => [name, round(time(name))])),
      ratios: Object.fromEntries(
        ratios.map(([a, b]) => [`${a} / ${b}`, round(median(seconds.get(a)!.map((x, i) => x / seconds.get(b)![i]!)))]),
      ),
    }
  } finally {
    await model.dispose()
  }
}

/** A step of one method: gradient and update, on the n-th batch of the training file. */
async function runner(
  model: LanguageModel,
  given: object,
  { keepsRows = false }: { keepsRows?: boolean } = {},
): Promise<(batch: number) => Promise<number>> {
  const { type } = given as { type: string }
  const method = promptMethods.get(type)
  const config = methodSchemas.find(({ shape }) => shape.type.value === type)!.parse(given)
  const parameters = await method.initialise(config, {
    model: model.config,
    tokenizer: model.tokenizer,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    seed: 13,
    labelWords: [],
    exampleRows: () => [],
    answerPairs: () => [],
    layerOutputs: layerOutputsOf(model),
    learnedPrompts: (from: readonly string[], count: number) =>
      readSources(from, { name: model.name, hash: model.hash, hiddenSize: model.config.hiddenSize }, count),
  })
  const prompt = { method, config, parameters }
  const optimizer = createOptimizer({ type: 'adamw', weightDecay: 0 }, method.parameters(config, model.config))
  const rows = new Sst2Rows(model)
  const train = sst2('train.tsv')
  const step = async (batch: number) => {
    const labelled = train.slice(16 * batch, 16 * (batch + 1)).map(row => rows.training(row))
    const frozen = keepsRows ? await model.frozenRows(prompt, labelled) : undefined
    const start = performance.now()
    const { gradients } = await model.promptGradient(prompt, labelled, { frozen })
    optimizer.step(parameters, gradients, 1e-4)
    return (performance.now() - start) / 1000
  }
  await step(0)
  return step
}

async function besideTorch(rounds: number): Promise<object> {
  const folder = float32Folder()
  const rates: { ours: number; peer: number }[] = []
  for (let i = 0; i < rounds; i++) {
    const peer = await measure(python(), [`${PEERS}/dept.py`, '--model', folder, '--steps', '10'], { quiet: true })
    const model = await LanguageModel.load('models/smollm2-135m-instruct')
    const step = await runner(model, configs['dept 12, rank 8']!)
    const seconds: number[] = []
    for (let batch = 0; batch < 10; batch++) seconds.push(await step(batch))
    await model.dispose()
    const result = peer.lines.findLast(line => line.event === 'result') as { median_step: number }
    rates.push({ ours: 16 / median(seconds), peer: 16 / result.median_step })
  }
  return {
    rowsPerSecond: { ours: round(median(rates.map(({ ours }) => ours))), peer: round(median(rates.map(({ peer }) => peer))) },
    ratio: round(median(rates.map(({ ours, peer }) => ours / peer))),
  }
}
