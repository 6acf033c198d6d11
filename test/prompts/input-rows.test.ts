import { afterAll, describe, expect, test } from 'vitest'
import { peftAdapter } from '../../src/export/peft-adapter.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import type { LabelledRow } from '../../src/model/row.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { lowRankFactors } from '../../src/prompts/reparametrization.js'
import { staticRows } from '../../src/prompts/static.js'
import { difference, random, relativeError } from '../support/numbers.js'
import { disposeModels, methodConfig, type PromptFixture, promptFixture, tinyModel } from '../support/prompt-fixtures.js'

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
      const own =
        task === undefined ? prompt : { ...prompt, parameters: prompt.method.forTask!(prompt.config, prompt.parameters, task) }
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

test.each(['residual-mlp', 'superposition', 'low-rank', 'p-tuning-lstm', 'cpt'])(
  'as an adapter it is its rows: %s',
  async name => {
    const { fixture, prompt, rows } = await prepared(name)
    const model = await tinyModel(fixture.model)
    const { numVirtualTokens } = prompt.method.placement(prompt.config, model.config)
    const { config, tensors } = await peftAdapter(
      {
        method: prompt.config,
        model: { name: model.name, hash: model.hash },
        hiddenSize: model.config.hiddenSize,
        numVirtualTokens,
        position: 'before-bos',
        template: '',
        answer: '',
        seed: 0,
        tensors: prompt.method
          .parameters(prompt.config, model.config)
          .map(({ name, shape }) => ({ name, shape, data: prompt.parameters.get(name)! })),
      },
      model.checkpoint,
    )
    expect(config).toMatchObject({ peft_type: 'PROMPT_TUNING', num_virtual_tokens: numVirtualTokens })
    const plain = { data: tensors[0]!.data, shape: [numVirtualTokens, model.config.hiddenSize] as const }
    const [logits] = await model.logits([rows[1]!.ids], plain)
    expect(difference(logits!, fixture.tensors.get('logits.1')!.data)).toBeLessThan(1e-4)
  },
)

test('options that belong to another reparametrisation, or are beyond the model, are refused', async () => {
  const { config: model } = await tinyModel('llama-gqa')
  const refused = (options: object) =>
    promptMethods.get('prompt-tuning')!.check!(methodConfig({ type: 'prompt-tuning', ...options }), model)
  expect(refused({})).toBeUndefined()
  expect(refused({ rank: 3 })).toBe('method.rank belongs to method.reparametrization: low-rank, not to none')
  expect(refused({ reparametrization: 'low-rank', bottleneck: 3 })).toContain('method.bottleneck belongs to')
  expect(refused({ reparametrization: 'low-rank', numVirtualTokens: 5, rank: 6 })).toContain(
    'method.rank (6) is beyond method.numVirtualTokens (5)',
  )
  expect(refused({ reparametrization: 'low-rank', numVirtualTokens: 50, rank: 33 })).toContain("the model's width (32)")
  expect(refused({ reparametrization: 'superposition', numVirtualTokens: 5, basisTokens: 4 })).toContain(
    'method.basisTokens (4) is below method.numVirtualTokens (5)',
  )
  expect(refused({ reparametrization: 'superposition', basisTokens: 97 })).toContain("the model's vocabulary (96)")
})

test('a product of low rank is the nearest to the rows that it starts from', () => {
  const [m, d, r] = [6, 10, 2]
  const rows = random(1, [m, d]).data
  const { a, b } = lowRankFactors(rows, { m, d, r }, 1)
  const at = (left: Float32Array, right: Float32Array, i: number, j: number) =>
    Array.from({ length: r }, (_, k) => left[i * r + k]! * right[k * d + j]!).reduce((x, y) => x + y, 0)
  const distance = (left: Float32Array, right: Float32Array) =>
    rows.reduce((sum, x, i) => sum + (x - at(left, right, Math.floor(i / d), i % d)) ** 2, 0)
  const best = distance(a, b)
  for (let seed = 2; seed < 40; seed++) {
    const near = (values: Float32Array, of: number) =>
      values.map((x, i) => x + 0.05 * random(seed * of, [values.length]).data[i]!)
    expect(distance(near(a, 3), near(b, 5))).toBeGreaterThan(best)
  }
  // Rows of a lower rank: exact, and no column is zero, since nothing could be learned there.
  const repeated = Float32Array.from({ length: m * d }, (_, i) => rows[i % d]!)
  const { a: left, b: right } = lowRankFactors(repeated, { m, d, r }, 1)
  for (const [i, x] of repeated.entries()) expect(at(left, right, Math.floor(i / d), i % d)).toBeCloseTo(x, 5)
  for (let k = 0; k < r; k++) expect(Math.hypot(...left.filter((_, i) => i % r === k))).toBeCloseTo(Math.sqrt(m), 4)
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
