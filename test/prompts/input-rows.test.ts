import { afterAll, describe, expect, test } from 'vitest'
import type { ActivePrompt, LabelledRow } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/index.js'
import { staticRows } from '../../src/prompts/static.js'
import { ownCache } from '../support/cache.js'
import { difference, relativeError } from '../support/numbers.js'
import { disposeModels, methodConfig, type PromptFixture, promptFixture, tinyModel } from '../support/prompt-fixtures.js'

ownCache()
afterAll(disposeModels)

/** The fixture's method as ours, its parameters, and those of ours that are no parameters of theirs. */
async function prepared(name: string): Promise<{ fixture: PromptFixture; prompt: ActivePrompt; rows: readonly LabelledRow[] }> {
  const fixture = await promptFixture(name)
  const { type, encoder, encoderHidden, encoderLayers, numTasks, rank, layerNormEpsilon, tokenIds, ...options } = fixture.method
  const config = methodConfig({
    type,
    ...options,
    ...(type === 'p-tuning' && {
      encoderReparameterizationType: encoder,
      encoderHiddenSize: encoderHidden,
      encoderNumLayers: encoderLayers,
    }),
    ...(type === 'mpt' ? { tasks: Array.from({ length: numTasks as number }, (_, i) => `task ${i}`), numRanks: rank } : {}),
    ...(type === 'prompt-tuning' && rank !== undefined && { rank }),
    ...(type === 'prompt-tuning' && tokenIds !== undefined && { basisTokens: (tokenIds as number[]).length }),
    ...(type === 'cpt' && { tokenIds }),
  })
  const method = promptMethods.get(type)!
  const model = await tinyModel(fixture.model)
  const parameters = new Map<string, Float32Array>()
  for (const { name, shape } of method.parameters(config, model.config)) {
    const theirs = fixture.tensors.get(type === 'cpt' && name === 'delta' ? 'projectedDelta' : name)
    if (theirs) expect(theirs.shape).toEqual(shape)
    if (theirs) parameters.set(name, theirs.data)
  }
  if (type === 'mpt') parameters.set('task', new Float32Array(3))
  if (type === 'cpt') parameters.set('base', await model.embeddingRows(tokenIds as number[]))
  return { fixture, prompt: { method, config, parameters }, rows: fixture.rows }
}

const NAMES = ['prompt-tuning', 'residual-mlp', 'superposition', 'low-rank', 'p-tuning-mlp', 'p-tuning-lstm', 'mpt', 'cpt']

describe.each(NAMES)('%s', name => {
  test('has the logits, the loss and the gradients of torch', async () => {
    const { fixture, prompt, rows } = await prepared(name)
    const model = await tinyModel(fixture.model)
    for (const [i, { ids, task }] of rows.entries()) {
      const own = task === undefined ? prompt : { ...prompt, parameters: prompt.method.forTask!(prompt.config, prompt.parameters, task) }
      const [logits] = await model.logits([ids], own)
      expect(difference(logits!, fixture.tensors.get(`logits.${i}`)!.data), `logits of row ${i}`).toBeLessThan(1e-4)
    }
    const { loss, gradients } = await model.promptGradient(prompt, rows)
    expect(Math.abs(loss - fixture.loss)).toBeLessThan(1e-5 * fixture.loss)
    const learned = prompt.method.parameters(prompt.config, model.config).filter(({ frozen }) => !frozen)
    expect([...gradients.keys()]).toEqual(learned.map(({ name }) => name))
    for (const [parameter, values] of gradients)
      expect(relativeError(values, fixture.tensors.get(`gradient.${parameter}`)!.data), parameter).toBeLessThan(1e-4)
  })

  test('a batch in parts has the same loss and gradients', async () => {
    const { fixture, prompt, rows } = await prepared(name)
    const model = await tinyModel(fixture.model)
    const { LanguageModel } = await import('../../src/model/language-model.js')
    const small = await LanguageModel.load(`test/fixtures/models/${fixture.model}`, {
      threads: 1,
      memory: model.memory.estimate(4, 1, true),
    })
    const { loss, gradients } = await small.promptGradient(prompt, rows)
    await small.dispose()
    expect(Math.abs(loss - fixture.loss)).toBeLessThan(1e-5 * fixture.loss)
    for (const [parameter, values] of gradients)
      expect(relativeError(values, fixture.tensors.get(`gradient.${parameter}`)!.data), parameter).toBeLessThan(1e-4)
  })
})

test.each(['p-tuning-mlp', 'p-tuning-lstm'])('the rows that an encoder makes are those that PEFT saves: %s', async name => {
  const { fixture, prompt } = await prepared(name)
  const model = await tinyModel(fixture.model)
  const tensors = prompt.method
    .parameters(prompt.config, model.config)
    .map(({ name, shape }) => ({ name, shape, data: prompt.parameters.get(name)! }))
  const rows = await staticRows(prompt.method, prompt.config, tensors)
  expect(difference(rows, fixture.tensors.get('output')!.data)).toBeLessThan(1e-5)
})
