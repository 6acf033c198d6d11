import { bootstrap, type MetricValue, type Statistic } from '../../src/evaluate/intervals.js'
import { calibrationError } from '../../src/evaluate/metrics.js'
import { evaluate, loadModel, type TestTimeScores } from '../../src/index.js'
import { scriptArguments } from '../arguments.js'

const usage = `node dist/scripts/study/test-time.js RUN [RUN …] [options]

What tuning a prompt at test time comes to on rows unlike those that it learned from: runs of one task and several seeds, each as it was learned,
with the mean of a row's views, and tuned on them. Rows that were answered are kept in the runs, so that the same command goes on.

  --data FILE       rows with labels; by default examples/sst2/customer-reviews.tsv, which were written for this
  --limit N         so many of them
  --views N         views of a row, 16 by default
  --steps N         steps for each row, 1 by default
  --rate X          learning rate, 0.005 by default
  --paraphrases N   views in the model's own words, none by default
  --batch N         tune on so many rows together instead`

const { values, positionals: runs } = scriptArguments(usage, {
  data: { type: 'string', default: 'examples/sst2/customer-reviews.tsv' },
  limit: { type: 'string' },
  views: { type: 'string' },
  steps: { type: 'string' },
  rate: { type: 'string' },
  paraphrases: { type: 'string' },
  batch: { type: 'string' },
})

/** What one run says of every row, under one condition. */
interface Said {
  readonly targets: Int32Array
  readonly predictions: Int32Array
  readonly confidences: Float64Array
  /** Log-likelihood of the right class among the classes, in nats. */
  readonly own: Float64Array
}

/** Shares of the classes in each condition. */
const conditions: Readonly<Record<string, (figures: TestTimeScores) => readonly number[]>> = {
  'as learned': ({ before }) => softmax(before),
  ...(values.batch === undefined && {
    'mean of all views': ({ averaged }: TestTimeScores) => averaged,
    'mean of the surest views': ({ surest }: TestTimeScores) => surest,
  }),
  'tuned at test time': ({ after }) => softmax(after),
}

function softmax(scores: readonly number[]): number[] {
  const highest = Math.max(...scores)
  const weights = scores.map(score => Math.exp(score - highest))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map(weight => weight / sum)
}

const number = (text: string | undefined) => (text === undefined ? undefined : Number(text))
const given = {
  ...{ views: number(values.views), steps: number(values.steps), learningRate: number(values.rate) },
  ...{ paraphrases: number(values.paraphrases), batch: number(values.batch) },
}
const testTime = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
const model = await loadModel('models/smollm2-135m-instruct')
const said = new Map(Object.keys(conditions).map(name => [name, [] as Said[]]))
let [processor, computed] = [0, 0]
for (const run of runs) {
  const before = process.cpuUsage()
  const result = await evaluate({
    // The same rows and views in all runs.
    ...{ model, prompt: run, data: values.data, testTime, keep: true, seed: 13 },
    ...(values.limit !== undefined && { limit: Number(values.limit) }),
    onProgress: (done, total) => done % 16 === 0 && console.error(`${run}: ${done}/${total}`),
  })
  const { user, system } = process.cpuUsage(before)
  processor += (user + system) / 1e6
  computed += result.rows - result.testTime!.resumed
  const { labels, predictions, results } = result
  console.error(`${run}: ${result.testTime!.how}, ${result.testTime!.views.toFixed(1)} views of a row`)
  for (const [name, sharesOf] of Object.entries(conditions)) {
    const shares = results.map(({ testTime }) => sharesOf(testTime!))
    const targets = Int32Array.from(predictions!, ({ label }) => labels!.indexOf(label))
    said.get(name)!.push({
      targets,
      predictions: Int32Array.from(shares, own => own.indexOf(Math.max(...own))),
      confidences: Float64Array.from(shares, own => Math.max(...own)),
      own: Float64Array.from(shares, (own, i) => Math.log(Math.max(own[targets[i]!]!, Number.MIN_VALUE))),
    })
  }
}
await model.dispose()

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
const over = (of: (one: Said) => Statistic, ofRuns: readonly Said[]): Statistic => {
  const statistics = ofRuns.map(of)
  return rows => mean(statistics.map(statistic => statistic(rows)))
}
const rowMean =
  (of: (row: number) => number): Statistic =>
  rows => {
    let sum = 0
    for (const row of rows) sum += of(row)
    return sum / rows.length
  }
const figures = {
  accuracy: ({ targets, predictions }: Said) => rowMean(row => Number(targets[row] === predictions[row])),
  logLikelihood: ({ own }: Said) => rowMean(row => own[row]!),
  calibration: ({ targets, predictions, confidences }: Said) => calibrationError(targets, predictions, confidences),
}
const plain = said.get('as learned')!
const rows = plain[0]!.targets.length
const options = { seed: 13, resamples: 4000 }
const shown = ({ value, low, high }: MetricValue, share: boolean, signed = false) => {
  const digits = (x: number) => `${signed && x > 0 ? '+' : ''}${share ? (100 * x).toFixed(1) : x.toFixed(3)}`
  return `${digits(value)} [${digits(low)}, ${digits(high)}]`
}
console.log(
  `| ${rows} rows, ${runs.length} runs | accuracy, % | against as learned, points | log-likelihood, nats | against | calibration error, % | against |`,
)
console.log('|---|---|---|---|---|---|---|')
for (const [name, own] of said) {
  const cells = Object.entries(figures).flatMap(([figure, of]) => {
    const here = over(of, own)
    const there = over(of, plain)
    const { value, difference } = bootstrap(rows, { value: here, difference: drawn => here(drawn) - there(drawn) }, options)
    const isShare = figure !== 'logLikelihood'
    return [shown(value, isShare), name === 'as learned' ? '' : shown(difference, isShare, true)]
  })
  console.log(`| ${name} | ${cells.join(' | ')} |`)
}
const tuned = said.get('tuned at test time')!
for (const [name, own] of [...said].filter(([name]) => name.startsWith('mean'))) {
  const cells = Object.entries(figures).map(([figure, of]) => {
    const [here, there] = [over(of, tuned), over(of, own)]
    const { difference } = bootstrap(rows, { difference: drawn => here(drawn) - there(drawn) }, options)
    return `${figure} ${shown(difference, figure !== 'logLikelihood', true)}`
  })
  console.log(`tuned against the ${name}: ${cells.join(', ')}`)
}
for (const [name, own] of said) {
  const by = own.map(one => (100 * figures.accuracy(one)(Int32Array.from({ length: rows }, (_, i) => i))).toFixed(1))
  console.log(`${name}: accuracy by run ${by.join(', ')}`)
}
if (computed > 0)
  console.log(`${(processor / computed).toFixed(2)} processor seconds a row, with opening the programs, of ${computed} rows`)
