import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  compareRuns,
  type DataNotice,
  evaluate,
  exportPrompt,
  generate,
  type LanguageModel,
  loadModel,
  probe,
  resume,
  search,
  summarizeRuns,
  tune,
} from '../../src/index.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
const at = (...names: string[]) => join(folder, ...names)

let model: LanguageModel
let run: Awaited<ReturnType<typeof tune>>
let found: Awaited<ReturnType<typeof search>>
const stopped = at('runs', 'stopped')
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...toyConfig(folder, { train: { steps: 10 }, threads: 1 }), out: at('runs', 'tuned') })
  mkdirSync(at('search-data'))
  const words = toySearch(at('search-data'), { search: { steps: 2, searchWidth: 4, topk: 4 } })
  found = await search({ ...words, out: at('runs', 'found') })
  await stopAfter(6, stopped, {})
})
afterAll(() => model.dispose())

/** A run that is stopped after so many steps, with two dev evaluations behind it. */
async function stopAfter(steps: number, out: string, options: object) {
  const controller = new AbortController()
  const train = { steps: 20, evaluateEvery: 2, checkpointEvery: 1, learningRate: 0.01 }
  const onEvent = ({ event, ...about }: { event: string; step?: number | undefined }) => {
    if (event === 'step' && about.step === steps) controller.abort()
  }
  const config = { ...toyConfig(folder, { train, threads: 1, ...options }), out }
  expect(await problemOf(tune(config, { onEvent, signal: controller.signal }))).toMatchObject({ code: 'aborted' })
}

const file = (name: string, count: number, from = 0) => {
  writeFileSync(
    at(name),
    `${toyRows(count + from)
      .slice(from)
      .join('\n')}\n`,
  )
  return at(name)
}

test('a file is never written under a name that says something else', async () => {
  const data = file('named.tsv', 8)
  const before = readFileSync(data, 'utf8')
  const asked = { model, prompt: run, data }
  const refused = [
    evaluate({ ...asked, report: data }),
    evaluate({ ...asked, rows: at('rows.csv') }),
    compareRuns([run, run], { report: data }),
    generate.toFile({ model, prompt: run, input: data, output: at('answers.csv') }),
  ]
  for (const one of refused) expect(await problemOf(one)).toMatchObject({ code: 'unknown-format' })
  expect(readFileSync(data, 'utf8')).toBe(before)
})

describe('evaluations of a run', () => {
  test('stand side by side, and the page of the run lists them all', async () => {
    const data = file('own.tsv', 16)
    const first = await evaluate({ prompt: run, model, data, keep: true, control: true })
    const few = await evaluate({ prompt: run, model, data, keep: true, limit: 4 })
    mkdirSync(at('other'))
    const elsewhere = await evaluate({ prompt: run, model, data: file('other/own.tsv', 10), keep: true })
    const files = [first, few, elsewhere].map(({ rowsFile }) => rowsFile!)
    expect(new Set(files).size).toBe(3)
    expect(files.map(path => readFileSync(path, 'utf8').trimEnd().split('\n').length)).toEqual([16, 4, 10])
    const again = await evaluate({ prompt: run, model, data, keep: true, limit: 4 })
    expect(again.rowsFile).toBe(few.rowsFile)
    const page = readFileSync(join(run.folder, 'report.html'), 'utf8')
    for (const { report } of [first, few, elsewhere]) expect(page).toContain(`evaluations/${report!.split('/').at(-1)}`)
    expect(page).toContain('rows at most 4')
    expect(first.verdict).toMatchObject({ condition: 'the tuned prompt', baseline: 'the base model with its instruction' })
    const kept = JSON.parse(readFileSync(first.rowsFile!.replace('.jsonl', '.json'), 'utf8'))
    expect(kept.outcome.verdict).toEqual(first.verdict)
  })

  test('by generation read the texts that another one has', async () => {
    const data = file('generated.tsv', 6)
    const one = await evaluate({ prompt: run, model, data, keep: true, limit: 4, generate: true, maxNewTokens: 2 })
    const all = await evaluate({ prompt: run, model, data, keep: true, generate: true, maxNewTokens: 2 })
    // Answers against another prompt, or another strength of it, are another evaluation.
    const against = { prompt: run, model, data, keep: true, limit: 4, maxNewTokens: 2, against: run }
    const opposed = [await evaluate({ ...against, contrast: 1 }), await evaluate({ ...against, contrast: 2 })]
    expect(new Set([one, ...opposed].map(({ rowsFile }) => rowsFile)).size).toBe(3)
    expect(opposed.map(({ generated }) => generated!.resumed)).toEqual([0, 0])
    expect(readFileSync(opposed[0]!.report as string, 'utf8')).toContain('contrast')
    expect(all.rowsFile).not.toBe(one.rowsFile)
    expect([one.generated!.resumed, all.generated!.resumed, all.rows]).toEqual([0, 4, 6])
  })

  test('that come to nothing leave no name behind', async () => {
    const data = file('nothing.tsv', 4)
    const controller = new AbortController()
    controller.abort()
    await problemOf(evaluate({ prompt: run, model, data, keep: true, signal: controller.signal }))
    const { rowsFile } = await evaluate({ prompt: run, model, data, keep: true, limit: 2 })
    expect(rowsFile).toBe(join(run.folder, 'evaluations', 'nothing.jsonl'))
  })

  test('of a file that is not there say so before anything is opened, kept in the run or not', async () => {
    for (const keep of [true, false])
      for (const data of [at('no.tsv'), folder])
        expect(await problemOf(evaluate({ prompt: run, data, keep }))).toMatchObject({ code: 'file-not-found' })
  })

  test('of rows without labels say so, and where such rows are answered', async () => {
    writeFileSync(at('unlabelled.tsv'), 'text\nthe wine\non stone\n')
    writeFileSync(at('unlabelled.jsonl'), '{"text": "the wine"}\n{"text": "on stone"}\n')
    for (const name of ['unlabelled.tsv', 'unlabelled.jsonl'])
      expect(await problemOf(evaluate({ prompt: run, model, data: at(name) }))).toMatchObject({
        code: 'no-labels',
        expected: expect.stringContaining('"label"'),
        hint: expect.stringContaining('gradprompt predict'),
      })
  })

  test('never take the place of other rows in a file that is named', async () => {
    const rows = at('named.jsonl')
    await evaluate({ prompt: run, model, data: file('a.tsv', 8), rows })
    const before = readFileSync(rows)
    const other = evaluate({ prompt: run, model, data: file('b.tsv', 8, 3), rows })
    expect(await problemOf(other)).toMatchObject({ code: 'file-exists' })
    expect(await problemOf(evaluate({ prompt: run, model, data: at('a.tsv'), limit: 2, rows }))).toMatchObject({
      code: 'file-exists',
    })
    writeFileSync(at('letter.jsonl'), 'Dear all\nnothing\n')
    const foreign = evaluate({ prompt: run, model, data: at('a.tsv'), rows: at('letter.jsonl') })
    expect(await problemOf(foreign)).toMatchObject({ code: 'invalid-results' })
    expect(readFileSync(rows)).toEqual(before)
  })

  test('warn of rows that were learned from, or searched over, however they are judged', async () => {
    const told = async (options: Parameters<typeof evaluate>[0]) => {
      const codes: string[] = []
      await evaluate({ ...options, model, onWarning: ({ code }) => codes.push(code) })
      return codes
    }
    const data = file('learned.tsv', 8)
    expect(await told({ prompt: run, data })).toContain('overlapping-rows')
    expect(await told({ prompt: run, data, generate: true, maxNewTokens: 1 })).toContain('overlapping-rows')
    const { train } = found.config.data
    expect(await told({ prompt: found, data: train })).toContain('overlapping-rows')
    expect(await told({ prompt: found, data: [{ text: 'never seen', label: '0' }] })).not.toContain('overlapping-rows')
  })
})

describe('a run that was stopped', () => {
  test('can be evaluated, generated with and exported, which is said', async () => {
    const notices: DataNotice[] = []
    const onWarning = (notice: DataNotice) => notices.push(notice)
    const evaluated = await evaluate({ prompt: stopped, model, data: file('s.tsv', 8), onWarning })
    expect(evaluated.rows).toBe(8)
    await generate({ prompt: stopped, model, inputs: [{ text: 'the wine' }], maxNewTokens: 2, onWarning })
    await exportPrompt(stopped, { to: 'peft', out: at('stopped-peft'), model, onWarning })
    const said = notices.filter(({ code }) => code === 'unfinished-run').map(({ message }) => message)
    expect(said).toHaveLength(3)
    expect(said[0]).toMatch(/has not ended: what is used is its best checkpoint so far, of step \d+; npx gradprompt resume/)
    // The questions do not fit into this model's context: it comes as far as asking them.
    expect(await problemOf(probe({ run: stopped, model, limit: 3, onWarning }))).toMatchObject({ code: 'context-exceeded' })
    expect(notices.filter(({ code }) => code === 'unfinished-run')).toHaveLength(4)
  })

  test('uses what dev prefers, as the run itself would have kept it', async () => {
    const { tensors } = (
      await import('../../src/sources/run.js').then(({ readLearnedRun }) => readLearnedRun(stopped, { unfinished: true }))
    ).prompt
    const { CheckpointStore } = await import('../../src/store/checkpoints.js')
    const store = new CheckpointStore(join(stopped, 'checkpoints'))
    const latest = (await store.latest())!
    const best = await store.read(latest.bestStep!)
    expect(tensors[0]!.data).toEqual(best.tensors.find(({ name }) => name === 'parameter:prompt')!.data)
  })

  test('of a method without rows at the input, too', async () => {
    const out = at('runs', 'prefix')
    await stopAfter(3, out, { method: { type: 'prefix-tuning', numVirtualTokens: 2 } })
    const codes: string[] = []
    await evaluate({ prompt: out, model, data: file('p.tsv', 4), onWarning: ({ code }) => codes.push(code) })
    expect(codes).toContain('unfinished-run')
  })

  test('without a checkpoint has no prompt yet', async () => {
    const empty = at('runs', 'empty')
    cpSync(stopped, empty, { recursive: true })
    rmSync(join(empty, 'checkpoints'), { recursive: true })
    expect(await problemOf(evaluate({ prompt: empty, model, data: file('s.tsv', 8) }))).toMatchObject({
      code: 'run-not-finished',
    })
    rmSync(empty, { recursive: true })
  })
})

describe('what a search has found', () => {
  test('is exported as text: the words exactly, and a page with the text around them', async () => {
    const out = at('words')
    const { files } = await exportPrompt(found, { to: 'text', out })
    expect(files).toEqual([
      'README.md',
      'dspy.json',
      'langchain.json',
      'openai.json',
      'prompt.json',
      'prompt.txt',
      'promptfooconfig.yaml',
    ])
    expect(readFileSync(join(out, 'prompt.txt'), 'utf8')).toBe(found.result.prompt)
    const page = readFileSync(join(out, 'README.md'), 'utf8')
    expect(page).toContain(`{text}${found.result.prompt} -`)
    expect(page).toContain(found.result.verdict!.text)
    await exportPrompt(found.folder, { to: 'text', out: at('same-words') })
    expect(readFileSync(at('same-words', 'README.md'), 'utf8')).toBe(page)
    expect(await problemOf(exportPrompt(found.folder, { to: 'peft', out: at('no') }))).toMatchObject({ code: 'not-exportable' })
  })

  test('has a verdict against its first prompt', () => {
    expect(found.result.verdict).toMatchObject({ condition: 'the found prompt', baseline: 'the first prompt', rowsOf: 'test' })
  })
})

test('an adapter stands for a prompt, on the model that it names', async () => {
  const adapter = at('adapter')
  await exportPrompt(run, { to: 'peft', out: adapter, model })
  const [own] = await generate({
    prompt: run,
    model,
    inputs: [{ prompt: 'the wine -' }],
    maxNewTokens: 3,
    weights: 'fp32',
    raw: true,
  })
  const [same] = await generate({
    prompt: adapter,
    inputs: [{ prompt: 'the wine -' }],
    maxNewTokens: 3,
    weights: 'fp32',
    threads: 1,
  })
  expect(same!.ids).toEqual(own!.ids)
  const texts = { template: '{text} -', answer: ' {label}', columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
  const { metrics } = await evaluate({ prompt: adapter, data: file('a.tsv', 8), threads: 1, ...texts })
  expect(metrics).toEqual((await evaluate({ prompt: run, model, data: at('a.tsv') })).metrics)
})

describe('a run that is moved', () => {
  const begun = at('first')
  beforeAll(async () => {
    mkdirSync(join(begun, 'data'), { recursive: true })
    writeFileSync(join(begun, 'data', 'train.tsv'), `${toyRows(24).join('\n')}\n`)
    const { data } = toyConfig(folder)
    await stopAfter(4, join(begun, 'run'), { data: { ...data, train: join(begun, 'data', 'train.tsv') } })
  })

  test('with its data goes on', async () => {
    cpSync(begun, at('second'), { recursive: true })
    renameSync(join(begun, 'data'), join(begun, 'gone'))
    try {
      const { result } = await resume(at('second', 'run'))
      expect(result).toMatchObject({ steps: 20, folder: at('second', 'run') })
    } finally {
      renameSync(join(begun, 'gone'), join(begun, 'data'))
    }
  })

  test('without its data says what is missing, and goes on when told where it is', async () => {
    const alone = at('third', 'deeper', 'run')
    cpSync(join(begun, 'run'), alone, { recursive: true })
    mkdirSync(at('elsewhere'))
    renameSync(join(begun, 'data', 'train.tsv'), at('elsewhere', 'rows.tsv'))
    expect(await problemOf(resume(alone))).toMatchObject({
      code: 'file-not-found',
      message: `the train rows of ${alone} cannot be found`,
      hint: `npx gradprompt resume ${alone} --train PATH says where it is now`,
    })
    const config = join(alone, 'config.yaml')
    const before = readFileSync(config, 'utf8')
    writeFileSync(config, before.replace(/^data:\n/m, 'data:\n  test: gone/test.tsv\n'))
    expect(await problemOf(evaluate({ prompt: alone, keep: true }))).toMatchObject({
      code: 'file-not-found',
      hint: expect.stringContaining('--data FILE'),
    })
    writeFileSync(config, before)
    const { result } = await resume(alone, { data: { train: at('elsewhere', 'rows.tsv') } })
    expect(result.steps).toBe(20)
  })
})

test('runs are listed with what they came to, the latest first', async () => {
  const { runs, unreadable } = await summarizeRuns(at('runs'))
  expect(unreadable).toEqual([])
  expect(runs.map(({ name }) => name)).toEqual(['prefix', 'stopped', 'found', 'tuned'])
  const [prefix, , words, tuned] = runs
  expect(prefix).toMatchObject({ kind: 'tune', state: 'stopped', method: 'prefix-tuning', steps: 3 })
  expect(words).toMatchObject({ kind: 'search', state: 'finished', method: 'gcg', metric: { name: 'accuracy', of: 'test' } })
  expect(tuned).toMatchObject({ state: 'finished', hasReport: true, verdict: run.result.verdict!.outcome })
  expect(tuned!.evaluations).toBeGreaterThan(3)
  expect(await summarizeRuns(at('nowhere'))).toEqual({ runs: [], unreadable: [] })
})

test('free text is answered at each dev evaluation, and the page shows how', async () => {
  const train = { steps: 4, evaluateEvery: 2, samples: 2, batchSize: 4 }
  const { data, ...config } = toyConfig(folder, { train, threads: 1, answerType: 'text' })
  const { labels: _, ...rows } = data
  const events: { event: string; samples?: readonly { input: string; answer: string; text: string }[] }[] = []
  const text = await tune({ ...config, data: rows, out: at('free') }, { onEvent: event => events.push(event) })
  const samples = events.filter(({ event }) => event === 'samples')
  expect(samples).toHaveLength(2)
  expect(samples[0]!.samples).toHaveLength(2)
  expect(samples[0]!.samples![0]).toMatchObject({ answer: expect.stringMatching(/^[01]$/), text: expect.any(String) })
  expect(text.result.verdict).toMatchObject({ test: 'bootstrap', measure: 'logLikelihood' })
  expect(readFileSync(at('free', 'report.html'), 'utf8')).toContain('Answers on the way')
  expect(existsSync(at('free', 'start.safetensors'))).toBe(true)
})
