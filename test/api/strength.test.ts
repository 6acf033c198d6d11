import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { evaluate, exportPrompt, generate, loadModel, predict, resume, serve, type TuneRun, tune } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { parseConfig } from '../../src/train/config.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** A steering vector from pairs of answers, and its strength wherever a prompt is used. */

const { folder, remove } = temporaryFolder()
const pairs = join(folder, 'pairs.jsonl')
const words = ['the', 'wine', 'stone', 'on', 'it', 'at']
const rows = words.flatMap((text, i) => [
  { text, chosen: words[(i + 1) % 6]!, rejected: words[(i + 2) % 6]! },
  { text: `${text} on`, chosen: words[(i + 3) % 6]!, rejected: words[(i + 4) % 6]! },
])
writeFileSync(pairs, rows.map(row => JSON.stringify(row)).join('\n'))
const layer = 1
const config = (options: object = {}, train: object = { steps: 0 }) => ({
  model: toyModel,
  data: { train: pairs, dev: pairs },
  template: '{text} -',
  answer: ' {chosen}',
  rejected: ' {rejected}',
  answerEnd: 'none' as const,
  method: { type: 'steering' as const, layers: layer, init: { type: 'pairs' as const }, ...options },
  train,
  threads: 1,
})

let model: LanguageModel
let run: TuneRun
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...config(), out: join(folder, 'run') })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

/** What the layer gives out at the last token of each text, as the next one takes it. */
async function lastOutputs(texts: readonly string[], hook?: Parameters<LanguageModel['forward']>[1]) {
  const ids = texts.map(text => model.tokenizer.encode(text))
  const passes = await model.forward(ids, { hiddenStates: true, ...hook })
  return passes.map(({ hiddenStates }) => hiddenStates![layer + 1]!.slice(-model.config.hiddenSize))
}
const mean = (vectors: readonly Float32Array[]) =>
  vectors[0]!.map((_, k) => vectors.reduce((sum, one) => sum + one[k]! / vectors.length, 0))

test('the vector is the mean difference of what the layer makes of both sides, and takes one mean to the other', async () => {
  const side = (name: 'chosen' | 'rejected') => rows.map(row => `${row.text} - ${row[name]}`)
  const [chosen, rejected] = [mean(await lastOutputs(side('chosen'))), mean(await lastOutputs(side('rejected')))]
  const { data } = run.prompt.tensors.find(({ name }) => name === 'vector')!
  for (const [k, x] of data.entries()) expect(x).toBeCloseTo(chosen[k]! - rejected[k]!, 5)
  const moved = mean(await lastOutputs(side('rejected'))).map((x, k) => x + data[k]!)
  for (const [k, x] of moved.entries()) expect(x).toBeCloseTo(chosen[k]!, 5)
})

test('a run of no steps is scored once, and keeps what it started as', () => {
  expect(run.result).toMatchObject({ steps: 0, bestStep: 0, rows: rows.length })
  expect(run.result.metrics.accuracy).toBeDefined()
  const events = readFileSync(join(run.folder, 'events.jsonl'), 'utf8')
  expect(events).toContain('"event":"dev"')
  expect(events).not.toContain('"event":"step"')
})

test('a run of no steps goes on where there are some to do', async () => {
  const first = await tune({ ...config(), out: join(folder, 'further') })
  const further = await resume(first.folder, { steps: 3 })
  expect(further.result).toMatchObject({ steps: 3 })
})

test('other tokens of an answer count where that is asked for', async () => {
  const two = await tune({
    ...config({ init: { type: 'pairs', tokens: 'answer', count: 3 } }),
    answer: ' {chosen} stone',
    rejected: ' {rejected} stone',
    out: join(folder, 'means'),
  })
  expect(two.prompt.tensors[0]!.data.every(Number.isFinite)).toBe(true)
  expect(two.prompt.tensors[0]!.data).not.toEqual(run.prompt.tensors[0]!.data)
})

test('evaluations at different strengths stand side by side, and 0 is the base model', async () => {
  const scored = async (strength: number | undefined) =>
    (await evaluate({ prompt: run.folder, data: pairs, strength, keep: true, control: true })).metrics.logLikelihood!.value
  const [plain, one, none, back] = [await scored(undefined), await scored(1), await scored(0), await scored(-1)]
  expect(one).toBe(plain)
  expect(new Set([one, none, back]).size).toBe(3)
  const base = await evaluate({
    model: toyModel,
    data: pairs,
    template: '{text} -',
    answer: ' {chosen}',
    answerEnd: 'none',
    answerType: 'text',
  })
  expect(none).toBeCloseTo(base.metrics.logLikelihood!.value, 6)
  const kept = readdirSync(join(run.folder, 'evaluations')).filter(name => name.endsWith('.json'))
  const settings = kept.map(name => JSON.parse(readFileSync(join(run.folder, 'evaluations', name), 'utf8')).settings.strength)
  // As it was learned is a strength of 1: one evaluation.
  expect(settings.sort()).toEqual(['-1', '0', '1'])
})

test('texts are answered, rows predicted and prompts served at a strength', async () => {
  const answer = async (strength?: number, prompt: string | undefined = run.folder) =>
    (
      await generate({
        model: toyModel,
        prompt,
        inputs: ['the wine -'],
        raw: true,
        strength,
        maxNewTokens: 6,
        logProbabilities: true,
      })
    )[0]!
  const [plain, strong, none] = [await answer(), await answer(4), await answer(0)]
  const [alone] = await generate({ model: toyModel, inputs: ['the wine -'], raw: true, maxNewTokens: 6, logProbabilities: true })
  expect(none).toEqual(alone)
  expect(strong.logProbabilities).not.toEqual(plain.logProbabilities)
  const predicted: (number | undefined)[] = []
  for (const strength of [0, 4])
    for await (const { probability } of predict({ prompt: run.folder, data: [{ text: 'the' }], strength, maxNewTokens: 4 }))
      predicted.push(probability)
  expect(new Set(predicted).size).toBe(2)
  await using server = await serve({ model: toyModel, prompts: { mine: run.folder }, port: 0, strength: 0 })
  const ask = async (name: string) => {
    const response = await fetch(`${server.url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: name, prompt: 'the wine -', max_tokens: 6, temperature: 0 }),
    })
    return ((await response.json()) as { choices: { text: string }[] }).choices[0]!.text
  }
  expect(await ask('mine')).toBe(await ask(server.models[0]!))
})

test('what has no slider refuses a strength by its name', async () => {
  const other = await tune(toyConfig(folder, { train: { steps: 0 }, out: join(folder, 'other') }))
  for (const asked of [
    () => evaluate({ prompt: other.folder, strength: 2 }),
    () => generate({ prompt: other.folder, inputs: ['the'], strength: 2 }),
    () => serve({ prompts: { other: other.folder }, strength: 2, port: 0 }),
  ])
    expect(await problemOf(asked())).toMatchObject({
      code: 'invalid-option',
      message: 'a prompt of prompt-tuning has no strength to choose',
      found: 'strength: 2',
      expected: 'a prompt of a method with a slider: steering',
    })
  expect(await problemOf(generate({ inputs: ['the'], strength: 1 }))).toMatchObject({ found: 'strength: 1 and no prompt' })
  expect(await problemOf(generate({ prompt: run.folder, inputs: ['the'], strength: Number.NaN }))).toMatchObject({
    message: 'strength is not valid',
  })
})

test('a strength at which states overflow is refused, with the largest that does not', async () => {
  const at = (strength: number) =>
    predict({ model, prompt: run, data: [{ text: 'the' }], strength })
      [Symbol.asyncIterator]()
      .next()
  for (const strength of [1e30, -1e30, 1e39]) {
    const { code, message, expected } = await problemOf(at(strength))
    expect([code, message]).toEqual(['invalid-option', 'strength is too large for the numbers of this prompt'])
    const most = Number(/to (\S+),/.exec(expected!)![1])
    // Two digits of it are told.
    expect((await at(0.9 * most)).done).toBe(false)
  }
})

test('what cannot be is refused before a weight is read', async () => {
  const refused = (options: object, more: object = {}) =>
    problemOf(tune({ ...config(options), ...more, out: join(folder, 'refused') } as Parameters<typeof tune>[0]))
  expect(await refused({ layers: 3 })).toMatchObject({
    code: 'invalid-config',
    message: 'method.layers names layer 3, which does not exist here: take 0 to 2',
  })
  expect((await refused({ layers: 2 })).message).toMatch(/there is none behind layer 2: take 0 to 1/)
  expect(() => parseConfig({ ...config(), rejected: undefined })).toThrow(/method\.init\.type: pairs needs pairs of answers/)
  const { code, hint } = await problemOf(exportPrompt(run, { to: 'peft', out: join(folder, 'peft') }))
  expect(code).toBe('not-exportable')
  expect(hint).toMatch(/--to gradprompt keeps it in one file/)
  for (const to of ['hf', 'gguf', 'ollama', 'onnx', 'kv', 'embeds', 'text'])
    expect((await problemOf(exportPrompt(run, { to, out: join(folder, to) }))).code, to).toBe('not-exportable')
})
