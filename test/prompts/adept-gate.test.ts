import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { tune } from '../../src/api/tune.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { activePrompt } from '../../src/sources/prompt.js'
import { dot, random } from '../support/numbers.js'
import { disposeModels, methodConfig, tinyModel } from '../support/prompt-fixtures.js'
import { temporaryFolder } from '../train/toy.js'
import { executionsOf } from './support/watch.js'

afterAll(disposeModels)
const { folder } = temporaryFolder()
const path = 'test/fixtures/models/llama-gqa'
const rows = [
  { context: [9, 80, 31, 7, 20], candidates: [{ ids: [14, 60] }, { ids: [33] }] },
  { context: [78, 80, 12], candidates: [{ ids: [5, 9, 61] }] },
]
const labelled = rows.map(({ context, candidates }) => ({
  ids: [...context, ...candidates[0]!.ids],
  labels: [...context.map(() => -100), ...candidates[0]!.ids],
}))

/** A prompt whose offsets and gates are anything. */
async function gated(gate: object, change: (name: string, values: Float32Array) => Float32Array = (_, values) => values) {
  const model = await tinyModel('llama-gqa')
  const config = methodConfig({ type: 'adept', numVirtualTokens: 3, rank: 4, gate })
  const method = promptMethods.get('adept')!
  const parameters = method
    .parameters(config, model.config)
    .map(({ name, shape }, i) => [name, change(name, random(i + 1, shape, name === 'gate' ? 0.5 : 0.4).data)] as const)
  const prompt: ActivePrompt = { method, config, parameters: new Map(parameters) }
  return { model, prompt }
}

/** Its rows alone. */
const rowsAlone = ({ parameters }: ActivePrompt): ActivePrompt => ({
  method: promptMethods.get('prompt-tuning')!,
  config: methodConfig({ type: 'prompt-tuning', numVirtualTokens: 3 }),
  parameters: new Map([['prompt', parameters.get('prompt')!]]),
})

const worst = (found: readonly number[][], wanted: readonly number[][]) =>
  Math.max(...wanted.flatMap((own, i) => own.map((x, j) => Math.abs(found[i]![j]! - x))))

test('offsets of no size, and gates that are shut, leave the rows alone', async () => {
  const open = await gated({ maxOffset: 0.5 })
  const plain = await open.model.logLikelihoods(rowsAlone(open.prompt), rows)
  expect(worst(await open.model.logLikelihoods(open.prompt, rows), plain)).toBeGreaterThan(0.01)
  const { model, prompt } = await gated({ maxOffset: 0 })
  expect(worst(await model.logLikelihoods(prompt, rows), plain)).toBeLessThan(1e-6)
  expect(prompt.method.figures!(prompt.config, prompt.parameters)).toEqual({ coverage: 0 })
  const shut = await gated({ maxOffset: 0.5 }, (name, values) => (name === 'gateBias' ? Float32Array.of(-60) : values))
  expect(worst(await model.logLikelihoods(shut.prompt, rows), plain)).toBeLessThan(1e-6)
  expect(shut.prompt.method.figures!(shut.prompt.config, shut.prompt.parameters)).toEqual({ coverage: 0 })
})

test('no number of an offset is larger than its bound, and coverage counts the tokens that have one', async () => {
  const { prompt } = await gated({ maxOffset: 0.05 })
  await tf.setBackend('cpu')
  const parameters = Object.fromEntries(
    prompt.method
      .parameters(prompt.config, (await tinyModel('llama-gqa')).config)
      .map(({ name, shape }) => [name, tf.tensor(prompt.parameters.get(name)!, [...shape])]),
  )
  const embedded = parameters.probe!
  const count = embedded.shape[0]!
  const [textIndex, answerMask] = [tf.zeros([count], 'int32'), tf.zeros([count])]
  const offset = prompt.method.offset!(prompt.config, parameters, { embedded, textIndex, answerMask })
  const offsets = (await offset.array()) as number[][]
  expect(Math.max(...offsets.flat().map(Math.abs))).toBeLessThanOrEqual(0.05 + 1e-7)
  const touched = offsets.filter(row => row.some(x => x !== 0)).length / count
  expect(touched).toBeGreaterThan(0.05)
  expect(touched).toBeLessThan(0.95)
  expect(prompt.method.figures!(prompt.config, prompt.parameters)).toEqual({ coverage: touched })
})

test('the penalty has its part in loss and gradient, also of a batch in parts', async () => {
  const { model, prompt } = await gated({ lambda: 3, maxOffset: 0.5 })
  const { prompt: free } = await gated({ lambda: 0, maxOffset: 0.5 })
  const [own, without] = [await model.promptGradient(prompt, labelled), await model.promptGradient(free, labelled)]
  const shift = (2 / 3) * Math.log(0.1 / 1.1)
  const width = model.config.hiddenSize
  const [gate, [bias], probe] = ['gate', 'gateBias', 'probe'].map(name => prompt.parameters.get(name)!) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const open = Array.from({ length: probe.length / width }, (_, i) => {
    const row = probe.subarray(i * width, (i + 1) * width)
    const size = Math.sqrt(dot(row, row) / width + 1e-6)
    return 1 / (1 + Math.exp(-(dot(row, gate) / size + bias! - shift)))
  })
  expect(own.loss - without.loss).toBeCloseTo((3 * open.reduce((sum, x) => sum + x, 0)) / open.length, 4)
  // Room for one of its rows at a time.
  const small = await LanguageModel.load(path, { threads: 1, memory: model.memory.estimate(12, 3, true) })
  try {
    const runs = await executionsOf(async () => {
      expect((await small.promptGradient(prompt, labelled)).loss).toBeCloseTo(own.loss, 4)
    })
    expect(runs.length).toBeGreaterThan(1)
  } finally {
    await small.dispose()
  }
  for (const name of ['gate', 'gateBias', 'offsetUp']) {
    const values = prompt.parameters.get(name)!
    const gradient = own.gradients.get(name)!
    const length = Math.sqrt(dot(gradient, gradient))
    const along = async (h: number) => {
      const moved = new Map([...prompt.parameters, [name, values.map((x, i) => x + (h * gradient[i]!) / length)]])
      return (await model.promptGradient({ ...prompt, parameters: moved }, labelled)).loss
    }
    expect(Math.abs(((await along(5e-3)) - (await along(-5e-3))) / 1e-2 - length), name).toBeLessThan(0.01 * length + 3e-4)
  }
})

test('a heavy penalty shuts all gates: what is left are the rows', async () => {
  const data = join(folder, 'copies.tsv')
  writeFileSync(data, ['k', 'q', 'Z'].flatMap(letter => Array(4).fill(`${letter}\t${letter}\n`)).join(''))
  const run = (lambda: number) =>
    tune({
      model: path,
      data: { train: data, columns: ['text', 'label'] },
      template: '{text}-',
      answer: '{label}',
      answerType: 'text',
      method: { type: 'adept', numVirtualTokens: 3, rank: 4, gate: { lambda, learningRate: 0.2 } },
      train: { steps: 60, batchSize: 6 },
      out: join(folder, `lambda-${lambda}`),
      threads: 1,
    })
  const [heavy, light] = [await run(1000), await run(0)]
  expect(heavy.result.figures).toEqual({ coverage: 0 })
  expect(light.result.figures!.coverage).toBeGreaterThan(0.9)
  const model = await tinyModel('llama-gqa')
  const [shut, open] = [activePrompt(heavy.prompt, model), activePrompt(light.prompt, model)]
  // Of tokens that it has seen: what a score says of others, nobody has told it.
  const seen = ['k-', 'q-', 'Z-'].map(text => ({ context: model.tokenizer.encode(text), candidates: [{ ids: [14, 60] }] }))
  const difference = async (prompt: ActivePrompt) =>
    worst(await model.logLikelihoods(prompt, seen), await model.logLikelihoods(rowsAlone(prompt), seen))
  expect(await difference(shut)).toBeLessThan(1e-6)
  expect(await difference(open)).toBeGreaterThan(1e-4)
})
