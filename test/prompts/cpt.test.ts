import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { contextKinds, drawExamples } from '../../src/data/rows/examples.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { cpt } from '../../src/prompts/methods/cpt.js'
import { activePrompt } from '../../src/sources/prompt.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import { difference } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { methodConfig, promptFixture } from '../support/prompt-fixtures.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

describe('the examples', () => {
  test('are drawn from the classes in turn, by seed', () => {
    const records = Array.from({ length: 20 }, (_, i) => ({ text: `t${i}`, label: i < 16 ? 'a' : 'b' }))
    const labels = { column: 'label', words: new Map([['a', 'A'], ['b', 'B']]), candidates: ['A', 'B'] } // biome-ignore format: a table
    const drawn = drawExamples(records, labels, 6, 1)
    expect(new Set(drawn).size).toBe(6)
    expect(drawn.filter(i => records[i]!.label === 'b')).toHaveLength(3)
    expect(drawExamples(records, labels, 6, 1)).toEqual(drawn)
    expect(drawExamples(records, labels, 6, 2)).not.toEqual(drawn)
    expect(drawExamples(records, labels, 100, 1)).toHaveLength(20)
    expect(drawExamples(records, undefined, 3, 1)).toHaveLength(3)
  })

  test('tell what comes from the data', () => {
    const pieces = ['Rev', 'iew', ': a', ' fine', ' film', '\n', 'Mood', ':']
    const kinds = contextKinds([0, 1, 2, 3, 4, 5, 6, 7], ['a fine film'], ids => ids.map(id => pieces[id]).join(''))
    const [t, i] = ['template', 'input']
    expect(kinds).toEqual([t, t, i, i, i, t, t, t])
    expect(contextKinds([5], ['a fine film', ''], () => '\n')).toEqual([t])
  })

  test('become the prompt, with the types that PEFT counts', () => {
    const config = methodConfig({ type: 'cpt', examples: 2 })
    const example = { ids: [5, 6, 7, 8], kinds: ['template', 'input', 'template', 'label'] } as const
    const tokenizer = { encode: () => [1, 2] } as unknown as Parameters<NonNullable<typeof cpt.resolve>>[1]['tokenizer']
    const resolved = cpt.resolve!(config as never, { tokenizer, exampleRows: () => [example, example], template: '' })
    expect(resolved).toMatchObject({
      tokenIds: [5, 6, 7, 8, 1, 2, 5, 6, 7, 8, 1, 2],
      tokenTypes: [1, 2, 3, 4, 3, 3, 5, 6, 7, 8, 7, 7],
    })
    expect(cpt.resolve!(resolved, { tokenizer, exampleRows: () => [], template: '' })).toBe(resolved)
    expect(cpt.ownTargets!({ ...resolved, decay: 0.5 })).toEqual([
      { row: 2, id: 8, weight: 0.25 },
      { row: 8, id: 8, weight: 0.5 },
    ])
  })
})

test('a row of delta moves as far as PEFT lets it', async () => {
  const { method, tensors } = await promptFixture('cpt')
  const parameters = new Map([['delta', tensors.get('delta')!.data.slice()]])
  cpt.constrain!(methodConfig(method) as never, parameters, { hiddenSize: 32 } as never)
  expect(difference(parameters.get('delta')!, tensors.get('projectedDelta')!.data)).toBeLessThan(1e-6)
})

test('a run keeps its examples, stays within bounds, and goes on to the same bits', async () => {
  const method = { type: 'cpt', examples: 3, inputEpsilon: 3, formatEpsilon: 1 } as const
  const options = { method, train: { steps: 8, checkpointEvery: 4, learningRate: 0.1 } }
  const losses: number[] = []
  const run = await tune(toyConfig(folder, { ...options, out: join(folder, 'whole') }), {
    onEvent: event => event.event === 'step' && losses.push(event.loss),
  })
  expect(losses.at(-1)).toBeLessThan(losses[0]!)
  const prompt = await readPrompt(join(run.folder, 'prompt.safetensors'))
  const { tokenIds, tokenTypes } = prompt.method as { tokenIds?: number[]; tokenTypes?: number[] }
  expect(prompt.numVirtualTokens).toBe(tokenIds!.length)
  expect(new Set(tokenTypes!.filter(type => type % 4 === 0))).toEqual(new Set([4, 8, 12]))
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  const { parameters } = activePrompt(prompt, model)
  expect(parameters.get('base')).toEqual(await model.embeddingRows(tokenIds!))
  const norms = tokenTypes!.map((_, i) => Math.hypot(...parameters.get('delta')!.subarray(i * 32, (i + 1) * 32)))
  const limits = tokenTypes!.map(type => [0, 1, 3, 1][type % 4]! * Math.sqrt(32 / 2048))
  for (const [i, norm] of norms.entries()) expect(norm).toBeLessThan(limits[i]! * 1.0001 + 1e-9)
  expect(norms.some((norm, i) => limits[i]! > 0 && norm > limits[i]! * 0.999)).toBe(true)
  await model.dispose()

  const controller = new AbortController()
  const stopped = tune(toyConfig(folder, { ...options, out: join(folder, 'stopped') }), {
    signal: controller.signal,
    onEvent: event => event.event === 'step' && event.step === 5 && controller.abort(),
  })
  expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
  expect((await resume(join(folder, 'stopped'))).prompt).toEqual(run.prompt)
})

test('options that contradict each other or the data are refused', async () => {
  const start = (method: object) =>
    problemOf(tune(toyConfig(folder, { method: { type: 'cpt', ...method }, out: join(folder, 'no') })))
  expect(await start({ examples: 100 })).toMatchObject({
    code: 'invalid-config',
    message: 'method.examples (100) is beyond the training rows (32)',
  })
  expect((await start({ tokenIds: [1, 2], tokenTypes: [1] })).message).toContain('method.tokenTypes (1)')
  expect((await start({ tokenIds: [1, 96], tokenTypes: [1, 2] })).message).toContain("the model's vocabulary (0 to 95)")
})
