import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { tune } from '../../src/api/tune.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { layerOutputsOf } from '../../src/model/layer-outputs.js'
import type { InitialisationContext } from '../../src/prompts/method.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { initSchema } from '../../src/prompts/starts/index.js'
import { sourceWeights, transferredRows } from '../../src/prompts/transfer.js'
import { readSources } from '../../src/sources/initial-prompts.js'
import { type PromptFile, writePrompt } from '../../src/store/prompt-file.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import { difference, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
const opened = LanguageModel.load(toyModel, { threads: 1 })
afterAll(async () => {
  await (await opened).dispose()
  remove()
})

const [m, d] = [4, 32]
const rowsOf = (seed: number) => random(seed, [m, d], 0.5).data

/** A run folder's prompt, of rows that are told. */
async function source(name: string, data: Float32Array, changes: Partial<PromptFile> = {}): Promise<string> {
  const model = await opened
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  await writePrompt(join(path, 'prompt.safetensors'), {
    method: { type: 'prompt-tuning', numVirtualTokens: m, position: 'before-bos' },
    model: { name: model.name, hash: model.hash },
    hiddenSize: d,
    numVirtualTokens: m,
    position: 'before-bos',
    template: '{text}',
    answer: ' {label}',
    seed: 1,
    tensors: [{ name: 'prompt', shape: [m, d], data }],
    ...changes,
  })
  return path
}

async function context(): Promise<InitialisationContext> {
  const model = await opened
  return {
    model: model.config,
    tokenizer: model.tokenizer,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    seed: 1,
    labelWords: [],
    learnedPrompts: (from: readonly string[], count: number) =>
      readSources(from, { name: model.name, hash: model.hash, hiddenSize: model.config.hiddenSize }, count),
    exampleRows: () => [{ ids: [5, 6, 7, 8], kinds: ['template', 'input', 'input', 'label'] }],
    answerPairs: () => [],
    layerOutputs: layerOutputsOf(model),
  }
}

const runs = (from: readonly string[], mix: string) =>
  initSchema.parse({ type: 'runs', from, mix }) as Parameters<typeof transferredRows>[0]

describe('the rows of earlier runs', () => {
  test('one is taken as it is, from a folder or a file; several by their average', async () => {
    const a = await source('a', rowsOf(1))
    const b = await source('b', rowsOf(2))
    expect(await transferredRows(runs([a], 'one'), m, await context())).toEqual(rowsOf(1))
    expect(await transferredRows(runs([join(b, 'prompt.safetensors')], 'one'), m, await context())).toEqual(rowsOf(2))
    const average = await transferredRows(runs([a, b], 'average'), m, await context())
    for (const [i, x] of average.entries()) expect(x).toBeCloseTo((rowsOf(1)[i]! + rowsOf(2)[i]!) / 2, 6)
  })

  test('similarity prefers what lies like the task, and leaves out what lies against it', async () => {
    const task = await (await opened).embeddingRows([5, 6, 7, 8])
    const like = await source('like', task)
    const against = await source(
      'against',
      task.map(x => -x),
    )
    const given = await context()
    const weights = await sourceWeights('similarity', [task, task.map(x => -x), rowsOf(3)], given)
    expect(weights[0]).toBeCloseTo(1, 6)
    expect(weights[1]).toBeCloseTo(-1, 6)
    expect(Math.abs(weights[2]!)).toBeLessThan(0.9)
    const rows = await transferredRows(runs([like, against], 'similarity'), m, given)
    for (const [i, x] of rows.entries()) expect(x).toBeCloseTo(task[i]!, 6)
  })

  test.each(['llama-gqa', 'gpt2'])('the neurons of a prompt on %s are those that transformers has', async name => {
    const file = await openSafetensors('test/fixtures/prompt-methods/neurons.safetensors')
    const model = await LanguageModel.load(`test/fixtures/models/${name}`, { threads: 1 })
    try {
      const layers = await model.keysAndValues(await file.read(`${name}.rows`))
      const found = layers.flatMap(({ neurons }) => Array.from(neurons))
      expect(difference(found, await file.read(`${name}.neurons`))).toBeLessThan(1e-5)
    } finally {
      await file.close()
      await model.dispose()
    }
  })

  test('panda counts the neurons that a prompt activates as the task does', async () => {
    const task = await (await opened).embeddingRows([5, 6, 7, 8])
    const weights = await sourceWeights('panda', [task, rowsOf(1), rowsOf(2)], await context())
    expect(weights[0]).toBeCloseTo(1, 6)
    for (const weight of weights.slice(1)) {
      expect(weight).toBeGreaterThan(0)
      expect(weight).toBeLessThan(0.99)
    }
  })

  test.each(['prompt-tuning', 'dept', 'adept', 'mpt'])('%s begins there', async type => {
    const from = await source('start', rowsOf(4))
    const method = promptMethods.get(type)!
    const rank = type === 'dept' || type === 'adept' ? { rank: 2 } : {}
    const options = { type, numVirtualTokens: m, init: { type: 'runs', from: [from] }, ...rank }
    const { method: config } = parseConfig(toyConfig(folder, { method: options as ConfigInput['method'] }))
    const parameters = await method.initialise(config, await context())
    expect(parameters.get('prompt')).toEqual(rowsOf(4))
  })

  test.each(['residual-mlp', 'superposition', 'low-rank'])('so does prompt tuning by %s', async reparametrization => {
    const from = await source('start', rowsOf(4))
    const method = promptMethods.get('prompt-tuning')!
    const config = {
      type: 'prompt-tuning',
      numVirtualTokens: m,
      init: runs([from], 'one'),
      reparametrization,
      rank: m,
      basisTokens: 10,
    }
    const given = await context()
    const parameters = await method.initialise(config, given)
    const { staticRows } = await import('../../src/prompts/static.js')
    const tensors = method
      .parameters(config, given.model)
      .map(({ name, shape }) => ({ name, shape, data: parameters.get(name)! }))
    const rows = await staticRows(method, config, tensors)
    for (const [i, x] of rows.entries()) expect(x).toBeCloseTo(rowsOf(4)[i]!, 5)
  })

  test('what does not fit is refused, naming both', async () => {
    const given = await context()
    const { name, hash } = await opened
    const start = (from: string) => problemOf(transferredRows(runs([from], 'one'), m, given))
    const other = await source('other-model', rowsOf(1), { model: { name: 'another', hash: 'ab'.repeat(32) } })
    expect(await start(other)).toMatchObject({
      code: 'model-mismatch',
      found: 'another (hidden size 32, abababababab)',
      expected: `${name} (hidden size 32, ${hash.slice(0, 12)})`,
    })
    const wide = await source('wide', rowsOf(1), {
      hiddenSize: 16,
      tensors: [{ name: 'prompt', shape: [m, 16], data: new Float32Array(m * 16) }],
    })
    expect(await start(wide)).toMatchObject({ code: 'model-mismatch' })
    const short = await source('short', rowsOf(1), {
      numVirtualTokens: 2,
      tensors: [{ name: 'prompt', shape: [2, d], data: new Float32Array(2 * d) }],
    })
    expect(await start(short)).toMatchObject({
      code: 'prompt-length-mismatch',
      found: '2 virtual tokens',
      expected: '4 (method.numVirtualTokens)',
    })
    const layers = await source('no-rows', rowsOf(1), { method: { type: 'adaption-prompt' } })
    expect(await start(layers)).toMatchObject({ code: 'not-static', found: 'method.type: adaption-prompt' })
    expect(await start(join(folder, 'nowhere'))).toMatchObject({ code: 'file-not-found' })
    mkdirSync(join(folder, 'stopped'))
    expect(await start(join(folder, 'stopped'))).toMatchObject({
      code: 'file-not-found',
      found: expect.stringContaining('folder'),
    })
    expect(() => runs([short, wide], 'one')).toThrow('takes one run')
  })
})

test('a run starts from another, leaves no path behind, and is refused before the model is loaded', async () => {
  const losses: number[] = []
  const first = await tune(toyConfig(folder, { out: join(folder, 'first'), train: { keep: 'last' } }), {
    onEvent: event => event.event === 'step' && losses.push(event.loss),
  })
  const init = { type: 'runs' as const, from: [first.folder], mix: 'one' as const }
  const earlier = losses.splice(0)
  const second = await tune(
    toyConfig(folder, {
      out: join(folder, 'second'),
      method: { type: 'prompt-tuning', numVirtualTokens: 4, init },
      train: { steps: 2 },
    }),
    { onEvent: event => event.event === 'step' && losses.push(event.loss) },
  )
  expect(losses[0]).toBeLessThan(1.5 * earlier.at(-1)!)
  expect(losses[0]).toBeLessThan(earlier[0]! / 2)
  expect(second.prompt.method.init).toEqual({ ...init, from: ['first'] })
  expect(readFileSync(join(second.folder, 'prompt.safetensors')).includes(folder)).toBe(false)
  const refused = tune(
    toyConfig(folder, { out: join(folder, 'third'), method: { type: 'prompt-tuning', numVirtualTokens: 5, init } }),
  )
  expect(await problemOf(refused)).toMatchObject({ code: 'prompt-length-mismatch', hint: 'set method.numVirtualTokens to 4' })
})
