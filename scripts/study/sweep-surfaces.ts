import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadModel, sweep } from '../../src/index.js'

/**
 * Writes test/fixtures/sweep/surfaces.json: what every point of five grids comes to, each a real run on a small random model. Samplers
 * are held against each other on these tables (test/sweep/space.test.ts). `node dist/scripts/study/sweep-surfaces.js`, some minutes.
 */

const openings = ['the', 'on', 'at', 'it']
const words = ['wine', 'stone', 'river', 'cloud']
const rows = Array.from({ length: 56 }, (_, i) => ({
  text: `${openings[(i >> 2) % 4]} ${words[i % 4]} ${openings[(i >> 4) % 4]}`,
  label: String(i % 2),
}))

const rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
const sizes = [1, 2, 4, 8]
const subjects: { name: string; model: string; base?: object; options: Record<string, readonly (string | number)[]> }[] = [
  {
    name: 'prompt tuning',
    model: 'llama-gqa',
    options: {
      'train.learningRate': rates,
      'method.numVirtualTokens': sizes,
      'train.optimizer': ['adamw', 'adafactor'],
      'train.batchSize': [4, 16],
    },
  },
  {
    name: 'schedules',
    model: 'gpt2',
    options: {
      'train.learningRate': rates,
      'train.schedule': ['constant', 'linear', 'cosine'],
      'train.warmup': [0, 0.1, 0.3, 0.6],
      'method.numVirtualTokens': [2, 6],
    },
  },
  {
    name: 'prefix tuning',
    model: 'llama-gqa',
    base: { method: { type: 'prefix-tuning' } },
    options: { 'train.learningRate': rates, 'method.numVirtualTokens': sizes, 'train.maxGradientNorm': [0.05, 0.3, 1, 10] },
  },
  {
    name: 'AdamW',
    model: 'gemma',
    options: { 'train.learningRate': rates, 'train.beta1': [0, 0.5, 0.9, 0.98], 'train.weightDecay': [0, 0.01, 0.1, 1] },
  },
  {
    name: 'DePT',
    model: 'llama-gqa',
    base: { method: { type: 'dept' } },
    options: {
      'train.learningRate': rates,
      'method.numVirtualTokens': sizes,
      'train.labelSmoothing': [0, 0.1, 0.3],
      'train.accumulate': [1, 2],
    },
  },
]

const folder = await mkdtemp(join(tmpdir(), 'gradprompt-surfaces-'))
const surfaces: object[] = []
try {
  await writeFile(join(folder, 'rows.jsonl'), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  for (const { name, model, base = {}, options } of subjects) {
    await using open = await loadModel(`test/fixtures/models/${model}`, { threads: 1 })
    const { trials } = await sweep({
      model: open,
      data: { train: join(folder, 'rows.jsonl'), split: { dev: 16 }, labels: { 0: 'the', 1: 'of' } },
      ...{ template: '{text} -', answer: ' {label}', answerEnd: 'none', method: { type: 'prompt-tuning' }, ...base },
      train: { steps: 15, batchSize: 8, evaluateEvery: 15 },
      out: join(folder, name),
      sweep: { over: options as never, objective: 'logLikelihood', strategy: 'grid', maxFailures: 1000 },
    } as Parameters<typeof sweep>[0])
    const found = new Map(trials.map(({ values, figures }) => [JSON.stringify(values), figures.logLikelihood?.value]))
    let points: Record<string, unknown>[] = [{}]
    for (const [option, values] of Object.entries(options))
      points = points.flatMap(point => values.map(value => ({ ...point, [option]: value })))
    // A run that failed counts as the worst of all.
    const losses = points.map(point => Number((-(found.get(JSON.stringify(point)) ?? -100)).toPrecision(5)))
    surfaces.push({ name, options, losses })
    console.log(name, points.length, Math.min(...losses), Math.max(...losses))
  }
  await writeFile(
    'test/fixtures/sweep/surfaces.json',
    `${surfaces.map((surface, i) => `${i === 0 ? '[' : ','}${JSON.stringify(surface)}`).join('\n')}]\n`,
  )
} finally {
  await rm(folder, { recursive: true, force: true })
}
