import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel, sweep } from '../../src/index.js'
import { Journal } from '../../src/sweep/journal/journal.js'
import { type SweepRecord, Trials } from '../../src/sweep/journal/records.js'

/**
 * Figures of docs/sweeps.md: `node dist/scripts/study/sweep-figures.js halving`, what it spends and finds against whole runs; `journal`, ten thousand
 * trials opened, and one added. `npm run bench -- sweep` has what a sweep takes beside as many `tune`.
 */

const { positionals } = parseArgs({ allowPositionals: true })
const [what] = positionals
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-figures-'))

async function halving(): Promise<void> {
  const openings = ['the', 'on', 'at', 'it']
  const words = ['wine', 'stone', 'river', 'cloud']
  const rows = Array.from({ length: 112 }, (_, i) => ({
    text: `${openings[(i >> 2) % 4]} ${words[i % 4]} ${openings[(i >> 4) % 4]}`,
    label: String(i % 2),
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  await using model = await loadModel('test/fixtures/models/llama-gqa', { threads: 1 })
  for (const seed of [1, 2, 3]) {
    const done = (name: string, stop: object) =>
      sweep({
        model,
        data: { train: join(folder, 'rows.jsonl'), split: { dev: 48 }, labels: { 0: 'the', 1: 'of' } },
        ...{ template: '{text} -', answer: ' {label}', answerEnd: 'none', method: { type: 'prompt-tuning' } },
        train: { steps: 180, batchSize: 8, evaluateEvery: 20 },
        out: join(folder, `${name}-${seed}`),
        sweep: {
          over: {
            'train.learningRate': { min: 0.001, max: 0.3, log: true },
            'method.numVirtualTokens': [1, 2, 4, 8],
            'train.schedule': ['constant', 'linear', 'cosine'],
          },
          ...{ strategy: 'random', trials: 27, seed, objective: 'logLikelihood', ...stop },
        },
      } as Parameters<typeof sweep>[0])
    const whole = await done('whole', {})
    const stopped = await done('halving', { stop: { type: 'halving', min: 20, factor: 3 } })
    const best = (summary: typeof whole) => {
      const { value, low, high } = summary.best!.figures.logLikelihood!
      return `trial ${summary.best!.number}, ${value.toFixed(4)} [${low.toFixed(4)}, ${high.toFixed(4)}]`
    }
    const isAlike =
      whole.best!.number === stopped.best!.number || whole.alike.some(({ number }) => number === stopped.best!.number)
    console.log(`seed ${seed}: whole runs ${whole.steps} steps, best ${best(whole)}`)
    console.log(`  halving ${stopped.steps} steps (${(stopped.steps / whole.steps).toFixed(2)}), best ${best(stopped)}`)
    console.log(`  ${isAlike ? 'the best of whole runs cannot be told apart from it' : 'the best of whole runs is another'}`)
  }
}

async function journal(): Promise<void> {
  const path = join(folder, 'journal.log')
  const opened = () => {
    const trials = new Trials()
    return { trials, journal: new Journal<SweepRecord>(path, record => trials.hear(record)) }
  }
  const begun = (trial: number): SweepRecord => ({
    ...{ type: 'begun', trial, worker: 'w', at: new Date(0).toISOString() },
    values: {
      'train.learningRate': 0.001 + trial / 1e6,
      'method.numVirtualTokens': 5 + (trial % 20),
      'train.optimizer': 'adamw',
    },
  })
  const figure = { value: 0.5123456789, low: 0.4123456789, high: 0.6123456789 }
  const figures = { accuracy: figure, macroF1: figure, logLikelihood: figure, calibrationError: figure }
  const finished = (trial: number): SweepRecord => ({ type: 'finished', trial, figures, steps: 20, seconds: 12.345 })
  const records = Array.from({ length: 10_000 }, (_, trial) => [begun(trial), finished(trial)]).flat()
  await opened().journal.add(() => ({ records, result: undefined }))
  const late = opened()
  const started = performance.now()
  await late.journal.sync()
  console.log(`10,000 trials opened in ${(performance.now() - started).toFixed(0)} ms (${late.trials.trials.length})`)
  const times = []
  for (let trial = 10_000; trial < 10_101; trial++) {
    const before = performance.now()
    await late.journal.add(() => ({ records: [begun(trial)], result: undefined }))
    times.push(performance.now() - before)
  }
  times.sort((a, b) => a - b)
  console.log(`one added: median ${times[50]!.toFixed(1)} ms, of 101 the longest ${times[100]!.toFixed(1)} ms`)
}

try {
  if (what === 'halving') await halving()
  else if (what === 'journal') await journal()
  else {
    console.error(`found ${what ?? 'nothing'}, expected halving or journal`)
    process.exitCode = 2
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
