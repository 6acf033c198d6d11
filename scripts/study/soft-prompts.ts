/**
 * The table of docs/methods.md: every soft-prompt method at its defaults, on few examples, beside the controls.
 *
 *     node dist/scripts/study/soft-prompts.js [--tasks sst2,agnews] [--methods dept,…] [--seeds 13,21,42] [--steps 150] [--out runs/study]
 *
 * Each run is a process of its own, so that its memory is its own; one that is finished is not run again. The same 600 rows of the
 * test file are scored for all; nothing is chosen on them.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { ConfigInput } from '../../src/config/schema.js'
import { shuffle } from '../../src/data/random.js'
import { readRecords } from '../../src/data/read.js'
import { escapeTemplate } from '../../src/data/template.js'
import { evaluate } from '../../src/evaluate/evaluate.js'
import { type MetricValue, wilsonInterval } from '../../src/evaluate/intervals.js'
import { methodSchemas, promptMethods } from '../../src/prompts/index.js'
import { replaceText } from '../../src/runs/atomic.js'
import { tune } from '../../src/train/tune.js'

const TEST_ROWS = 600

interface Task {
  readonly column: string
  readonly template: string
  readonly instruction: string
  readonly labels: Readonly<Record<string, string>>
  /** Examples of each class in the in-context control. */
  readonly shots: number
}

const tasks: Readonly<Record<string, Task>> = {
  sst2: {
    column: 'sentence',
    template: 'Review: {sentence}\nSentiment:',
    instruction: 'Classify the sentiment of the movie review as negative or positive.',
    labels: { 0: 'negative', 1: 'positive' },
    shots: 4,
  },
  agnews: {
    column: 'text',
    template: 'Article: {text}\nTopic:',
    instruction: 'Classify the topic of the news article as world, sports, business or technology.',
    labels: { 0: 'world', 1: 'sports', 2: 'business', 3: 'technology' },
    shots: 2,
  },
}

interface Outcome {
  readonly accuracy: MetricValue
  readonly secondsPerStep?: number
  readonly parameters?: number
  readonly peakMemoryBytes: number
}

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: Object.keys(tasks).join() },
    methods: { type: 'string', default: ['zero-shot', 'few-shot', ...promptMethods.keys()].join() },
    seeds: { type: 'string', default: '13,21,42' },
    steps: { type: 'string', default: '150' },
    model: { type: 'string', default: 'models/smollm2-135m-instruct' },
    out: { type: 'string', default: 'runs/study' },
    job: { type: 'string' },
  },
})

/** One run: learns, scores, and leaves what came of it in a file. */
async function job(taskName: string, method: string, seed: string): Promise<void> {
  const task = tasks[taskName]!
  const examples = join('examples', taskName, '16-shot', `seed-${seed}`)
  const test = join(values.out, `${taskName}-test.tsv`)
  const answer = ' {label}'
  const common = { model: values.model, template: task.template, answer, labels: task.labels }
  const outcome = async (): Promise<Outcome> => {
    if (method === 'zero-shot' || method === 'few-shot') {
      const shown =
        method === 'zero-shot' ? `${task.instruction}\n` : await inContext(task, join(examples, 'train.tsv'), Number(seed))
      const { metrics } = await evaluate({
        ...common,
        data: test,
        template: escapeTemplate(shown) + task.template,
        truncate: true,
      })
      return { accuracy: metrics.accuracy!, peakMemoryBytes: memory() }
    }
    const folder = join(values.out, `${taskName}-${method}-${seed}`)
    rmSync(folder, { recursive: true, force: true })
    const steps: number[] = []
    const run = await tune(
      {
        model: values.model,
        data: { train: join(examples, 'train.tsv'), dev: join(examples, 'dev.tsv'), labels: task.labels },
        template: task.template,
        answer,
        method: { type: method, ...startingText(method, task.instruction) } as ConfigInput['method'],
        train: { steps: Number(values.steps), batchSize: 16, evaluateEvery: 25 },
        control: { instruction: task.instruction },
        seed: Number(seed),
        out: folder,
      },
      { onEvent: event => event.event === 'step' && steps.push(16 / event.rowsPerSecond) },
    )
    const { metrics } = await evaluate({ ...common, data: test, prompt: run.folder, truncate: true })
    steps.sort((a, b) => a - b)
    return {
      accuracy: metrics.accuracy!,
      secondsPerStep: steps[steps.length >> 1]!,
      parameters: run.result.parameters,
      peakMemoryBytes: memory(),
    }
  }
  await replaceText(resultPath(taskName, method, seed), JSON.stringify(await outcome()))
}

/** Methods whose rows start by words start from the instruction. */
function startingText(method: string, text: string): object {
  const schema = methodSchemas.find(({ shape }) => shape.type.value === method)!
  const defaults = schema.parse({ type: method }) as { init?: { type: string } }
  return defaults.init?.type === 'vocabulary' ? { init: { type: 'text', text } } : {}
}

/** The same examples of each class for every row, in an order drawn by seed. */
async function inContext({ template, labels, column, shots }: Task, file: string, seed: number): Promise<string> {
  const { records } = await readRecords(file)
  const chosen = Object.keys(labels).flatMap(label => records.filter(record => record.label === label).slice(0, shots))
  return shuffle(chosen, seed)
    .map(record => `${template.replace(`{${column}}`, () => record[column]!)} ${labels[record.label!]}\n\n`)
    .join('')
}

const resultPath = (task: string, method: string, seed: string) => join(values.out, `${task}-${method}-${seed}.json`)

/** The most that this process has held, mapped files included. */
const memory = () => process.resourceUsage().maxRSS * 1024

function table(): void {
  mkdirSync(values.out, { recursive: true })
  for (const taskName of values.tasks.split(',')) {
    const test = join(values.out, `${taskName}-test.tsv`)
    if (!existsSync(test)) {
      const [header, ...lines] = readFileSync(
        taskName === 'sst2' ? 'examples/sst2/16-shot/test.tsv' : `examples/${taskName}/test.tsv`,
        'utf8',
      )
        .trimEnd()
        .split('\n')
      writeFileSync(test, `${[header, ...shuffle(lines, 13).slice(0, TEST_ROWS)].join('\n')}\n`)
    }
    for (const seed of values.seeds.split(','))
      for (const method of values.methods.split(',')) {
        if (existsSync(resultPath(taskName, method, seed))) continue
        console.error(`${taskName} ${method} ${seed}`)
        const args = [
          '--job',
          [taskName, method, seed].join('/'),
          '--steps',
          values.steps,
          '--out',
          values.out,
          '--model',
          values.model,
        ]
        const { status, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...args], { encoding: 'utf8' })
        if (status !== 0) console.error(`  failed: ${stderr.trim().split('\n').slice(-3).join(' | ')}`)
      }
    console.log(markdown(taskName))
  }
}

/** Pooled over the seeds: as many rows as all of them scored. */
function markdown(taskName: string): string {
  const lines = [
    `| ${taskName} | accuracy (95 % interval) | by seed | numbers | s/step | peak memory |`,
    '|---|---|---|---|---|---|',
  ]
  for (const method of values.methods.split(',')) {
    const found = values.seeds
      .split(',')
      .map(seed => resultPath(taskName, method, seed))
      .filter(path => existsSync(path))
      .map(path => JSON.parse(readFileSync(path, 'utf8')) as Outcome)
    if (found.length === 0) continue
    const right = found.reduce((sum, { accuracy }) => sum + Math.round(accuracy.value * TEST_ROWS), 0)
    const { low, high } = wilsonInterval(right, TEST_ROWS * found.length)
    const percent = (x: number) => (100 * x).toFixed(1)
    const middle = (of: (outcome: Outcome) => number | undefined) => {
      const all = found.map(of).filter(x => x !== undefined)
      return all.length === 0 ? undefined : all.sort((a, b) => a - b)[all.length >> 1]
    }
    lines.push(
      `| ${[
        method,
        `${percent(right / TEST_ROWS / found.length)} (${percent(low)} to ${percent(high)})`,
        found.map(({ accuracy }) => percent(accuracy.value)).join(', '),
        middle(({ parameters }) => parameters) ?? '',
        middle(({ secondsPerStep }) => secondsPerStep)?.toFixed(2) ?? '',
        `${((middle(({ peakMemoryBytes }) => peakMemoryBytes) ?? 0) / 1e9).toFixed(2)} GB`,
      ].join(' | ')} |`,
    )
  }
  return `${lines.join('\n')}\n`
}

if (values.job !== undefined) await job(...(values.job.split('/') as [string, string, string]))
else table()
