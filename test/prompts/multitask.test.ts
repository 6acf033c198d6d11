import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { exportPrompt } from '../../src/api/export.js'
import { generate } from '../../src/api/generation/generate.js'
import { tune } from '../../src/api/tune.js'
import { evaluateByGeneration } from '../../src/evaluate/by-generation.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { layerOutputsOf } from '../../src/model/layer-outputs.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { readSources } from '../../src/sources/initial-prompts.js'
import { readPeftAdapter } from '../../src/sources/peft-adapter.js'
import { activePrompt } from '../../src/sources/prompt.js'
import type { ConfigInput } from '../../src/train/config.js'
import { difference } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

/** Two tasks that contradict each other: the same texts, the answers exchanged. Only the task tells them apart. */
const data = join(folder, 'tasks.tsv')
const texts = ['the wine', 'the stone', 'on wine', 'on stone', 'at wine', 'at stone']
const lines = texts.flatMap((text, i) => ['straight', 'crossed'].map((task, t) => `${text}\t${(i + t) % 2}\t${task}`))
writeFileSync(data, `${[...lines, ...lines].join('\n')}\n`)

const config = (options: Partial<ConfigInput>): ConfigInput => ({
  ...toyConfig(folder, options),
  data: { train: data, dev: data, columns: ['text', 'label', 'task'], labels: { 0: 'the', 1: 'of' } },
})
const method = { type: 'mpt' as const, numVirtualTokens: 4, tasks: ['straight', 'crossed'], numRanks: 2 }
const learned = () =>
  tune(config({ method, out: join(folder, 'both'), train: { steps: 200, batchSize: 8, learningRate: 0.1, evaluateEvery: 100 } }))
const run = learned()

test('each row is learned and scored under its own task', async () => {
  const { result, folder: path } = await run
  expect(result.metrics.accuracy!.value).toBe(1)
  expect(result.parameters).toBe(4 * 32 + 2 * 2 * (4 + 32))
  const again = await evaluate({ prompt: path, data })
  expect(again.metrics.accuracy!.value).toBe(1)
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  try {
    const active = activePrompt((await run).prompt, model)
    const row = { context: [5, 6], candidates: [{ ids: [7] }, { ids: [8] }] }
    const mixed = await model.logLikelihoods(active, [{ ...row, task: 1 }, row, { ...row, task: 0 }, { ...row, task: 1 }])
    for (const [i, task] of [1, undefined, 0, 1].entries()) {
      const own =
        task === undefined ? active : { ...active, parameters: active.method.forTask!(active.config, active.parameters, task) }
      const [alone] = await model.logLikelihoods(own, [row])
      expect(difference(mixed[i]!, alone!)).toBeLessThan(1e-5)
    }
    expect(mixed[0]).not.toEqual(mixed[2])
  } finally {
    await model.dispose()
  }
})

test('the adapter has a factor for each task, as PEFT has them', async () => {
  const out = join(folder, 'adapter')
  await exportPrompt((await run).folder, { to: 'peft', out })
  expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
    peft_type: 'MULTITASK_PROMPT_TUNING',
    num_tasks: 2,
    num_ranks: 2,
  })
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  try {
    const active = activePrompt((await run).prompt, model)
    for (const task of [0, 1]) {
      const own = { ...active, parameters: active.method.forTask!(active.config, active.parameters, task) }
      const [ours] = await model.logits([[5, 6, 7]], own)
      const [theirs] = await model.logits([[5, 6, 7]], await readPeftAdapter(out, model.checkpoint, task))
      expect(difference(theirs!, ours!)).toBeLessThan(1e-5)
    }
  } finally {
    await model.dispose()
  }
})

test('a further task starts from the shared matrix and the average factor, or from the matrix alone', async () => {
  const { folder: path, prompt } = await run
  const tensors = new Map(prompt.tensors.map(({ name, data }) => [name, data]))
  const given = await startOf()
  const options = {
    type: 'mpt',
    numVirtualTokens: 4,
    numRanks: 2,
    init: { type: 'runs', from: [path], mix: 'one' },
    sourceFactors: 'average',
  }
  const { initialise } = promptMethods.get('mpt')!
  const average = await initialise(options, given)
  expect(average.get('prompt')).toEqual(tensors.get('prompt'))
  const columns = tensors.get('taskColumns')!
  for (const [i, x] of average.get('taskColumns')!.entries()) expect(x).toBeCloseTo((columns[i]! + columns[i + 8]!) / 2, 6)
  const alone = await initialise({ ...options, sourceFactors: 'none' } as typeof options, given)
  expect(alone.get('prompt')).toEqual(tensors.get('prompt'))
  expect([...alone.get('taskRows')!].slice(0, 32)).toEqual(Array(32).fill(1))
})

test('a task that is not listed is named', async () => {
  const unknown = tune(config({ method: { ...method, tasks: ['straight', 'crosed'] }, out: join(folder, 'unknown') }))
  expect(await problemOf(unknown)).toMatchObject({ code: 'unknown-task', found: 'task: "crossed"', hint: 'did you mean crosed?' })
  const column = tune(config({ method: { ...method, taskColumn: 'kind' }, out: join(folder, 'column') }))
  expect(await problemOf(column)).toMatchObject({ code: 'missing-column' })
})

test('rows are scored among the labels of their own task', async () => {
  // Straight rows may answer with the first word alone, so that half of them are right whatever has been learned.
  const taskLabels = { straight: ['the'] }
  const own = { ...method, taskLabels }
  const options = {
    method: own,
    out: join(folder, 'labels'),
    train: { steps: 200, batchSize: 8, learningRate: 0.1, evaluateEvery: 200 },
  }
  const { folder: path, result } = await tune(config(options))
  expect(result.metrics.accuracy!.value).toBe(0.75)
  const { predictions } = await evaluate({ prompt: path, data })
  const tasks = [...lines, ...lines].map(line => line.split('\t')[2])
  expect(predictions!.filter((_, i) => tasks[i] === 'straight').every(({ predicted }) => predicted === 'the')).toBe(true)
  expect(predictions!.filter((_, i) => tasks[i] === 'crossed').some(({ predicted }) => predicted === 'of')).toBe(true)

  const wrong = (labels: Record<string, string[]>, name: string) =>
    problemOf(tune(config({ method: { ...method, taskLabels: labels }, out: join(folder, name) })))
  expect(await wrong({ strait: ['the'] }, 'strait')).toMatchObject({
    code: 'invalid-config',
    message: 'method.taskLabels names "strait", and method.tasks has straight, crossed',
  })
  expect(await wrong({ straight: ['a'] }, 'word')).toMatchObject({ code: 'invalid-config', found: '"a"' })
})

test('generation is under the prompt of a task, and of each row its own', async () => {
  const { prompt } = await run
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  try {
    const active = activePrompt(prompt, model)
    const inputs = ['the wine -', 'on stone -']
    const answers = async (promptTask?: string) =>
      (await generate({ model, prompt, promptTask, inputs, raw: true, maxNewTokens: 3, weights: 'fp32' })).map(({ ids }) => ids)
    const plain = async (parameters: ReadonlyMap<string, Float32Array>) => {
      const own = { ...active, parameters }
      const results: number[][] = []
      for (const text of inputs) {
        const ids = model.tokenizer.encode(text)
        const begin = ids.length
        for (let i = 0; i < 3; i++) {
          const [logits] = await model.logits([ids], own)
          const last = logits!.subarray(-model.config.vocabSize)
          ids.push(last.indexOf(Math.max(...last)))
        }
        results.push(ids.slice(begin))
      }
      return results
    }
    const { tasks } = method
    for (const [i, task] of tasks.entries())
      expect(await answers(task)).toEqual(await plain(active.method.forTask!(active.config, active.parameters, i)))
    expect(await answers()).toEqual(await plain(active.parameters))
    expect(await answers(tasks[0])).not.toEqual(await answers(tasks[1]))
    const unknown = generate({ model, prompt, promptTask: 'strait', inputs })
    expect(await problemOf(unknown)).toMatchObject({ code: 'unknown-task', expected: `one of ${tasks.join(', ')}` })

    const rows = await evaluateByGeneration({
      model,
      data,
      columns: ['text', 'label', 'task'],
      template: '{text} -',
      answer: ' {label}',
      labels: { 0: 'the', 1: 'of' },
      prompt: active,
      weights: 'fp32',
      seed: 1,
      limit: 8,
    })
    for (const { text, answer } of rows.results) expect(text!.trim().startsWith(answer!), `${text} for ${answer}`).toBe(true)
  } finally {
    await model.dispose()
  }
})

async function startOf() {
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  await model.dispose()
  return {
    model: model.config,
    tokenizer: model.tokenizer,
    embeddingRows: (ids: readonly number[]) => model.embeddingRows(ids),
    keysAndValues: (rows: Float32Array) => model.keysAndValues(rows),
    seed: 1,
    labelWords: [],
    learnedPrompts: (from: readonly string[], count: number) =>
      readSources(from, { name: model.name, hash: model.hash, hiddenSize: model.config.hiddenSize }, count),
    exampleRows: () => [],
    answerPairs: () => [],
    layerOutputs: layerOutputsOf(model),
  }
}
