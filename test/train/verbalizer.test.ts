import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { findLabels, type LabelSet, promptLabels } from '../../src/data/texts/labels.js'
import { classScores, classWords, countWords, weightGradient } from '../../src/data/texts/verbalizer.js'
import { scoreRows } from '../../src/evaluate/score.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from './toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const several = { 0: ['the', 'in', 'on'], 1: ['of', 'and'] }
const records = [
  { text: 'a', label: '0' },
  { text: 'b', label: '1' },
]
const setOf = (aggregate: 'mean' | 'sum' | 'max' = 'mean', labels: Parameters<typeof findLabels>[1] = several) =>
  findLabels(' {label}', labels, records, aggregate) as LabelSet

let count = 0
const config = ({ train, ...options }: Partial<ConfigInput> = {}): ConfigInput => {
  const input = toyConfig(folder, { train: { steps: 8, ...train }, out: join(folder, `run-${count++}`), ...options })
  return { ...input, data: { ...input.data, labels: several } }
}
const promptBytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))

describe('the words of a class', () => {
  test('name it by the first, in the order of the candidates', () => {
    const labels = setOf()
    expect(labels.candidates).toEqual(['the', 'of'])
    expect([...labels.words]).toEqual([
      ['0', 'the'],
      ['1', 'of'],
    ])
    expect(classWords(labels)).toEqual([
      ['the', 'in', 'on'],
      ['of', 'and'],
    ])
    expect(countWords(labels)).toBe(5)
    expect(setOf('mean', { 0: 'the', 1: ['of'] }).verbalizer).toBeUndefined()
    // Two values of one class share their words.
    expect(classWords(setOf('mean', { 0: ['the', 'in'], 1: 'of', 2: ['the', 'on'] }))).toEqual([['the', 'in', 'on'], ['of']])
    expect(classWords(setOf('mean', JSON.parse('{"0":["__proto__","in"],"1":"constructor"}')))).toEqual([
      ['__proto__', 'in'],
      ['constructor'],
    ])
  })

  test('tell one class from another', () => {
    expect(problem(() => setOf('mean', { 0: ['the', 'in'], 1: ['of', 'in'] }))).toMatchObject({
      code: 'invalid-config',
      found: expect.stringContaining('in'),
    })
  })

  test('come back from what a prompt file holds', () => {
    const labels = setOf('max')
    const file = { labels: Object.fromEntries(labels.words), verbalizer: labels.verbalizer }
    expect(findLabels(' {label}', promptLabels(file), records, 'max')).toEqual(labels)
    expect(promptLabels({ labels: { 0: 'the' } })).toEqual({ 0: 'the' })
  })
})

describe('the score of a class', () => {
  const scores = [-1, -2, -6, -0.5, -3]

  test('is the mean, the sum of the probabilities, or the largest', () => {
    expect(classScores(setOf('mean'), scores)).toEqual([-3, -1.75])
    expect(classScores(setOf('max'), scores)).toEqual([-1, -0.5])
    const sum = classScores(setOf('sum'), scores).map(Math.exp)
    expect(sum[0]).toBeCloseTo(Math.exp(-1) + Math.exp(-2) + Math.exp(-6), 12)
    expect(sum[1]).toBeCloseTo(Math.exp(-0.5) + Math.exp(-3), 12)
  })

  test('has weights that sum to one within the class', () => {
    const weights = Float32Array.of(0, Math.log(3), -100, 5, 5)
    const [first, second] = classScores(setOf(), scores, weights)
    expect(first).toBeCloseTo(0.25 * -1 + 0.75 * -2, 6)
    expect(second).toBeCloseTo(-1.75, 6)
    expect(classScores(setOf(), scores, new Float32Array(5))[0]).toBeCloseTo(-3, 12)
  })

  test('of a class with one word is that of the word, whatever the rule', () => {
    const number = fc.double({ min: -50, max: 0, noNaN: true })
    fc.assert(
      fc.property(fc.constantFrom('mean', 'sum', 'max'), fc.tuple(number, number), (aggregate, pair) => {
        expect(classScores(setOf(aggregate, { 0: 'the', 1: 'of' }), pair)).toEqual(pair)
      }),
    )
  })

  test('has a gradient by its weights that equals finite differences', () => {
    const number = fc.double({ min: -8, max: 0, noNaN: true })
    const row = fc.record({ scores: fc.array(number, { minLength: 5, maxLength: 5 }), target: fc.constantFrom(0, 1) })
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 1, maxLength: 4 }),
        fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 5, maxLength: 5 }),
        (rows, start) => {
          const labels = setOf()
          const weights = Float32Array.from(start)
          const loss = (moved: Float32Array) =>
            rows.reduce((sum, { scores, target }) => {
              const classes = classScores(labels, scores, moved)
              return sum + Math.log(classes.reduce((total, score) => total + Math.exp(score), 0)) - classes[target]!
            }, 0) / rows.length
          const gradient = weightGradient(labels, rows, weights)
          for (const i of weights.keys()) {
            const [up, down] = [weights.slice(), weights.slice()]
            up[i]! += 1e-2
            down[i]! -= 1e-2
            expect(Math.abs((loss(up) - loss(down)) / (up[i]! - down[i]!) - gradient[i]!)).toBeLessThan(2e-3)
          }
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('scoring', () => {
  const loaded = LanguageModel.load(toyModel, { threads: 1 })
  afterAll(async () => (await loaded).dispose())
  const data = toyRows(6).map(line => {
    const [text, label] = line.split('\t') as [string, string]
    return { text, label }
  })
  const builderOf = async (labels: LabelSet | undefined) =>
    new RowBuilder((await loaded).tokenizer, {
      template: '{text} -',
      answer: ' {label}',
      labels,
      contextLength: 128,
      numVirtualTokens: 0,
    })

  test('asks for every word, and decides by classes', async () => {
    const model = await loaded
    for (const aggregate of ['mean', 'sum', 'max'] as const) {
      const labels = setOf(aggregate)
      const builder = await builderOf(labels)
      const rows = data.map((record, i) => builder.scoring(record, i))
      expect(rows[1]).toMatchObject({ target: 1 })
      expect(rows[1]!.candidates.map(({ label }) => label)).toEqual(['the', 'in', 'on', 'of', 'and'])
      const words = await model.logLikelihoods(undefined, rows)
      const scored = await scoreRows(model, undefined, rows, labels, { seed: 1 })
      const wanted = words.map(one => classScores(labels, one))
      for (const [i, scores] of wanted.entries())
        scores.forEach((score, c) => {
          expect(scored.logLikelihoods[i]![c]).toBeCloseTo(score, 4)
        })
      expect(scored.predictions).toEqual(wanted.map(([a, b]) => (a! >= b! ? 0 : 1)))
      // Alone and together are the same.
      const evaluated = await evaluate({ model, data, template: '{text} -', answer: ' {label}', labels: several, aggregate })
      expect(evaluated.labels).toEqual(['the', 'of'])
      expect(evaluated.metrics.accuracy).toEqual(scored.metrics.accuracy)
    }
  })

  test('is calibrated by a text that says nothing', async () => {
    const model = await loaded
    const labels = setOf('mean', { 0: 'the', 1: 'of' })
    const builder = await builderOf(labels)
    const rows = data.map((record, i) => builder.scoring(record, i))
    const contentFree = builder.contentFree('N/A')
    expect(contentFree.context).toEqual(model.tokenizer.encode('N/A -'))
    expect(contentFree.target).toBe(-1)
    const [bias] = await model.logLikelihoods(undefined, [contentFree])
    const plain = await scoreRows(model, undefined, rows, labels, { seed: 1 })
    const calibrated = await scoreRows(model, undefined, rows, labels, { seed: 1, contentFree })
    expect(calibrated.logLikelihoods).toEqual(plain.logLikelihoods)
    expect(calibrated.metrics.logLikelihood).toEqual(plain.metrics.logLikelihood)
    expect(calibrated.predictions).toEqual(plain.logLikelihoods.map(([a, b]) => (a! - bias![0]! >= b! - bias![1]! ? 0 : 1)))
    // Calibrated by itself a row has no preference left, and its confidence is that of a guess.
    const own = await scoreRows(model, undefined, rows.slice(0, 1), labels, { seed: 1, contentFree: rows[0] })
    expect(own.metrics.calibrationError?.value).toBeCloseTo(0.5, 6)
    // Some text tips the scales of some row.
    const decisions = await Promise.all(
      ['N/A', 'wine', 'stone', 'a', 'Z'].map(async text => {
        const row = builder.contentFree(text)
        return (await scoreRows(model, undefined, rows, labels, { seed: 1, contentFree: row })).predictions.join()
      }),
    )
    expect(decisions.some(one => one !== plain.predictions.join())).toBe(true)
    const options = { model, data, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
    expect((await evaluate({ ...options, calibrate: true })).metrics.accuracy).toEqual(calibrated.metrics.accuracy)
    expect((await evaluate({ ...options, calibrate: false })).metrics.accuracy).toEqual(plain.metrics.accuracy)
  })

  test('of free text cannot be calibrated', async () => {
    const free = toyRows(4).map((line, i) => ({ text: line.split('\t')[0]!, label: `x${i}` }))
    expect(
      await problemOf(evaluate({ model: await loaded, data: free, template: '{text} -', answer: ' {label}', calibrate: true })),
    ).toMatchObject({ code: 'invalid-config', found: 'free-text answers' })
  })
})

describe('a run', () => {
  test('keeps its words, and is evaluated with them', async () => {
    const run = await tune(config({ verbalizer: { aggregate: 'sum' }, evaluate: { calibrate: 'it' } }))
    const stored = await readPrompt(join(run.folder, 'prompt.safetensors'))
    expect(stored).toMatchObject({
      labels: { 0: 'the', 1: 'of' },
      verbalizer: { aggregate: 'sum', words: { the: several[0], of: several[1] } },
    })
    const data = join(folder, 'dev.tsv')
    writeFileSync(data, `${toyRows(12).join('\n')}\n`)
    const own = await evaluate({ prompt: run.folder, data })
    const given = await evaluate({ prompt: stored, model: toyModel, columns: ['text', 'label'], data, calibrate: 'it' })
    expect(given.metrics).toEqual(own.metrics)
    const plain = await evaluate({
      prompt: stored,
      model: toyModel,
      columns: ['text', 'label'],
      data,
      labels: { 0: 'the', 1: 'of' },
    })
    expect(plain.metrics.logLikelihood!.value).not.toBe(own.metrics.logLikelihood!.value)
  })

  test('learns the weights of its words, keeps them, and goes on to the same bits', async () => {
    const input = () =>
      config({ verbalizer: { learned: true, learningRate: 0.3 }, train: { steps: 30, checkpointEvery: 7, average: {} } })
    const whole = await tune(input())
    const weights = (await readPrompt(join(whole.folder, 'prompt.safetensors'))).tensors.find(
      ({ name }) => name === 'verbalizer',
    )!
    expect(weights.shape).toEqual([5])
    expect(Math.max(...weights.data.map(Math.abs))).toBeGreaterThan(0.1)
    expect(whole.result.parameters).toBe(4 * 32 + 5)
    // The first word is the one that is learned: its weight rises over those of its class.
    expect(weights.data[0]).toBeGreaterThan(Math.max(weights.data[1]!, weights.data[2]!))
    const controller = new AbortController()
    const stopped = input()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 16 && controller.abort()
    expect(await problemOf(tune(stopped, { signal: controller.signal, onEvent }))).toMatchObject({ code: 'aborted' })
    expect(promptBytes((await resume(stopped.out!)).folder).equals(promptBytes(whole.folder))).toBe(true)
    // The file's weights decide where its words do, and nowhere else.
    const data = join(folder, 'dev.tsv')
    writeFileSync(data, `${toyRows(12).join('\n')}\n`)
    const score = async (prompt: typeof whole.prompt, labels?: Record<string, string[]>) =>
      (await evaluate({ prompt, model: toyModel, columns: ['text', 'label'], data, labels })).metrics.logLikelihood!.value
    const without = { ...whole.prompt, tensors: whole.prompt.tensors.filter(({ name }) => name !== 'verbalizer') }
    expect(await score(whole.prompt)).not.toBe(await score(without))
    const others = { 0: ['the', 'on', 'in'], 1: ['of', 'and'] }
    expect(await score(whole.prompt, others)).toBe(await score(without, others))
  })

  test.each([
    [
      { verbalizer: { learned: true, aggregate: 'sum' as const } },
      'verbalizer.learned weighs a mean, and verbalizer.aggregate is sum',
    ],
    [
      { verbalizer: { learned: true }, evaluate: { calibrate: true } },
      'verbalizer.learned and evaluate.calibrate exclude each other',
    ],
    [{ verbalizer: { learningRate: 0.1 } }, 'verbalizer.learningRate belongs to verbalizer.learned: true'],
  ])('refuses %j', (options, message) => {
    expect(problem(() => parseConfig(config(options))).message).toContain(message)
  })

  test('is calibrated by N/A where a flag says true', () => {
    const calibrate = (given: string | boolean) => parseConfig(config({ evaluate: { calibrate: given } })).evaluate.calibrate
    expect([true, 'true', 'false', 'no text'].map(calibrate)).toEqual([true, true, false, 'no text'])
  })

  test('refuses a verbalizer over single words', () => {
    const input = config({ verbalizer: {} })
    const data = { ...input.data, labels: { 0: 'the', 1: 'of' } }
    expect(problem(() => parseConfig({ ...input, data })).message).toContain('a class with several words')
  })
})
