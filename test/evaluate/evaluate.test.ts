import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { type TuneRun, tune } from '../../src/api/tune.js'
import { nearestTokens } from '../../src/evaluate/nearest-tokens.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { readPrompt, writePrompt } from '../../src/store/prompt-file.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

let folder: string
let remove: () => void
let run: TuneRun
let model: LanguageModel
let data: string
beforeAll(async () => {
  ;({ folder, remove } = temporaryFolder())
  run = await tune(toyConfig(folder, { train: { steps: 60 } }))
  model = await LanguageModel.load(toyModel)
  data = join(folder, 'new.tsv')
  writeFileSync(data, `${toyRows(10).join('\n')}\n`)
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const prompt = () => run.prompt.tensors[0]!.data

describe('what is scored', () => {
  test('a run, its folder, its prompt file, its content and its rows give the same figures', async () => {
    const whole = await evaluate({ data, prompt: run })
    expect(whole.metrics.accuracy).toMatchObject({ value: 1 })
    expect(whole).toMatchObject({
      rows: 10,
      labels: ['the', 'of'],
      confusion: [
        [5, 0],
        [0, 5],
      ],
    })
    const columns = ['text', 'label']
    const { template, answer, labels } = { template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
    const rows = { data: prompt(), shape: [4, 32] as const }
    for (const other of [
      await evaluate({ model: toyModel, data, prompt: run.folder }),
      await evaluate({ model, data, prompt: join(run.folder, 'prompt.safetensors'), columns }),
      await evaluate({ model, data, prompt: run.prompt, columns }),
      await evaluate({ model, data, prompt: rows, template, answer, labels, columns }),
    ]) {
      expect(other.metrics).toEqual(whole.metrics)
      expect(other.predictions).toEqual(whole.predictions)
    }
  })

  test('columns of the data under other names than in the template', async () => {
    const named = join(folder, 'named.csv')
    writeFileSync(named, ['review,kind', ...toyRows(10).map(row => row.replace('\t', ','))].join('\n'))
    const columns = { text: 'review', label: 'kind' }
    const whole = await evaluate({ data, prompt: run })
    for (const given of [
      named,
      readFileSync(named, 'utf8')
        .split('\n')
        .slice(1)
        .map(row => ({ review: row.split(',')[0], kind: row.split(',')[1] })),
    ]) {
      const { metrics } = await evaluate({ model, data: given, prompt: run, columns })
      expect(metrics).toEqual(whole.metrics)
    }
    const { generated } = await evaluate({ model, data: named, prompt: run, columns, generate: true })
    expect(generated).toMatchObject({ cut: 0, unextracted: 0 })
    expect(await problemOf(evaluate({ model, data: named, prompt: run, columns: { txt: 'review' } }))).toMatchObject({
      code: 'invalid-option',
      hint: 'did you mean text?',
    })
  })

  test("likelihoods are those of the model's logits behind the prompt", async () => {
    const { predictions } = await evaluate({ model, data, prompt: run, batchSize: 3 })
    const { tokenizer } = model
    const words = [' the', ' of'].map(word => tokenizer.encode(word, { addSpecialTokens: false }))
    expect(words.every(ids => ids.length === 1)).toBe(true)
    for (const [i, row] of toyRows(10).entries()) {
      const ids = tokenizer.encode(`${row.split('\t')[0]} -`)
      const [logits] = await model.logits([ids], { data: prompt(), shape: [4, 32] })
      const last = logits!.subarray(-model.config.vocabSize)
      const total = Math.log(last.reduce((sum, value) => sum + Math.exp(value), 0))
      const { logLikelihoods, index, label, predicted } = predictions![i]!
      expect(logLikelihoods[0]).toBeCloseTo(last[words[0]![0]!]! - total, 3)
      expect(logLikelihoods[1]).toBeCloseTo(last[words[1]![0]!]! - total, 3)
      expect({ index, label, predicted }).toEqual({ index: i, label: i % 2 ? 'of' : 'the', predicted: i % 2 ? 'of' : 'the' })
    }
  })

  test('the bare model, an instruction, and rows given as records', async () => {
    const records = toyRows(10).map(row => ({ text: row.split('\t')[0]!, label: Number(row.split('\t')[1]) }))
    const options = { model, data: records, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
    const bare = await evaluate(options)
    const text = await evaluate({ ...options, prompt: { text: 'Say the or of.' } })
    const instruction = await evaluate({ ...options, instruction: 'Say the or of.' })
    expect(text.metrics).toEqual(instruction.metrics)
    expect(text.metrics).not.toEqual(bare.metrics)
    expect((await evaluate({ ...options, template: 'Say the or of.\n{text} -' })).metrics).toEqual(text.metrics)
    expect(bare.rowsPerSecond).toBeCloseTo(10 / bare.seconds, 6)
  })

  test('an answer is chosen by its likelihood, by that of a byte of it, or by what the text adds to it', async () => {
    const labels = { 0: 'the', 1: 'the the' }
    const options = { model, data, columns: ['text', 'label'], template: '{text} -', answer: ' {label}', labels }
    const scores = (await evaluate(options)).predictions!.map(({ logLikelihoods }) => logLikelihoods)
    const empty = await evaluate({ ...options, data: [{ text: '', label: '0' }], columns: undefined })
    const [prejudice] = empty.predictions!.map(({ logLikelihoods }) => logLikelihoods)
    const bytes = Object.values(labels).map(word => word.length)
    const best = (values: readonly number[]) => Object.values(labels)[values[0]! >= values[1]! ? 0 : 1]
    for (const [choose, of] of [
      ['plain', (score: number) => score],
      ['length', (score: number, j: number) => score / bytes[j]!],
      ['unconditional', (score: number, j: number) => score - prejudice![j]!],
    ] as const) {
      const { predictions } = await evaluate({ ...options, choose })
      expect(predictions!.map(({ predicted }) => predicted)).toEqual(scores.map(row => best(row.map(of))))
      // The likelihoods themselves stay as they are.
      expect(predictions!.map(({ logLikelihoods }) => logLikelihoods)).toEqual(scores)
    }
    // The long answer costs more, but each byte of it costs less.
    const counts = async (choose: 'plain' | 'length') =>
      (await evaluate({ ...options, choose })).predictions!.filter(({ predicted }) => predicted === 'the').length
    expect(await counts('plain')).toBeGreaterThan(await counts('length'))
  })

  test('what is given takes the place of what the run says', async () => {
    const own = await evaluate({ model, data, prompt: run })
    const other = await evaluate({ model, data, prompt: run, template: 'it: {text} -', labels: { 0: 'of', 1: 'the' } })
    expect(other.labels).toEqual(['of', 'the'])
    expect(other.metrics).not.toEqual(own.metrics)
  })

  test('a part of the rows, drawn by seed', async () => {
    const indices = async (seed: number) => {
      const { predictions } = await evaluate({ model, data, prompt: run, limit: 4, seed })
      return predictions!.map(({ index }) => index)
    }
    expect(await indices(1)).toHaveLength(4)
    expect(await indices(1)).toEqual(await indices(1))
    expect(await indices(1)).not.toEqual(await indices(2))
  })

  test('free text: likelihood and perplexity of the own answer', async () => {
    const records = [{ text: 'the wine of the stone' }, { text: 'on it' }, { text: 'at the end' }]
    const { metrics, labels, predictions, results } = await evaluate({
      ...{ model, data: records, template: 'it is', answer: ' {text}', answerEnd: 'none' },
    })
    for (const [i, { tokens, score, answer }] of results.entries()) {
      expect(tokens!.map(({ token }) => token).join('')).toBe(` ${records[i]!.text}`)
      expect(tokens!.reduce((sum, { logProbability }) => sum + logProbability, 0)).toBeCloseTo(score, 9)
      expect(answer).toBe(records[i]!.text)
    }
    expect(labels).toBeUndefined()
    expect(predictions).toBeUndefined()
    const rows = records.map(({ text }) => {
      const context = model.tokenizer.encode('it is').length
      const ids = model.tokenizer.encode(`it is ${text}`)
      return { ids, labels: ids.map((id, i) => (i < context ? -100 : id)), tokens: ids.length - context }
    })
    const zero = { data: prompt(), shape: [4, 32] as const }
    const behind = await evaluate({ model, data: records, template: 'it is', answer: ' {text}', answerEnd: 'none', prompt: zero })
    const { loss } = await model.lossAndGradient({ softPrompt: zero, rows })
    expect(behind.metrics.tokenLogLikelihood!.value).toBeCloseTo(-loss, 4)
    expect(behind.metrics.perplexity!.value).toBeCloseTo(Math.exp(loss), 2)
    const tokens = rows.reduce((sum, row) => sum + row.tokens, 0)
    expect(metrics.logLikelihood!.value * 3).toBeCloseTo(metrics.tokenLogLikelihood!.value * tokens, 6)
    for (const { value, low, high } of Object.values(metrics)) expect(low <= value && value <= high).toBe(true)
  })

  test('only the figures asked for, with progress', async () => {
    const progress: [number, number][] = []
    const { metrics } = await evaluate({
      model,
      data,
      prompt: run,
      metrics: ['macroF1'],
      batchSize: 4,
      onProgress: (rows, total) => progress.push([rows, total]),
    })
    expect(Object.keys(metrics)).toEqual(['macroF1'])
    expect(progress).toEqual([
      [4, 10],
      [8, 10],
      [10, 10],
    ])
  })
})

describe('what is refused', () => {
  test('a prompt of another model: both are named', async () => {
    const error = await problemOf(evaluate({ model: 'test/fixtures/models/llama-f16', data, prompt: run }))
    expect(error).toMatchObject({
      code: 'model-mismatch',
      exitCode: 2,
      found: expect.stringMatching(/^llama-f16 \(hidden size \d+/),
      expected: expect.stringMatching(/^llama-gqa \(hidden size 32/),
    })
    const rows = { data: new Float32Array(2 * 31), shape: [2, 31] as const }
    const options = { model, data, prompt: rows, template: '{text}', answer: ' {label}', columns: ['text', 'label'] }
    expect(await problemOf(evaluate(options))).toMatchObject({ code: 'model-mismatch', expected: '[m, 32]' })
  })

  test('a prompt that lies about its method or its size', async () => {
    const path = join(folder, 'lie.safetensors')
    const own = await readPrompt(join(run.folder, 'prompt.safetensors'))
    await writePrompt(path, { ...own, method: { ...own.method, numVirtualTokens: 7 } })
    expect(await problemOf(evaluate({ model, data, prompt: path, columns: ['text', 'label'] }))).toMatchObject({
      code: 'not-a-prompt',
    })
    await writePrompt(path, { ...own, method: { ...own.method, type: 'prompt-tunin' } })
    expect(await problemOf(evaluate({ model, data, prompt: path, columns: ['text', 'label'] }))).toMatchObject({
      code: 'unknown-method',
      hint: 'did you mean prompt-tuning?',
    })
  })

  test('a run that has no prompt yet', async () => {
    const stopped = join(folder, 'stopped')
    mkdirSync(stopped)
    copyFileSync(join(run.folder, 'config.yaml'), join(stopped, 'config.yaml'))
    expect(await problemOf(evaluate({ data, prompt: stopped }))).toMatchObject({
      code: 'run-not-finished',
      hint: `npx gradprompt resume ${stopped}`,
    })
  })

  test.each([
    ['template', { model: toyModel, answer: ' {label}' }],
    ['answer', { model: toyModel, template: '{text}' }],
    ['model', { template: '{text}', answer: ' {label}' }],
  ])('no %s', async (option, given) => {
    const error = await problemOf(evaluate({ data, columns: ['text', 'label'], ...given }))
    expect(error.code).toBe('missing-option')
    expect(error.message).toContain(option)
  })

  test('what is not there: a prompt, a figure, a column, a label', async () => {
    expect(await problemOf(evaluate({ data, prompt: join(folder, 'none') }))).toMatchObject({ code: 'file-not-found' })
    expect(await problemOf(evaluate({ model, data, prompt: run, metrics: ['acuracy'] }))).toMatchObject({
      code: 'unknown-metric',
      hint: 'did you mean accuracy?',
    })
    expect(await problemOf(evaluate({ model, data, prompt: run, template: '{txt}' }))).toMatchObject({ code: 'missing-column' })
    const odd = join(folder, 'odd.tsv')
    writeFileSync(odd, `${readFileSync(data, 'utf8')}on stone\t5\n`)
    const error = await problemOf(evaluate({ model, data: odd, prompt: run }))
    expect(error.code).toBe('unknown-label')
    expect(error.message).toContain('odd.tsv:11')
    expect(await problemOf(evaluate({ model, data: [], prompt: run }))).toMatchObject({ code: 'no-rows' })
  })

  test('what was aborted', async () => {
    const controller = new AbortController()
    const options = { model, data, prompt: run, batchSize: 2, signal: controller.signal, onProgress: () => controller.abort() }
    expect(await problemOf(evaluate(options))).toMatchObject({ code: 'aborted', exitCode: 1 })
  })
})

describe('nearest tokens', () => {
  test('rows of the table are nearest to themselves', async () => {
    const ids = [5, 84, 93, 95, 20]
    const data = await model.embeddingRows(ids)
    const nearest = await nearestTokens(model, { data, shape: [5, 32] })
    expect(nearest.map(({ tokens }) => tokens[0]!.id)).toEqual(ids)
    expect(nearest[1]!.tokens[0]!.text).toBe(' the')
    for (const { tokens, norm } of nearest) {
      expect(tokens).toHaveLength(3)
      expect(tokens[0]!.cosine).toBeCloseTo(1, 6)
      expect(tokens[1]!.cosine).toBeLessThanOrEqual(tokens[0]!.cosine)
      expect(norm).toBeGreaterThan(0)
    }
  })

  test('cosines and products are those of the definition', async () => {
    const table = await model.embeddingTable()
    const rows = prompt()
    const cosine = (row: number, id: number) => {
      const [a, b] = [rows.subarray(row * 32, row * 32 + 32), table.subarray(id * 32, id * 32 + 32)]
      const dot = a.reduce((sum, x, i) => sum + x * b[i]!, 0)
      return { dot, cosine: dot / (Math.hypot(...a) * Math.hypot(...b)) }
    }
    for (const { row, tokens, byDot } of await nearestTokens(model, run.prompt, { count: 2 })) {
      const all = Array.from({ length: 96 }, (_, id) => ({ id, ...cosine(row, id) }))
      const byCosine = [...all].sort((a, b) => b.cosine - a.cosine).slice(0, 2)
      expect(tokens.map(({ id }) => id)).toEqual(byCosine.map(({ id }) => id))
      expect(tokens[0]!.cosine).toBeCloseTo(byCosine[0]!.cosine, 6)
      const [longest] = [...all].sort((a, b) => b.dot - a.dot)
      expect(byDot[0]!.id).toBe(longest!.id)
      expect(byDot[0]!.dot).toBeCloseTo(longest!.dot, 5)
    }
  })

  test('a prompt of another width is refused', async () => {
    expect(await problemOf(nearestTokens(model, { data: new Float32Array(12), shape: [2, 6] }))).toMatchObject({
      code: 'model-mismatch',
    })
  })
})
