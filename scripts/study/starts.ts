import { join } from 'node:path'
import { resumeTuneBeside, tuneBeside } from '../../src/api/tune.js'
import { bootstrap, type MetricValue } from '../../src/evaluate/intervals.js'
import { readPredictions } from '../../src/evaluate/predictions.js'
import { isFile } from '../../src/files.js'
import { loadModel } from '../../src/index.js'
import { mean } from '../../src/numbers.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { ControlStore, ScoredControl } from '../../src/train/control.js'
import { knownNames, scriptArguments } from '../arguments.js'

/** What each condition has in the place of a start from drawn vocabulary rows. */
const conditions: Readonly<Record<string, { readonly source?: string; readonly given?: Partial<ConfigInput> }>> = {
  vocabulary: {},
  joint: { source: 'joint' },
  reptile: { source: 'reptile' },
  agreement: { source: 'agreement' },
  regulated: { source: 'regulated' },
  domain: { given: { method: { type: 'prompt-tuning', init: { type: 'domain' } } } },
  uncentred: { given: { method: { type: 'prompt-tuning', init: { type: 'domain', centred: false } } } },
  prior: { given: { train: { prior: { weight: 0.1 } } } },
}

const usage = `node dist/scripts/study/starts.js [options]

What a start is worth on SST-2 with 16 sentences a class, after as many steps as every other: examples/starts/from-start.yaml over three splits. Starts that are
learned come from examples/starts/tasks.csv. Runs that have ended are taken as they are, so that the same command goes on.

  --conditions LIST   of ${Object.keys(conditions).join(', ')}
  --seeds LIST        of 13, 21, 42
  --limit N           test rows, 200 by default
  --steps N           steps from each start, 10 by default
  --out FOLDER        runs/starts by default`

const { values } = scriptArguments(usage, {
  conditions: { type: 'string', default: Object.keys(conditions).join() },
  seeds: { type: 'string', default: '13,21,42' },
  limit: { type: 'string', default: '200' },
  steps: { type: 'string', default: '10' },
  out: { type: 'string', default: 'runs/starts' },
})
const names = knownNames(usage, '--conditions', values.conditions, Object.keys(conditions))
const seeds = knownNames(usage, '--seeds', values.seeds, ['13', '21', '42'] as const)
const method = { type: 'prompt-tuning', numVirtualTokens: 8 } as const
const model = await loadModel('models/smollm2-135m-instruct')
const known = new Map<string, ScoredControl>()
const controls: ControlStore = {
  read: async key => known.get(key),
  write: async (key, control) => void known.set(key, control),
}

/** A run's folder, of a run that has ended or that is made now. */
async function run(folder: string, config: Omit<ConfigInput, 'out' | 'model'>): Promise<string> {
  if (await isFile(join(folder, 'result.json'))) return folder
  const started = performance.now()
  if (await isFile(join(folder, 'config.yaml'))) await resumeTuneBeside(folder, { model }, controls)
  else await tuneBeside({ ...config, model, out: folder } as never, {}, controls)
  console.error(`${folder}: ${((performance.now() - started) / 1000).toFixed(0)} s`)
  return folder
}

const inner = { steps: 4, learningRate: 0.02 }
/** As many batches of four rows for each, but for the filter, which asks twice as often, and the network, which asks six times in a step. */
const sources: Readonly<Record<string, ConfigInput['train']>> = {
  joint: { steps: 60, batchSize: 4, learningRate: 0.02 },
  reptile: { steps: 15, batchSize: 4, schedule: 'constant', warmup: 0, meta: { tasks: 'task', inner } },
  agreement: { steps: 15, batchSize: 4, schedule: 'constant', warmup: 0, meta: { tasks: 'task', inner, filter: 'agreement' } },
  regulated: {
    ...{ steps: 10, batchSize: 4, learningRate: 0.02 },
    meta: { tasks: 'task', update: 'maml', filter: 'regulated', inner: { steps: 4, learningRate: 0.1, optimizer: 'sgd' } },
  },
}
const sourceRun = (name: string) =>
  run(join(values.out, `source-${name}`), {
    data: { train: 'examples/starts/tasks.csv' },
    template: 'Text: {text}\n{question}:',
    answer: ' {answer}',
    method,
    train: sources[name]!,
    seed: 13,
  })

/** Of one condition: whether each row is right, and the log of what the right class has of both, a list for each seed. */
interface Said {
  readonly correct: number[]
  readonly log: number[]
}
const said = new Map<string, Said[]>()
for (const name of names) {
  const { source, given } = conditions[name]!
  const from = source && (await sourceRun(source))
  const init = from === undefined ? { type: 'vocabulary' as const } : { type: 'runs' as const, from: [from] }
  for (const seed of seeds) {
    const folder = await run(join(values.out, `${name}-${values.steps}-${seed}`), {
      data: {
        train: `examples/sst2/16-shot/seed-${seed}/train.tsv`,
        test: 'examples/sst2/16-shot/test.tsv',
        limit: { test: Number(values.limit) },
        labels: { 0: 'negative', 1: 'positive' },
      },
      template: 'Text: {sentence}\nSentiment:',
      answer: ' {label}',
      seed: Number(seed),
      ...given,
      method: { ...method, init, ...(given?.method as object) },
      train: { steps: Number(values.steps), batchSize: 8, learningRate: 0.01, ...given?.train },
    })
    const rows = (await readPredictions(folder, 'test', 'tuned'))!
    const one = {
      correct: rows.map(({ correct }) => Number(correct)),
      log: rows.map(({ correct, confidence }) => Math.log(Math.max(correct ? confidence! : 1 - confidence!, 1e-12))),
    }
    said.set(name, [...(said.get(name) ?? []), one])
  }
}
await model.dispose()

const over = (ofSeeds: readonly Said[], figure: keyof Said) => (rows: ArrayLike<number>) =>
  mean(ofSeeds.map(one => mean(Array.from(rows, row => one[figure][row]!))))
const shown = ({ value, low, high }: MetricValue, scale: number, signed = false) => {
  const digits = (x: number) => `${signed && x > 0 ? '+' : ''}${(scale * x).toFixed(scale === 100 ? 1 : 3)}`
  return `${digits(value)} [${digits(low)}, ${digits(high)}]`
}
const plain = said.get(names[0]!)!
const count = plain[0]!.correct.length
console.log(
  `| ${count} rows, ${seeds.length} seeds | accuracy, % | against ${names[0]}, points | log-likelihood, nats | against | accuracy by seed |`,
)
console.log('|---|---|---|---|---|---|')
for (const [name, own] of said) {
  const cells = (['correct', 'log'] as const).flatMap(figure => {
    const [here, there] = [over(own, figure), over(plain, figure)]
    const { value, difference } = bootstrap(
      count,
      { value: here, difference: rows => here(rows) - there(rows) },
      { seed: 13, resamples: 4000 },
    )
    const scale = figure === 'correct' ? 100 : 1
    return [shown(value!, scale), name === names[0] ? '' : shown(difference!, scale, true)]
  })
  console.log(`| ${name} | ${cells.join(' | ')} | ${own.map(one => (100 * mean(one.correct)).toFixed(1)).join(', ')} |`)
}
