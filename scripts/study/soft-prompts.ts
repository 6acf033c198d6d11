import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { type EvaluateResult, evaluate } from '../../src/api/evaluation/evaluate.js'
import { tune } from '../../src/api/tune.js'
import { readRecords } from '../../src/data/read.js'
import { escapeTemplate } from '../../src/data/texts/template.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { shuffle } from '../../src/random.js'
import { replaceText } from '../../src/store/atomic.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import { knownNames, scriptArguments } from '../arguments.js'
import { appendLine, readLines } from './lines.js'
import type { StudyRun } from './results.js'
import { hasNoSeed, markdownTable } from './table.js'
import { startingText, type Task, type TaskName, tasks } from './tasks.js'

const answer = ' {label}'
const controls = ['zero-shot', 'few-shot']
/** It learns the soft tokens of a template, and these tasks' templates have none. */
const withoutTask = 'soft-template'

const usage = `node dist/scripts/study/soft-prompts.js [--tasks ${Object.keys(tasks).join()}] [--methods dept,iapt] [--seeds 13,21]
    [--answer-end auto] [--model M] [--threads 1] [--out runs/study] [--results FILE.jsonl] [--docs FILE.md]
node dist/scripts/study/soft-prompts.js --table

The tables of docs/methods.md: every soft-prompt method at its defaults, beside the controls. Each run is a process of its own, so that its
memory is its own. What is finished is a line of --results; a run that has one with the same settings is not done again, so this goes on
where it was stopped. --table runs nothing and writes what there is into --docs. The same test rows are scored for all, once; nothing is
chosen on them.`

const { values } = scriptArguments(usage, {
  tasks: { type: 'string', default: Object.keys(tasks).join() },
  methods: { type: 'string' },
  seeds: { type: 'string' },
  // The tables are of runs that learned none.
  'answer-end': { type: 'string', default: 'none' },
  model: { type: 'string', default: 'models/smollm2-135m-instruct' },
  threads: { type: 'string' },
  out: { type: 'string', default: 'runs/study' },
  results: { type: 'string', default: 'scripts/study/results/soft-prompts.jsonl' },
  docs: { type: 'string', default: 'docs/methods.md' },
  table: { type: 'boolean', default: false },
  job: { type: 'string' },
})

/** What `tune` is asked: the method at its defaults. */
function configOf(task: Task, method: string, seed: number, out?: string): ConfigInput {
  const { columns, ...data } = task.data(seed)
  return {
    model: values.model,
    data: { ...data, labels: task.labels, ...(columns && { columns }) },
    template: task.template,
    answer,
    answerEnd: values['answer-end'],
    method: { type: method, ...startingText(method, task.instruction) } as ConfigInput['method'],
    train: { steps: task.steps, batchSize: 16, evaluateEvery: task.evaluateEvery },
    evaluate: { limit: task.devRows },
    control: { instruction: task.instruction },
    seed,
    ...(values.threads !== undefined && { threads: Number(values.threads) }),
    ...(out !== undefined && { out }),
  }
}

function settingsOf(task: Task, method: string, seed: number): StudyRun['settings'] {
  if (controls.includes(method)) return undefined
  const config = parseConfig(configOf(task, method, seed))
  const { answerEnd } = config
  const settings = {
    learningRate: config.train.learningRate,
    method: config.method,
    ...(answerEnd !== 'none' && { answerEnd }),
  }
  // As a line of the results has it.
  return JSON.parse(JSON.stringify(settings)) as StudyRun['settings']
}

const isRun = (run: StudyRun, name: TaskName, method: string, seed: number) =>
  run.task === name &&
  run.method === method &&
  (run.seed === seed || hasNoSeed(run)) &&
  (controls.includes(method) || run.steps === tasks[name].steps) &&
  isDeepStrictEqual(run.settings, settingsOf(tasks[name], method, seed))

/** One run: learns, scores, and adds its line. */
async function job(name: TaskName, method: string, seed: number): Promise<void> {
  const task: Task = tasks[name]
  const started = performance.now()
  const run = controls.includes(method) ? await control(name, task, method, seed) : await learned(name, task, method, seed)
  const line: StudyRun = {
    task: name,
    method,
    seed,
    ...run,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    seconds: Math.round((performance.now() - started) / 1000),
  }
  appendLine(values.results, line)
}

type Outcome = Omit<StudyRun, 'task' | 'method' | 'seed' | 'peakMemoryBytes' | 'seconds'>

async function control(name: TaskName, task: Task, method: string, seed: number): Promise<Outcome> {
  const shown = method === 'zero-shot' ? `${task.instruction}\n` : await inContext(task, seed)
  const template = escapeTemplate(shown) + task.template
  const result = await evaluate({
    model: values.model,
    data: testFile(name),
    ...namesOf(task),
    template,
    answer,
    labels: task.labels,
    truncate: true,
  })
  return { steps: 0, ...scores(result) }
}

async function learned(name: TaskName, task: Task, method: string, seed: number): Promise<Outcome> {
  const folder = join(values.out, `${name}-${method}-${seed}`)
  rmSync(folder, { recursive: true, force: true })
  const times: number[] = []
  let before = process.cpuUsage()
  const run = await tune(configOf(task, method, seed, folder), {
    onEvent: ({ event }) => {
      if (event === 'step') {
        const { user, system } = process.cpuUsage(before)
        times.push((user + system) / 1e6)
      }
      before = process.cpuUsage()
    },
  })
  const result = await evaluate({ prompt: run.folder, data: testFile(name), ...namesOf(task), truncate: true })
  times.sort((a, b) => a - b)
  return {
    steps: task.steps,
    settings: settingsOf(task, method, seed)!,
    dev: Object.fromEntries(Object.entries(run.result.metrics).map(([metric, { value }]) => [metric, rounded(value)])),
    bestStep: run.result.bestStep,
    ...scores(result),
    parameters: run.result.parameters,
    processorSecondsPerStep: rounded(times[times.length >> 1]!),
  }
}

function scores({ metrics, predictions }: EvaluateResult): Pick<StudyRun, 'test' | 'right'> {
  const values = Object.entries(metrics).map(
    ([name, { value, low, high }]) => [name, { value: rounded(value), low: rounded(low), high: rounded(high) }] as const,
  )
  return {
    test: Object.fromEntries(values),
    right: predictions!.map(({ label, predicted }) => (label === predicted ? '1' : '0')).join(''),
  }
}

const rounded = (x: number) => Number(x.toPrecision(5))

/** A file without a header needs names for its columns. */
const namesOf = (task: Task) => {
  const { columns } = task.data(task.seeds[0]!)
  return columns === undefined ? {} : { columns }
}

/** The same examples of each class for every row, in an order drawn by seed. */
async function inContext({ data, template, labels, column, shots }: Task, seed: number): Promise<string> {
  const { train, columns } = data(seed)
  const { records } = await readRecords(train, { columns })
  const chosen = Object.keys(labels).flatMap(label => records.filter(record => record.label === label).slice(0, shots))
  return shuffle(chosen, seed)
    .map(record => `${template.replace(`{${column}}`, () => record[column]!)} ${labels[record.label!]}\n\n`)
    .join('')
}

function testFile(name: TaskName): string {
  const { file, rows }: Task['test'] = tasks[name].test
  if (rows === undefined) return file
  const path = join(values.out, `${name}-test.tsv`)
  if (existsSync(path)) return path
  mkdirSync(values.out, { recursive: true })
  const [header, ...lines] = readFileSync(file, 'utf8').trimEnd().split('\n')
  writeFileSync(path, `${[header, ...shuffle(lines, 13).slice(0, rows)].join('\n')}\n`)
  return path
}

function runAll(): void {
  const methods = values.methods?.split(',') ?? [...controls, ...promptMethods.keys()].filter(method => method !== withoutTask)
  for (const name of knownNames(usage, '--tasks', values.tasks, Object.keys(tasks) as TaskName[]))
    for (const seed of values.seeds?.split(',').map(Number) ?? tasks[name].seeds)
      for (const method of methods) {
        if (readLines<StudyRun>(values.results).some(run => isRun(run, name, method, seed))) continue
        console.error(`${new Date().toISOString()} ${name} ${method} ${seed}`)
        const passed = (['model', 'out', 'results', 'answer-end'] as const).flatMap(option => [`--${option}`, values[option]])
        if (values.threads !== undefined) passed.push('--threads', values.threads)
        const args = [fileURLToPath(import.meta.url), '--job', [name, method, seed].join('/'), ...passed]
        const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        if (status !== 0) console.error(`  failed: ${stderr.trim().split('\n').slice(-3).join(' | ')}`)
      }
}

/** The runs at today's defaults, between the marks of the document. */
async function writeTables(): Promise<void> {
  const runs = readLines<StudyRun>(values.results)
  const tables = (Object.keys(tasks) as TaskName[]).flatMap(name => {
    const current = runs.filter(run => isRun(run, name, run.method, run.seed))
    return current.length === 0 ? [] : [markdownTable(tasks[name].title, current)]
  })
  const text = readFileSync(values.docs, 'utf8')
  const [begin, end] = ['<!-- study: begin -->', '<!-- study: end -->']
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${values.docs} has no place for the tables (${begin} … ${end})`)
  await replaceText(values.docs, `${text.slice(0, from + begin.length)}\n${tables.join('\n\n')}\n${text.slice(to)}`)
}

if (values.job !== undefined) {
  const [name, method, seed] = values.job.split('/') as [TaskName, string, string]
  await job(name, method, Number(seed))
} else if (values.table) await writeTables()
else runAll()
