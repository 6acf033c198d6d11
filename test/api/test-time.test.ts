import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EvaluateOptions, evaluate, type LanguageModel, loadModel, predict, type TuneRun, tune } from '../../src/index.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

/** Evaluating and predicting under a prompt that is tuned on each row: what is compared, what is kept, and what is refused. */

const { folder, remove } = temporaryFolder()
afterAll(remove)
let model: LanguageModel
let run: TuneRun
const train = { steps: 3, templates: ['It is {text} -'] }
const data = { train: join(folder, 'toy.tsv'), columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...toyConfig(folder, { data, train, threads: 1 }), out: join(folder, 'tuned') })
})
afterAll(() => model.dispose())

const rows = toyRows(8).map(line => {
  const [text, label] = line.split('\t') as [string, string]
  return { text: `${text} on the of it`, label }
})
const file = join(folder, 'test.jsonl')
writeFileSync(file, rows.map(row => `${JSON.stringify(row)}\n`).join(''))
const testTime = { views: 6, learningRate: 0.05 }
const scored = (options: Partial<EvaluateOptions> = {}) =>
  evaluate({ model, prompt: run, data: rows, control: true, testTime, ...options } as EvaluateOptions)

describe('an evaluation', () => {
  test('is held against the prompt as it was learned, and against the mean of the same views', async () => {
    const { condition, control, metrics, results, testTime: figures, predictions, verdict } = await scored()
    expect([condition, control?.name, figures?.averaged?.name]).toEqual(['tuned at test time', 'as learned', 'mean of the views'])
    expect(figures).toMatchObject({ views: 6, resumed: 0, how: expect.stringContaining('1 step of 0.05') })
    const plain = await evaluate({ model, prompt: run, data: rows })
    expect(control!.metrics.accuracy).toEqual(plain.metrics.accuracy)
    for (const name of ['logLikelihood', 'calibrationError'])
      expect(control!.metrics[name]!.value).toBeCloseTo(plain.metrics[name]!.value, 4)
    expect(Object.keys(metrics)).toEqual(Object.keys(plain.metrics))
    expect(metrics.logLikelihood!.value).not.toBeCloseTo(plain.metrics.logLikelihood!.value, 3)
    for (const [i, { testTime: own, correct }] of results.entries()) {
      const shares = [own!.averaged, own!.surest].map(list => list.reduce((sum, share) => sum + share, 0))
      for (const sum of shares) expect(sum).toBeCloseTo(1, 9)
      expect(predictions![i]!.logLikelihoods).toEqual(own!.after)
      expect(correct).toBe(predictions![i]!.predicted === predictions![i]!.label)
    }
    expect(verdict!.text).toContain('the prompt tuned at test time is')
    expect((await scored({ control: false })).control).toBeUndefined()
  })

  test('comes to the same in any order of the rows, to the bits, and another seed has other views', async () => {
    const first = await scored()
    const again = await scored({ data: [...rows].reverse() })
    const own = ({ results }: typeof first) => results.map(({ testTime }) => testTime)
    expect(own(again).reverse()).toEqual(own(first))
    expect(own(await scored({ seed: 14 }))).not.toEqual(own(first))
    // Labels are not read.
    const wrong = rows.map(({ text, label }) => ({ text, label: label === '0' ? '1' : '0' }))
    expect(own(await scored({ data: wrong }))).toEqual(own(first))
  })

  test('is that of predict, whose rows have no labels', async () => {
    const { predictions } = await scored()
    const answers: string[] = []
    const unlabelled = rows.map(({ text }) => ({ text }))
    for await (const { prediction, probabilities } of predict({ model, prompt: run, data: unlabelled, testTime })) {
      const [a, b] = predictions![answers.length]!.logLikelihoods as [number, number]
      expect(Object.values(probabilities!)[0]).toBeCloseTo(1 / (1 + Math.exp(b - a)), 9)
      answers.push(prediction)
    }
    expect(answers).toEqual(predictions!.map(({ predicted }) => predicted))
  })

  test('is kept apart by its settings, stopped at any row, and goes on to the same', async () => {
    const kept = (options: Partial<EvaluateOptions> = {}) => scored({ data: file, keep: true, ...options })
    const stop = new AbortController()
    const stopped = kept({ signal: stop.signal, onProgress: done => done === 3 && stop.abort() })
    expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
    const [began] = readdirSync(join(run.folder, 'evaluations')).filter(name => name.endsWith('.jsonl'))
    expect(
      readFileSync(join(run.folder, 'evaluations', began!), 'utf8')
        .trim()
        .split('\n'),
    ).toHaveLength(3)
    const whole = await kept()
    expect(whole.testTime!.resumed).toBe(3)
    const fresh = await scored({ data: file })
    expect(whole.results).toEqual(fresh.results)
    expect(whole.metrics).toEqual(fresh.metrics)
    expect((await kept()).testTime!.resumed).toBe(rows.length)
    expect((await kept({ testTime: { ...testTime, steps: 2 } })).testTime!.resumed).toBe(0)
    await evaluate({ model, prompt: run, data: file, keep: true })
    const settings = readdirSync(join(run.folder, 'evaluations'))
      .filter(name => name.endsWith('.json'))
      .map(name => JSON.parse(readFileSync(join(run.folder, 'evaluations', name), 'utf8')).settings['test-time tuning'])
    expect(settings.filter(Boolean).sort()).toEqual([
      '1 step of 0.05 on the 0.25 surest of 6 views (1 of templates, words dropped by 0.15)',
      '2 steps of 0.05 on the 0.25 surest of 6 views (1 of templates, words dropped by 0.15)',
    ])
    expect(settings).toHaveLength(3)
    const page = readFileSync(whole.report!, 'utf8')
    expect(page).toContain('mean of the views')
    expect(existsSync(whole.rowsFile!)).toBe(true)
  })

  test('tunes on rows together, which has no views', async () => {
    const { testTime: figures, results } = await scored({ testTime: { batch: 3, learningRate: 0.05 } })
    expect(figures).toMatchObject({ views: 1, how: '1 step of 0.05 on 3 rows together' })
    expect(figures!.averaged).toBeUndefined()
    expect(results[0]!.testTime!.loss).toBe(results[2]!.testTime!.loss)
    expect(results[0]!.testTime!.loss).not.toBe(results[3]!.testTime!.loss)
  })

  test('says which rows have few views, and writes paraphrases that are the same again', async () => {
    const codes: string[] = []
    const short = rows.map(({ label }) => ({ text: 'stone', label }))
    const { testTime: figures } = await scored({ data: short, onWarning: ({ code }) => codes.push(code) })
    expect(codes).toContain('few-views')
    // The row itself, and the run's other template.
    expect(figures!.views).toBe(2)
    const asked = { data: rows.slice(0, 2), testTime: { views: 5, paraphrases: 2, templates: [], learningRate: 0.05 } }
    const written = await scored(asked)
    expect(written.testTime!.how).toContain('2 paraphrased, words dropped by 0.15), the 0.8 most similar looked at')
    expect((await scored(asked)).results).toEqual(written.results)
  })
})

describe('is refused', () => {
  test.each([
    [
      'a model without a prompt',
      { prompt: undefined, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } },
      'not-tunable',
    ],
    ['a plain instruction', { prompt: { text: 'Say it.' }, template: '{text} -', answer: ' {label}' }, 'not-tunable'],
    ['a template in which there is nothing to leave out', { template: 'x -', testTime: { views: 4, templates: [] } }, 'no-views'],
    ['generated answers', { generate: true }, 'invalid-option'],
    ['likelihood by byte', { choose: 'length' }, 'invalid-option'],
    ['less its own without the text', { choose: 'unconditional' }, 'invalid-option'],
    ['rows at once', { batchSize: 4 }, 'invalid-option'],
    ['an instruction for the base model', { instruction: 'Say it.' }, 'invalid-option'],
    ['calibrated scores', { calibrate: true }, 'invalid-option'],
    ['views that there is no room for', { testTime: { views: 2, paraphrases: 2 } }, 'invalid-option'],
    ['views of a batch', { testTime: { batch: 4, views: 8 } }, 'invalid-option'],
    ['an option that there is not', { testTime: { view: 3 } }, 'invalid-option'],
    ['a share of nothing', { testTime: { keep: 0 } }, 'invalid-option'],
    ['a word for it', { testTime: 'yes' }, 'invalid-option'],
  ])('%s', async (_, options, code) => {
    expect(await problemOf(scored(options as never))).toMatchObject({ code })
  })

  test('free text, what a search has found, and a run that rejects', async () => {
    const { labels: _, ...prompt } = run.prompt
    expect(await problemOf(scored({ prompt }))).toMatchObject({ code: 'not-tunable' })
    const config = { ...run.config, template: '{prompt}{text} -' }
    const found = { folder, config, result: { prompt: ' a', ids: [5] } } as never
    expect(await problemOf(scored({ prompt: found }))).toMatchObject({ code: 'not-tunable', message: /words/ })
    cpSync(run.folder, join(folder, 'rejects'), { recursive: true })
    const rejection = { known: ['the'], groups: 1, seed: 1, threshold: 0.5, share: 1, rows: 1 }
    writeFileSync(join(folder, 'rejects', 'rejection.json'), JSON.stringify(rejection))
    const vectors = { data: run.prompt.tensors[0]!.data, shape: [4, 64] as const }
    const texts = { template: '{text} -', answer: ' {label}' }
    expect(await problemOf(predict({ model, prompt: vectors, ...texts, data: rows, testTime }).next())).toMatchObject({
      code: 'not-tunable',
    })
    const answer = predict({ model, prompt: join(folder, 'rejects'), data: rows, testTime }).next()
    expect(await problemOf(answer)).toMatchObject({ code: 'not-tunable', message: /rejects/ })
  })
})
