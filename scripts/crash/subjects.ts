import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packageRoot } from '../../src/package-root.js'

/** The runs that `npm run crash` kills: each in a process of its own, begun or resumed as its folder says. */

export interface Subject {
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
  /** Files of the run that have to be equal, byte for byte. */
  readonly files: readonly string[]
  /** Of them, those whose lines may stand in any order. */
  readonly sorted?: readonly string[]
  /** Hears that a run begins from nothing, and that one was killed. */
  readonly begun?: () => void
  readonly killed?: (out: string) => void
  /** What was seen besides that should not have been. */
  readonly problems?: () => string[]
}

export const toyModel = join(packageRoot(), 'test', 'fixtures', 'models', 'llama-gqa')
const common = { model: toyModel, threads: 1, seed: 7 }
const vocabulary = [' t', ' a', ' the', ' s', ' w', ' o', ' of', ' and']

export const search = (options: Readonly<Record<string, unknown>>) => ({
  ...common,
  template: '{text}{prompt} -',
  answer: ' {label}',
  search: { prompt: ' t t t', vocabulary, questions: 6, checkpointEvery: 2, evaluateEvery: 3, ...options },
})

export const subjects: readonly Subject[] = [
  {
    name: 'tune',
    config: {
      ...common,
      template: '{text} -',
      answer: ' {label}',
      method: { type: 'prompt-tuning', numVirtualTokens: 4 },
      train: { steps: 120, batchSize: 8, learningRate: 0.1, evaluateEvery: 15, checkpointEvery: 4 },
    },
    files: ['prompt.safetensors', 'start.safetensors', 'config.yaml'],
  },
  {
    name: 'greater',
    config: search({ type: 'greater', topk: 8, extractor: ' =', maxNewTokens: 6, steps: 12, weights: 'fp32' }),
    files: ['prompt.json', 'reasoning.jsonl', 'config.yaml'],
  },
  { name: 'gcg', config: search({ type: 'gcg', searchWidth: 16, topk: 8, steps: 30 }), files: ['prompt.json', 'config.yaml'] },
]

export interface CrashRun {
  readonly subject: Subject
  readonly out: string
  readonly config: string
}

let runs = 0

/** A run that nobody has begun. @param folder where it and its data stand */
export function newRun(subject: Subject, folder: string): CrashRun {
  const data = join(folder, 'rows.tsv')
  const rows = Array.from({ length: 40 }, (_, i) => `${i % 2 === 0 ? 'wine' : 'stone'} ${i}\t${i % 2}`)
  writeFileSync(data, `${rows.join('\n')}\n`)
  subject.begun?.()
  const out = join(folder, `${subject.name}-${runs++}`)
  const read = { train: data, split: { dev: 12, test: 4 }, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
  const path = `${out}.json`
  writeFileSync(path, JSON.stringify({ ...subject.config, data: read, out }))
  return { subject, out, config: path }
}

// The built package, as its users run it: a process of its own that can be killed.
const script = `
import { existsSync, readFileSync } from 'node:fs'
import { resume, search, tune } from ${JSON.stringify(pathToFileURL(join(packageRoot(), 'dist', 'src', 'index.js')).href)}
const config = JSON.parse(readFileSync(process.argv[1], 'utf8'))
const onEvent = () => process.stdout.write('.')
const begin = 'search' in config ? search : tune
await (existsSync(config.out + '/config.yaml') ? resume(config.out, { onEvent }) : begin(config, { onEvent }))
`

/**
 * Begins or resumes a run, and kills it after so many events and then so many milliseconds; otherwise it comes to its end.
 * @returns whether it was killed, and of how many events it told
 * @throws Error what the run says when it fails
 */
export function work(
  { config }: CrashRun,
  kill?: { readonly events: number; readonly milliseconds: number },
): Promise<{ readonly killed: boolean; readonly events: number }> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, config], { stdio: ['ignore', 'pipe', 'pipe'] })
    let events = 0
    let problem = ''
    let timer: NodeJS.Timeout | undefined
    const arm = () => {
      if (kill !== undefined && events >= kill.events) timer ??= setTimeout(() => child.kill('SIGKILL'), kill.milliseconds)
    }
    arm()
    child.stdout.on('data', (bytes: Buffer) => {
      events += bytes.length
      arm()
    })
    child.stderr.on('data', (bytes: Buffer) => {
      problem += bytes
    })
    child.on('error', fail)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (signal === null && code !== 0) fail(new Error(`${config}: ${problem}`))
      else done({ killed: signal === 'SIGKILL', events })
    })
  })
}

/** What differs between two runs that have ended: files, the result, or the course of the steps; not how long they took. */
export function differences(one: CrashRun, other: CrashRun): string[] {
  const files = one.subject.files.filter(name => bytesOf(one, name) !== bytesOf(other, name))
  const problems = one.subject.problems?.() ?? []
  const results = timeless(resultOf(one)) === timeless(resultOf(other)) ? [] : ['result.json']
  const courses = courseOf(one) === courseOf(other) ? [] : ['events.jsonl']
  return [...files, ...results, ...courses, ...problems]
}

/** The config names the run's own folder. */
const bytesOf = ({ subject, out }: CrashRun, name: string): string => {
  const path = join(out, name)
  if (!existsSync(path)) return 'none'
  const text = readFileSync(path, 'latin1').replaceAll(out, 'OUT')
  return subject.sorted?.includes(name) ? text.split('\n').sort().join('\n') : text
}

const resultOf = ({ out }: CrashRun): unknown => JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as unknown

const courseOf = ({ out }: CrashRun): string =>
  readFileSync(join(out, 'events.jsonl'), 'utf8')
    .split('\n')
    .filter(line => /"event":"(step|dev|initial)"/.test(line))
    .map(line => timeless(JSON.parse(line) as unknown))
    .join('\n')

const ofTime = /seconds|perSecond|memory|folder|rowsPerSecond|cost/i

const timeless = (value: unknown): string => JSON.stringify(value, (key, each: unknown) => (ofTime.test(key) ? undefined : each))
