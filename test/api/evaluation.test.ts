import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  compareRuns,
  type EvaluateOptions,
  evaluate,
  type LanguageModel,
  listRuns,
  loadModel,
  readRun,
  search,
  tune,
} from '../../src/index.js'
import { command } from '../cli/command.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let model: LanguageModel
let run: Awaited<ReturnType<typeof tune>>
let found: Awaited<ReturnType<typeof search>>
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...toyConfig(folder, { train: { steps: 10 }, threads: 1 }), out: join(folder, 'runs', 'tuned') })
  const words = toySearch(folder, { search: { steps: 2, searchWidth: 4, topk: 4 } })
  found = await search({ ...words, out: join(folder, 'runs', 'found') })
})
afterAll(() => model.dispose())

const rows = toyRows(16).map(line => {
  const [text, label] = line.split('\t') as [string, string]
  return { text, label }
})
const path = join(folder, 'own.tsv')
writeFileSync(path, `${toyRows(16).join('\n')}\n`)

test('the library says what the command prints', async () => {
  const printed = await command(['evaluate', run.folder, '--data', path, '--threads', '1', '--json'])
  const {
    event: _,
    seconds: __,
    rowsPerSecond: ___,
    results: file,
    report,
    ...known
  } = printed.lines.at(-1)! as Record<string, unknown>
  const own = await evaluate({ prompt: run.folder, data: path, control: true, keep: true, threads: 1 })
  const { predictions, results, rowsFile, seconds, rowsPerSecond, control, ...figures } = own
  const { results: controlRows, ...controlFigures } = control!
  expect({ ...figures, report: undefined, control: controlFigures }).toEqual({ ...known, report: undefined })
  expect([rowsFile, figures.report]).toEqual([file, report])
  expect([seconds, rowsPerSecond].every(x => x > 0)).toBe(true)
  expect(predictions).toHaveLength(16)
  const lines = readFileSync(rowsFile!, 'utf8').trimEnd().split('\n')
  expect(lines.map(line => JSON.parse(line))).toEqual(JSON.parse(JSON.stringify(results)))
  expect(controlRows).toHaveLength(16)
  expect(readFileSync(report as string, 'utf8')).toContain('<!doctype html>')
})

test('rows come from a list, an iterator or a stream', async () => {
  const { metrics } = await evaluate({ model, prompt: run, data: path, columns: ['text', 'label'] })
  async function* stream() {
    yield* rows
  }
  for (const data of [rows, new Set(rows), stream()])
    expect((await evaluate({ model, prompt: run, data })).metrics).toEqual(metrics)
  const missing = await problemOf(evaluate({ model, prompt: run, data: [{ txt: 'x', label: '0' }] }))
  expect(missing).toMatchObject({ code: 'missing-column', message: expect.stringContaining('rows in memory.jsonl:1') })
})

test('a control: the base model beside vectors, the first prompt beside what a search has found', async () => {
  const beside = await evaluate({ model, prompt: run, data: rows, control: true, instruction: 'Say the or of.' })
  expect(beside).toMatchObject({ condition: 'tuned', control: { name: 'base model, instructed', instruction: 'Say the or of.' } })
  const told = { model, data: rows, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
  const alone = await evaluate({ ...told, instruction: 'Say the or of.' })
  expect(beside.control!.metrics).toEqual(alone.metrics)
  const words = await evaluate({ model, prompt: found, data: rows, control: true })
  expect(words).toMatchObject({ condition: 'found prompt', control: { name: 'first prompt', instruction: null } })
  const first = await evaluate({ ...told, template: `{text}${found.result.initial.prompt} -` })
  expect(words.control!.metrics).toEqual(first.metrics)
  const unread = evaluate({ model, prompt: run, data: rows, instruction: 'Say the or of.' })
  expect(await problemOf(unread)).toMatchObject({ code: 'invalid-option' })
})

test('a config says what rows are, in the place of a run', async () => {
  const { out: _, ...config } = toyConfig(folder)
  const { metrics } = await evaluate({ config, model, data: path })
  const own = { template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
  expect(metrics).toEqual((await evaluate({ model, data: rows, ...own })).metrics)
})

describe('answers that are generated', () => {
  const asked = { template: '{text} -', answer: ' {label}', maxNewTokens: 3, weights: 'fp32' } satisfies Partial<EvaluateOptions>

  test('are read and scored: by the task, by a function, by a scorer, by a file', async () => {
    const { generated, results, metrics } = await evaluate({ model, prompt: run, data: rows, maxNewTokens: 3, weights: 'fp32' })
    expect(generated).toMatchObject({ task: 'classification', weights: 'fp32', resumed: 0 })
    expect(results).toHaveLength(16)
    expect(metrics).toHaveProperty('accuracy')
    const length = (_: unknown, text: string) => text.length
    const byFunction = await evaluate({ model, data: rows, ...asked, scorer: length })
    const texts = byFunction.results.map(({ text }) => text!.length)
    expect(byFunction.results.map(({ score }) => score)).toEqual(texts)
    const scorer = { name: 'length', score: length }
    expect((await evaluate({ model, data: rows, ...asked, scorer })).metrics).toEqual(byFunction.metrics)
    const file = join(folder, 'length.mjs')
    writeFileSync(file, 'export default (row, text) => text.length\n')
    expect((await evaluate({ model, data: rows, ...asked, scorer: file })).metrics).toEqual(byFunction.metrics)
    expect(await problemOf(evaluate({ model, data: rows, ...asked, scorer: 'f2' }))).toMatchObject({ code: 'unknown-scorer' })
  })

  test('are kept: another function reads them anew, and nothing is generated twice', async () => {
    const file = join(folder, 'rows.jsonl')
    const options = { model, data: rows, ...asked, rows: file }
    const first = await evaluate({ ...options, scorer: () => 1 })
    expect(first.generated).toMatchObject({ resumed: 0 })
    expect(first.rowsFile).toBe(file)
    const second = await evaluate({ ...options, scorer: () => 0 })
    expect(second.generated).toMatchObject({ resumed: 16, generatedTokens: 0 })
    expect(second.metrics.score!.value).toBe(0)
  })

  test('behind examples, which may be in memory, and of a benchmark', async () => {
    const examples = toyRows(48)
      .slice(16)
      .map((line, i) => ({ text: `${line.split('\t')[0]} ${i}`, label: line.split('\t')[1]! }))
    const shown = await evaluate({ model, data: rows, ...asked, examples, shots: 2, labels: { 0: 'the', 1: 'of' } })
    expect(shown.results[0]!.prompt!.match(/ -/g)).toHaveLength(3)
    const questions = [{ question: 'one and one', answer: '#### 2' }]
    const { generated } = await evaluate({ model, data: questions, task: 'gsm8k', maxNewTokens: 4, weights: 'fp32' })
    expect(generated).toMatchObject({ task: 'gsm8k', cut: expect.any(Number) })
    expect(await problemOf(evaluate({ model, data: questions, task: 'gsm9k' }))).toMatchObject({ code: 'unknown-task' })
  })
})

test('options that nothing reads, and an abort', async () => {
  const wrong = { model, prompt: run, data: rows, limt: 3 } as never
  expect(await problemOf(evaluate(wrong))).toMatchObject({ code: 'unknown-option', hint: 'did you mean limit?' })
  const stopped = evaluate({ model, prompt: run, data: rows, signal: AbortSignal.abort() })
  expect(await problemOf(stopped)).toMatchObject({ code: 'aborted', name: 'AbortError' })
})

describe('runs', () => {
  test('of both kinds are read and listed, and what is broken is named', async () => {
    const tuned = await readRun(run.folder)
    if (tuned.kind !== 'tune') throw new Error(tuned.kind)
    expect(tuned).toMatchObject({ config: run.config, result: run.result, prompt: run.prompt })
    expect((await tuned.events()).filter(({ event }) => event === 'step')).toHaveLength(10)
    const words = await readRun(found.folder)
    if (words.kind !== 'search') throw new Error(words.kind)
    const { prompt, ids } = found.result
    expect(words).toMatchObject({ result: found.result, prompt: { prompt, ids } })
    const parent = join(folder, 'runs')
    expect((await listRuns(parent)).runs.map(run => run.folder)).toEqual([found.folder, run.folder])
    const broken = join(parent, 'broken')
    const { mkdirSync } = await import('node:fs')
    mkdirSync(broken)
    writeFileSync(join(broken, 'config.yaml'), 'model: [')
    mkdirSync(join(parent, 'other'))
    const { runs, unreadable } = await listRuns(parent)
    expect(runs).toHaveLength(2)
    expect(unreadable).toMatchObject([{ folder: broken, error: { code: 'run-corrupt' } }])
    expect(await listRuns(join(folder, 'none'))).toEqual({ runs: [], unreadable: [] })
    expect(await problemOf(readRun(join(parent, 'other')))).toMatchObject({ code: 'not-a-run' })
  })

  test('are compared in pairs', async () => {
    const other = await tune({ ...toyConfig(folder, { train: { steps: 4 }, threads: 1 }), out: join(folder, 'second') })
    const page = join(folder, 'compare.html')
    const { rows, comparisons, report } = await compareRuns([run, other.folder], { report: page })
    expect({ rows, names: comparisons.map(({ name }) => name) }).toEqual({ rows: 4, names: ['second'] })
    expect(report).toBe(page)
    expect(existsSync(page)).toBe(true)
    expect(await compareRuns([run, other.folder], { report: page })).toMatchObject({ report: page, replaced: true })
    const seeds = await compareRuns([run, { name: 'both', paths: [run.folder, other.folder] }])
    expect(seeds.conditions[1]).toMatchObject({ name: 'both', seeds: 2 })
    expect(await problemOf(compareRuns([run]))).toMatchObject({ code: 'missing-argument' })
    expect(await problemOf(compareRuns([run, join(folder, 'none')]))).toMatchObject({ code: 'file-not-found' })
    expect(await problemOf(compareRuns([run, run], { evaluaton: 'x' } as never))).toMatchObject({ code: 'unknown-option' })
  })
})
