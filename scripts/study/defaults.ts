import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { batchOrder } from '../../src/data/batches.js'
import { readTask } from '../../src/data/task.js'
import { scoreRows } from '../../src/evaluate/score.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { logSumExp, mean } from '../../src/numbers.js'
import { shuffle } from '../../src/random.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import { prepareJob } from '../../src/train/job.js'
import { learn } from '../../src/train/loop.js'
import { scriptArguments } from '../arguments.js'
import { appendLine, readLines } from './lines.js'
import { startingText, tasks } from './tasks.js'

const DEV_ROWS = 200

const usage = `node dist/scripts/study/defaults.js [--steps 48] [--batch 16] [--seed 13] [--model M] [--threads 1] [--out runs/study]
    [--results FILE.jsonl] '{"type":"dept","offsetLearningRate":1e-4}' '{"type":"lpt","learningRate":0.02}' …

How the defaults of the soft-prompt methods were chosen: short runs on few examples, judged by 200 dev rows. Each argument is a method's
options, with learningRate for that of the run. Every result is a line of --results; what is there already is not run again. Test rows are
never read.`

const { values, positionals } = scriptArguments(usage, {
  steps: { type: 'string', default: '48' },
  batch: { type: 'string', default: '16' },
  seed: { type: 'string', default: '13' },
  model: { type: 'string', default: 'models/smollm2-135m-instruct' },
  threads: { type: 'string' },
  out: { type: 'string', default: 'runs/study' },
  results: { type: 'string', default: 'scripts/study/results/defaults.jsonl' },
})

const task = tasks['sst2-16']
const examples = join('examples', 'sst2', '16-shot', `seed-${values.seed}`)
const dev = join(values.out, 'sst2-dev.tsv')
mkdirSync(values.out, { recursive: true })
if (!existsSync(dev)) {
  const lines = readFileSync('examples/sst2/dev.tsv', 'utf8').trimEnd().split('\n')
  writeFileSync(dev, `sentence\tlabel\n${shuffle(lines, 13).slice(0, DEV_ROWS).join('\n')}\n`)
}
const known = readLines<Record<string, unknown>>(values.results)
for (const text of positionals) {
  const options = JSON.parse(text) as { type: string; learningRate?: number }
  const { learningRate, ...method } = { ...startingText(options.type, task.instruction), ...options }
  const config = parseConfig({
    model: values.model,
    data: { train: join(examples, 'train.tsv'), dev, labels: task.labels },
    template: task.template,
    answer: ' {label}',
    answerEnd: 'none',
    method: method as ConfigInput['method'],
    train: { steps: Number(values.steps), batchSize: Number(values.batch), ...(learningRate !== undefined && { learningRate }) },
    seed: Number(values.seed),
  })
  const { batchSize, steps } = config.train
  // As a line of the results has it.
  const key = JSON.parse(
    JSON.stringify({ seed: config.seed, steps, batchSize, learningRate: config.train.learningRate, method: config.method }),
  ) as object
  if (known.some(line => isDeepStrictEqual({ ...line, ...key }, line))) continue
  const read = await readTask(config)
  const started = performance.now()
  const model = await LanguageModel.load(values.model, values.threads === undefined ? {} : { threads: Number(values.threads) })
  const job = await prepareJob(config, read, model)
  const order = batchOrder({ rows: read.train.length, batchSize, seed: config.seed, bucket: config.train.bucket })
  const losses: number[] = []
  const score = async () => {
    const rows = read.dev.map((record, i) => job.rows.scoring(record, i))
    const { metrics, logLikelihoods } = await scoreRows(model, job.prompt, rows, read.labels, { seed: config.seed })
    const loss = mean(logLikelihoods.map((scores, i) => logSumExp(scores) - scores[rows[i]!.target]!))
    return { accuracy: metrics.accuracy!.value, loss: rounded(loss), logLikelihood: rounded(metrics.logLikelihood!.value) }
  }
  await learn(job.state, {
    ...job,
    train: config.train,
    batch: step => order.at(step).map(row => job.rows.training(read.train[row]!, row)),
    frozen: job.frozen && (step => job.frozen!(order.at(step).map(row => ({ row, template: 0 })))),
    evaluate: undefined,
    writeCheckpoint: async () => {},
    emit: event => {
      if (event.event === 'step') losses.push(event.loss)
    },
    elapsed: () => (performance.now() - started) / 1000,
    signal: undefined,
  })
  const result = {
    ...key,
    dev: await score(),
    train: { first: rounded(losses[0]!), last: rounded(mean(losses.slice(-8))) },
    seconds: Math.round((performance.now() - started) / 1000),
  }
  appendLine(values.results, result)
  console.log(JSON.stringify(result))
  await model.dispose()
}

function rounded(x: number): number {
  return Number(x.toFixed(4))
}
