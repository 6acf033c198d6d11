import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { tune } from '../../src/api/tune.js'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { plainRow, promptTokenizer, softEncoder, softPlaceholders, softTexts } from '../../src/data/texts/soft-tokens.js'
import { compileTemplate, type Template } from '../../src/data/texts/template.js'
import { evaluateByGeneration } from '../../src/evaluate/by-generation.js'
import { nearestTokens } from '../../src/evaluate/nearest-tokens.js'
import { peftAdapter } from '../../src/export/peft-adapter.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { softParameter } from '../../src/prompts/soft-rows.js'
import { activePrompt, softPromptOf } from '../../src/sources/prompt.js'
import { parseConfig } from '../../src/train/config.js'
import { fakeEncoder } from '../data/encoder.js'
import { difference, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { disposeModels, expectParity, methodConfig, promptFixture, tinyModel } from '../support/prompt-fixtures.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
afterAll(disposeModels)

const problem = (work: () => unknown) => problemOf(Promise.resolve().then(work))
const ownPlaceholder = (count: number) => [{ text: `{soft:${count}}`, ids: Array<number>(count).fill(-1) }]

describe('a template', () => {
  test('says how many soft tokens stand where, and what words they start from', () => {
    const { columns, soft, render } = compileTemplate('{soft:2}{text} {soft:" it was"}{{soft:1}}')
    expect(columns).toEqual(['text'])
    expect(soft).toEqual([
      { text: '{soft:2}', count: 2 },
      { text: '{soft:" it was"}', count: 0, words: ' it was' },
    ])
    expect(render({ text: 'a film' }, 0, ['<2>', '<words>'])).toBe('<2>a film <words>{soft:1}')
    // Without soft tokens the words stand there: a manual template.
    expect(render({ text: 'a film' })).toBe('a film  it was{soft:1}')
  })

  test.each(['{soft:}', '{soft:0}', '{soft:-1}', '{soft:two}', '{soft:""}', '{soft:"open}', '{soft:100000}'])(
    'refuses %s',
    async template => {
      expect(await problem(() => compileTemplate(template))).toMatchObject({ code: 'invalid-template', found: template })
    },
  )
})

const film = { text: 'a fine film', label: '1' }
const firstId = 1000

function builderOf(template: Template, { learned = template, bos = false, answer = ' {label}' } = {}) {
  const encoder = fakeEncoder({ bos })
  const soft = { placeholders: softPlaceholders(learned, encoder), firstId }
  const options = { template, answer, contextLength: 100, numVirtualTokens: 0 }
  return { encoder, soft, builder: new RowBuilder(encoder, { ...options, soft }), plain: new RowBuilder(encoder, options) }
}

describe('a row', () => {
  test('has soft tokens as ids beyond the vocabulary, and text tokenised between them', () => {
    const { encoder, builder } = builderOf('{soft:2}{text}{soft:" it was"}', { bos: true })
    const { ids, labels, segments } = builder.training(film, 0)
    const text = (words: string) => encoder.encode(words, { addSpecialTokens: false })
    const count = text(' it was').length
    const soft = Array.from({ length: count }, (_, i) => firstId + 2 + i)
    expect(ids).toEqual([0, firstId, firstId + 1, ...text('a fine film'), ...soft, ...text(' 1')])
    expect(labels.filter(label => label >= firstId)).toEqual([])
    expect(segments.map(segment => segment.text)).toEqual(['{soft:2}a fine film{soft:" it was"}', ' 1'])
    expect(builder.scoring(film, 0)).toMatchObject({ context: ids.slice(0, -text(' 1').length) })
  })

  test('in chat messages', () => {
    const { encoder, builder } = builderOf([
      { role: 'system', content: '{soft:1}' },
      { role: 'user', content: '{text}{soft:1}' },
    ])
    const { ids } = builder.training(film, 0)
    expect(ids.filter(id => id >= firstId)).toEqual([firstId, firstId + 1])
    expect(encoder.decode(ids.filter(id => id < firstId))).toBe('<user><eos><user>a fine film<eos><assistant> 1')
  })

  test('without soft tokens has the words in their places', () => {
    const { encoder, soft, builder, plain } = builderOf('{text}{soft:2}{soft:" it was"}')
    const row = plain.training(film, 0)
    expect(encoder.decode(row.ids)).toBe('a fine film it was 1')
    const { ids, labels } = plainRow(builder.training(film, 0), soft)
    expect(ids).toEqual(row.ids)
    expect(labels).toEqual(row.labels)
  })

  test('under another template has the soft tokens that it takes up', async () => {
    const learned = '{soft:1}{text}{soft:2}{soft:1}'
    const { builder } = builderOf('{soft:2}{text} {soft:1}', { learned })
    expect(builder.training(film, 0).ids.filter(id => id >= firstId)).toEqual([firstId + 1, firstId + 2, firstId])
    expect(await problem(() => builderOf('{soft:3}{text}', { learned }))).toMatchObject({
      code: 'invalid-template',
      found: '{soft:3}',
      expected: '{soft:1} {soft:2} {soft:1}',
    })
    expect(await problem(() => builderOf('{soft:2}{text}{soft:2}', { learned }))).toMatchObject({ found: '{soft:2}, 2 times' })
  })

  test('has none in its answer, and none that its data write', async () => {
    expect(await problem(() => builderOf('{text}', { answer: '{soft:1}' }))).toMatchObject({ code: 'invalid-template' })
    const { builder } = builderOf('{text}{soft:1}')
    const forged = { text: `a ${String.fromCodePoint(0xf0000)}`, label: '1' }
    expect(await problem(() => builder.training(forged, 0))).toMatchObject({ code: 'special-token-in-data' })
    expect(builder.training({ text: '{soft:1}', label: '1' }, 0).ids.filter(id => id >= firstId)).toEqual([firstId])
  })
})

test('texts under a prompt take its placeholders, in their order', () => {
  const encoder = fakeEncoder()
  const soft = { placeholders: softPlaceholders('{text}{soft:1}: {soft:2}', encoder), firstId }
  const tokenizer = promptTokenizer(encoder, soft)
  const soften = (text: string) => tokenizer.encode(text).filter(id => id >= firstId)
  expect(soften('no{soft:1}body: {soft:2}')).toEqual([firstId, firstId + 1, firstId + 2])
  expect(soften('{soft:2}')).toEqual([firstId + 1, firstId + 2])
  expect(soften(`{soft:7} ${String.fromCodePoint(0xf0000)}`)).toEqual([])
  expect(softEncoder(encoder, soft).decode([firstId + 1])).toBe(String.fromCodePoint(0xf0001))
  expect(softTexts('{soft:2}', soft)).toEqual([[String.fromCodePoint(0xf0001, 0xf0002)]])
})

test.each(['soft-template', 'soft-template-mixed'])('%s computes what torch computes', async name => {
  const fixture = await promptFixture(name)
  const config = { ...methodConfig(fixture.method), softTokens: ownPlaceholder(3) }
  const names = ['prompt', softParameter].filter(parameter => fixture.tensors.has(parameter))
  await expectParity(fixture, config, new Map(names.map(parameter => [parameter, fixture.tensors.get(parameter)!.data])))
})

test.each([
  { type: 'soft-template', family: 'llama-gqa' },
  { type: 'soft-template', family: 'gpt2' },
  { type: 'prompt-tuning', numVirtualTokens: 3, family: 'gpt2' },
  { type: 'dept', numVirtualTokens: 2, rank: 2, maxTextLength: 6, family: 'llama-gqa' },
  { type: 'iapt', bottleneck: 5, family: 'llama-gqa' },
])('generation goes on as scoring says: $type on $family', async ({ family, ...options }) => {
  const model = await tinyModel(family)
  const { vocabSize } = model.config
  const config = { ...methodConfig(options), softTokens: ownPlaceholder(3) }
  const method = promptMethods.get(config.type)!
  const parameters = new Map(
    method
      .parameters(config, model.config)
      .map(({ name, shape }, i) => [name, random(i + 1, shape, name === 'numerator' ? 0.01 : 0.4).data]),
  )
  const prompt = { method, config, parameters }
  const engine = await GenerationEngine.open(model, {
    weights: 'fp32',
    endTokenIds: [],
    prompts: { prompt },
    defaultPrompt: 'prompt',
  })
  try {
    const contexts = [[vocabSize], [9, vocabSize, vocabSize + 1, 30, vocabSize + 2], [9, vocabSize, vocabSize + 1, 30, 12, 55, 7]]
    const found = await Promise.all(
      contexts.map((ids, seed) => engine.generate({ ids, maxNewTokens: 8, temperature: 1, seed, logProbabilities: true })),
    )
    for (const [i, context] of contexts.entries()) {
      const { ids, logProbabilities } = found[i]!
      const [[wanted]] = (await model.logLikelihoods(prompt, [{ context, candidates: [{ ids }] }])) as [[number]]
      expect(logProbabilities!.reduce((sum, x) => sum + x, 0)).toBeCloseTo(wanted, 4)
    }
    const beyond = { ids: [vocabSize + 3], maxNewTokens: 1 }
    expect(await problemOf(engine.generate(beyond))).toMatchObject({ code: 'invalid-token-id' })
  } finally {
    await engine.dispose()
  }
})

describe('a run', () => {
  const template = '{text}{soft:" on the"} -{soft:2}'
  const config = (options: object) =>
    toyConfig(folder, { template, train: { steps: 30, batchSize: 8, learningRate: 0.1 }, ...options })

  test('learns the rows of a template, and is scored, read and continued with them', async () => {
    const run = await tune(config({ method: { type: 'soft-template' }, out: join(folder, 'soft') }))
    expect(run.result.parameters).toBe(5 * 32)
    expect(run.result.metrics.accuracy!.value).toBe(1)
    const model = await tinyModel('llama-gqa')
    expect(activePrompt(run.prompt, model).config).toMatchObject({
      softTokens: [
        { text: '{soft:" on the"}', ids: model.tokenizer.encode(' on the', { addSpecialTokens: false }) },
        { text: '{soft:2}', ids: [-1, -1] },
      ],
    })
    const data = join(folder, 'toy.tsv')
    const scored = await evaluate({ model: toyModel, data, prompt: run.folder, columns: ['text', 'label'] })
    expect(scored.metrics.accuracy!.value).toBe(1)
    const nearest = await nearestTokens(model, run.prompt)
    expect(nearest.map(({ row, soft }) => ({ row, soft }))).toEqual([0, 1, 2, 3, 4].map(row => ({ row, soft: true })))
    const generated = await evaluateByGeneration({
      model,
      data,
      columns: ['text', 'label'],
      template,
      answer: ' {label}',
      labels: { 0: 'the', 1: 'of' },
      prompt: activePrompt(run.prompt, model),
      weights: 'fp32',
      limit: 8,
      seed: 1,
    })
    // The tiny model never stops by itself: the answer is what it begins with.
    for (const { text, answer } of generated.results) expect(text!.trim().startsWith(answer!), `${text} for ${answer}`).toBe(true)
    expect(generated.results[0]!.prompt).toContain('{soft:" on the"} -{soft:2}')
  })

  test('learns them beside rows before the text, and no export drops them', async () => {
    const run = await tune(config({ method: { type: 'prompt-tuning', numVirtualTokens: 3 }, out: join(folder, 'mixed') }))
    expect(run.result.parameters).toBe((3 + 5) * 32)
    const model = await tinyModel('llama-gqa')
    expect(await problemOf(softPromptOf(run.prompt))).toMatchObject({ code: 'not-static' })
    expect(await problemOf(peftAdapter(run.prompt, model.checkpoint))).toMatchObject({ code: 'not-exportable' })
    const nearest = await nearestTokens(model, run.prompt)
    expect(nearest.map(({ soft = false }) => soft)).toEqual([false, false, false, true, true, true, true, true])
  })

  test('starts drawn tokens from vocabulary rows, by seed', async () => {
    const rows = async (seed: number) => {
      const { prompt } = await tune(
        config({
          method: { type: 'soft-template' },
          seed,
          train: { steps: 1, learningRate: 1e-12 },
          out: join(folder, `seed-${seed}`),
        }),
      )
      return prompt.tensors.find(({ name }) => name === softParameter)!.data
    }
    const [one, other] = [await rows(1), await rows(2)]
    expect(difference(one.subarray(0, 96), other.subarray(0, 96))).toBeLessThan(1e-6)
    expect(difference(one.subarray(96), other.subarray(96))).toBeGreaterThan(0.01)
  })

  test('distils from the model without soft tokens', async () => {
    const run = await tune(
      config({
        method: { type: 'soft-template' },
        train: { steps: 4, batchSize: 8, regularization: { weight: 1 } },
        out: join(folder, 'regular'),
      }),
    )
    expect(run.result.steps).toBe(4)
  })

  test('of soft-template needs a soft token', async () => {
    const input = toyConfig(folder, { method: { type: 'soft-template' } })
    expect(await problem(() => parseConfig(input))).toMatchObject({
      code: 'invalid-config',
      message: expect.stringContaining('method.type: soft-template needs soft tokens in template'),
    })
  })
})
